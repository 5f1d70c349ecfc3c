"""Queries made by hand, a few of them over a catalogue of a few items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from recsys_assets.lib.evaluation.queries import SIMULATED, VISITOR, Queries


def queries(
    true: Sequence[int],
    items: int,
    *,
    seen: Sequence[Sequence[int]] | None = None,
    users: Sequence[str] | None = None,
    clicks: Sequence[int] | None = None,
    simulated: Sequence[bool] | None = None,
    slices: Mapping[str, Sequence[bool]] | None = None,
    frame: pl.DataFrame | None = None,
    item_ids: Sequence[str] | None = None,
) -> Queries:
    """Queries for the items ``true``; nothing is seen, every query is a user's own, and no item was
    clicked unless given.
    """
    seen = seen or [()] * len(true)
    base = (
        pl.DataFrame({"event_id": [f"e{n}" for n in range(len(true))]}) if frame is None else frame
    )
    base = base.with_columns(
        pl.Series(VISITOR, users or [f"u{n}" for n in range(len(true))], dtype=pl.String),
        pl.Series(SIMULATED, simulated or [False] * len(true), dtype=pl.Boolean),
    )
    return Queries(
        base,
        np.array(item_ids or [f"i{n}" for n in range(items)]),
        np.array(clicks or [0] * items),
        np.array(true, np.int64),
        np.cumsum([0, *map(len, seen)]),
        np.array([i for of_query in seen for i in sorted(of_query)], np.int32),
        {name: np.array(inside, bool) for name, inside in (slices or {}).items()},
        {"clicks": len(true), "seen_share": 0.0, "cold_users_simulated": False},
    )
