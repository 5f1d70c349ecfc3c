"""Show the result of ``recsys check-served`` in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from recsys_assets.settings import Settings

if TYPE_CHECKING:
    from recsys_assets.lib.served_check.agreement import Agreement


def default_release(settings: Settings) -> int:
    """Return the release that serves, else the newest.

    Raises:
        ReleaseError: there is none.
    """
    from recsys_assets.artifacts import ArtifactStore
    from recsys_assets.lib.release import releases
    from recsys_assets.lib.release.champion import read_champion

    present = read_champion(settings)
    if present is not None:
        return present.release
    known = releases.list_releases(
        ArtifactStore(settings.artifacts, cache=settings.home / "cache" / "artifacts")
    )
    if not known:
        raise releases.ReleaseError(
            f"{settings.home} has no release to check: build one with `recsys materialize`"
        )
    return known[-1].number


def show(found: Agreement, console: Console) -> None:
    """Print the number of lists per cause, and the first difference."""
    from recsys_assets.lib.served_check import outcome

    table = Table(
        "lists",
        Column("number", justify="right"),
        "meaning",
        box=SIMPLE_HEAD,
        title=f"release {found['release']} · rung {found['rung']} · {found['list_length']} items "
        "per list",
    )
    for cause, meaning in outcome.MEANINGS.items():
        table.add_row(cause.replace("_", " "), str(found["causes"][cause]), meaning)
    console.print(table)
    console.print(escape(outcome.difference_text(found)), highlight=False, soft_wrap=True)
    if found["first"] is not None:
        pairs = Table("place", "evaluated", "served", box=SIMPLE_HEAD)
        for row in outcome.difference_rows(found):
            pairs.add_row(*map(escape, row))
        console.print(pairs)
    if found["diversity"]:
        console.print(f"not compared: {found['diversity']}", highlight=False)
    colour, word = ("green", "passed") if found["passed"] else ("red", "failed")
    console.print(f"[{colour}]{word}[/]: {outcome.summary(found)}", highlight=False)
