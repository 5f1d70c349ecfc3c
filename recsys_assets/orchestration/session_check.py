"""Report whether the clicks of a session move the list, as an asset check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from recsys_assets.orchestration import reporting

if TYPE_CHECKING:
    from recsys_assets.lib.evaluation.measures import MoveFigures

NAME = "session_moves"
SPEC = {
    NAME: "Five clicks outside the usual taste change some of the 10 items of the median list, and "
    "not all of them. Warns otherwise, with the remedy."
}


def check(moves: Mapping[str, Mapping[str, MoveFigures]], items: int) -> dg.AssetCheckResult:
    """Return the result of the check.

    Args:
        moves: of ``session_moves.measure``.
        items: of the catalogue.
    """
    from recsys_assets.lib.evaluation.session_moves import verdict

    passed, found = verdict(moves, items)
    return reporting.check(
        NAME, passed, value=found, threshold="more than 0 items, fewer than 10", blocking=False
    )
