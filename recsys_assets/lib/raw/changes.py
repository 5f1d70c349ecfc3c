"""Find days whose landing files differ, by content, from those that raw/interactions has read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.files import sha256_json
from recsys_assets.lib.landing.content import LandingContent
from recsys_assets.lib.landing.zone import SERVED_FOLDER
from recsys_assets.lib.raw.rows import RAW_INTERACTIONS
from recsys_assets.local_time import UTC
from recsys_assets.manifests import Manifest
from recsys_assets.partitions import day_bounds

SHOWN_FILES = 5
#: Files of the event consumer; it adds them and never writes one again.
STREAMED = ("events-", f"{SERVED_FOLDER}/")


@dataclass(frozen=True)
class DayChange:
    """Says how the landing files of a day differ from those that were read.

    Attributes:
        day: ISO.
        digest: of names and content of the day's files now, 12 hexadecimal digits.
        read: raw/interactions has read the day, after it was over.
        added: files that were not read.
        rewritten: files that were read with other content.
        removed: files that were read and are gone.
        renamed: old name → new name of files with the same content.
        files: number of files now.
        rows: file → rows in words, of changed files.
    """

    day: str
    digest: str
    read: bool
    added: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    files: int = 0
    rows: Mapping[str, str] | None = None

    @property
    def emptied(self) -> bool:
        """Return whether the day was read, and all its files are gone.

        Shops remove old files from a landing zone, so such a day is kept as it was read.
        """
        return self.read and not self.files

    @property
    def only_late_events(self) -> bool:
        """Return whether visitors' late events alone were added; what was read stays right."""
        return (
            not (self.rewritten or self.removed or self.renamed)
            and bool(self.added)
            and all(name.startswith(STREAMED) for name in self.added)
        )

    def __str__(self) -> str:
        parts = [
            f"{what} {_listed([self._named(name) for name in names])}"
            for what, names in (
                ("added", self.added),
                ("written again", self.rewritten),
                ("removed", self.removed),
                ("renamed", [f"{old} to {new}" for old, new in self.renamed]),
            )
            if names
        ]
        return f"{self.day}: {'; '.join(parts) or 'other content'}"

    def _named(self, name: str) -> str:
        rows = (self.rows or {}).get(name)
        return f"{name} ({rows})" if rows else name


def changed_days(
    content: LandingContent, store: ArtifactStore, days: Iterable[str], zone: str = UTC
) -> dict[str, DayChange]:
    """Return day → change of the days whose landing files differ from those that were read.

    A day that was read while it was open counts as not read once more of its events have landed. A
    day without files is among them until it was read.

    Args:
        content: of the landing zone.
        store: holds raw/interactions.
        days: ISO, closed.
        zone: the shop's time zone.
    """
    found = {}
    for day in days:
        change = _change(content, store.manifest(RAW_INTERACTIONS, day), day, zone)
        if change is not None:
            found[day] = change
    return found


def _change(
    content: LandingContent, known: Manifest | None, day: str, zone: str
) -> DayChange | None:
    digests = content.digests(day)
    digest = sha256_json(digests)
    if known is None:
        return DayChange(day, digest[:12], False, added=(*digests,), files=len(digests))
    landed = known["inputs"].get("landing")
    names = known["metrics"].get("files", {})
    if landed is None and "files" not in known["metrics"]:
        return None  # not made from files
    if landed == digest if landed is not None else sorted(names) == [*digests]:
        return None
    before: dict[str, str | None] = dict.fromkeys(names)
    before |= {name: sha256 for name, sha256 in known["metrics"].get("file_digests", [])}
    added = [name for name in digests if name not in before]
    removed = [name for name in before if name not in digests]
    rewritten = [name for name in digests if before.get(name) and before[name] != digests[name]]
    gone = {before[name]: name for name in removed if before[name]}
    renamed = [(gone[digests[name]], name) for name in added if digests[name] in gone]
    added = [name for name in added if name not in {new for _, new in renamed}]
    removed = [name for name in removed if name not in dict(renamed)]
    return DayChange(
        day,
        digest[:12],
        known["created"] >= day_bounds(day, zone)[1],
        (*added,),
        (*rewritten,),
        (*removed,),
        (*renamed,),
        len(digests),
        _rows(content, day, names, added, rewritten, removed),
    )


def _rows(
    content: LandingContent,
    day: str,
    before: Mapping[str, int],
    added: Sequence[str],
    rewritten: Sequence[str],
    removed: Sequence[str],
) -> dict[str, str]:
    """Return file → its rows before and now, of the files that a message shows."""

    def now(name: str) -> str:
        rows = content.rows(day, name)
        return "not readable" if rows is None else f"{rows:,} rows"

    shown: dict[str, str] = {}
    tell: list[tuple[Sequence[str], Callable[[str], str]]] = [
        (added, now),
        (rewritten, lambda name: f"{before.get(name, 0):,} rows before, {now(name)} now"),
        (removed, lambda name: f"{before.get(name, 0):,} rows"),
    ]
    for names, words in tell:
        shown |= {name: words(name) for name in names[:SHOWN_FILES]}
    return shown


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_FILES
    return ", ".join(names[:SHOWN_FILES]) + (f" and {more} more" if more > 0 else "")
