"""Find features that were made from an older version of a day than the present one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.raw.rows import INTERACTIONS_FILE, RAW_INTERACTIONS
from recsys_assets.manifests import version_of

FEATURES, MASKED, WORKFLOWS = "features/interactions", "features/masked_train", "features/workflows"
#: Kind → role of the days that it was made from. A later catalogue makes no day outdated.
MADE_FROM = {
    FEATURES: "interactions",
    MASKED: "features",
    WORKFLOWS: "train",
    "fine_tune/rows": "masked",
}
DAILY = (FEATURES, MASKED)
#: Kind → its rows. Other files of it, such as the profile, may change with the catalogue.
ROWS = {RAW_INTERACTIONS: INTERACTIONS_FILE, FEATURES: "features.parquet"}

#: A day of an upstream: (kind, ISO day).
Day = tuple[str, str]


class Outdated(RuntimeError):
    """Something was made from another version of a day; names the days and the remedy."""


class Freshness:
    """Compares the days that an artifact was made from with the present ones, each read once."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._manifests: dict[Day, Mapping[str, Any] | None] = {}
        self._versions: dict[Day, str | None] = {}
        self._recorded: dict[tuple[str, str | None, str], Mapping[str, Any] | None] = {}

    def changed(self, manifest: Mapping[str, Any]) -> set[Day]:
        """Return the days that have other rows than when something was made from them.

        Args:
            manifest: of an artifact; of a kind that MADE_FROM lacks, nothing has changed.
        """
        found: set[Day] = set()
        role = MADE_FROM.get(manifest["kind"])
        for made_from in _references(manifest, role) if role else ():
            day = made_from["kind"], str(made_from["partition"])
            if not self._is_present(made_from, day):
                found.add(day)
            elif made_from["kind"] in MADE_FROM:
                upstream = self.manifest(*day)
                found |= self.changed(upstream) if upstream else set()
        return found

    def corrected(self, manifest: Mapping[str, Any]) -> set[str]:
        """Return the days of raw/interactions that were read again, from other files, since.

        Args:
            manifest: of an artifact that was made from days, directly or through features.
        """
        role = MADE_FROM.get(manifest["kind"])
        return self.corrected_of(manifest, role) if role else set()

    def corrected_of(self, manifest: Mapping[str, Any], role: str) -> set[str]:
        """Return ``corrected`` of the artifacts of one role alone."""
        found: set[str] = set()
        for made_from in _references(manifest, role):
            day = made_from["kind"], str(made_from["partition"])
            before, now = self.recorded(made_from), self.manifest(*day)
            if made_from["kind"] in MADE_FROM:
                found |= self.corrected(before) if before else set()
            elif before and now and _landing(before) != _landing(now):
                found.add(day[1])
        return found

    def manifest(self, kind: str, day: str) -> Mapping[str, Any] | None:
        """Return the present manifest of a day; None if there is none."""
        if (kind, day) not in self._manifests:
            self._manifests[kind, day] = self._store.manifest(kind, day)
        return self._manifests[kind, day]

    def _is_present(self, reference: Mapping[str, Any], day: Day) -> bool:
        """Return whether a referenced version has the rows of the present one."""
        if day not in self._versions:
            self._versions[day] = self._store.version(*day)
        # a version's name ends with the start of its digest
        version = (self._versions[day] or "").rpartition("-")[2]
        if not version or reference["digest"].startswith(version):
            return True
        before, now = self.recorded(reference), self.manifest(*day)
        return None not in (before, now) and _rows(before, day[0]) == _rows(now, day[0])

    def recorded(self, reference: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the manifest of a version that another manifest names; None if it is gone."""
        kind, day = reference["kind"], reference["partition"]
        version = version_of(reference)
        if (kind, day, version) not in self._recorded:
            self._recorded[kind, day, version] = self._store.manifest(kind, day, version)
        return self._recorded[kind, day, version]


def _references(manifest: Mapping[str, Any], role: str) -> Sequence[Mapping[str, Any]]:
    found = manifest["inputs"].get(role, [])
    return [one for one in (found if isinstance(found, list) else [found]) if "digest" in one]


def _rows(manifest: Mapping[str, Any] | None, kind: str) -> str | None:
    """Return the digest of an artifact's rows, else that of the artifact."""
    if manifest is None:
        return None
    entry = manifest["files"].get(ROWS.get(kind, ""))
    return str(entry["sha256"] if entry else manifest["digest"])


def _landing(manifest: Mapping[str, Any]) -> str | None:
    """Return the digest of the landing files of a day, else that of its rows."""
    return manifest["inputs"].get("landing") or _rows(manifest, manifest["kind"])


def outdated_days(store: ArtifactStore, days: Iterable[str]) -> dict[str, list[Day]]:
    """Return the days whose features or masked rows are outdated, with what has changed.

    Args:
        store: of the artifacts.
        days: ISO.
    """
    fresh, found = Freshness(store), {}
    for day in days:
        made = [fresh.manifest(kind, day) for kind in DAILY]
        changed = {one for manifest in made if manifest for one in fresh.changed(manifest)}
        if changed:
            found[day] = sorted(changed)
    return found


def require_fresh(store: ArtifactStore, opened: Iterable[Mapping[str, Any]]) -> None:
    """Refuse artifacts that were made from an older version of a day.

    Args:
        store: of the artifacts.
        opened: manifests of what is to be read together.

    Raises:
        Outdated: names what is outdated, the days that changed, and the remedy.
    """
    fresh = Freshness(store)
    wrong: dict[str, dict[str, set[Day]]] = {}
    for manifest in opened:
        changed = fresh.changed(manifest)
        if changed:
            wrong.setdefault(manifest["kind"], {})[str(manifest["partition"])] = changed
    if not wrong:
        return
    lines = []
    for kind, days in sorted(wrong.items()):
        every = sorted({one for each in days.values() for one in each})
        upstream = ", ".join(
            f"{of} of {', '.join(day for other, day in every if other == of)}"
            for of in dict.fromkeys(of for of, _ in every)
        )
        lines.append(f"{kind} of {', '.join(sorted(days))}: made before {upstream} changed")
    daily = sorted({day for kind in DAILY for day in wrong.get(kind, {})})
    if daily:  # all of them, so that one run is enough
        daily = sorted(outdated_days(store, [*daily, *store.partitions(FEATURES)]))
    raise Outdated("; ".join(lines) + ". Remedy: " + _remedy(daily))


def _remedy(daily: Sequence[str]) -> str:
    if not daily:
        return "run the job full_training again (`recsys materialize`)"
    until = f" --until {daily[-1]}" if len(daily) > 1 else ""
    return (
        f"run `recsys ingest-day {daily[0]}{until}`, or the job daily_features for these days "
        "(with RECSYS_AUTOMATION=true the sensor new_day starts it), then this step again"
    )
