"""Keep the order within a second in the event id.

Timestamps are whole seconds, and every stage orders the events of a second by their id. An id of an
event that has a finer time begins with that time, so that all stages keep the log's order.
"""

from __future__ import annotations

import polars as pl

_PREFIX = r"^~\d{6}~"


def in_order(event_id: pl.Expr, micros: pl.Expr) -> pl.Expr:
    """Return ids whose order is that of the microseconds within their second.

    An event on the whole second keeps its id. "~" is after every letter and digit of ASCII, so the
    others follow it.

    Args:
        event_id: of the log, or derived from the row.
        micros: 0 to 999,999.
    """
    finer = pl.format("~{}~{}", micros.cast(pl.String).str.zfill(6), event_id)
    return pl.when(micros == 0).then(event_id).otherwise(finer)


def own_id(event_id: pl.Expr) -> pl.Expr:
    """Return the ids without the time, by which an event is known in every source."""
    return event_id.str.replace(_PREFIX, "")
