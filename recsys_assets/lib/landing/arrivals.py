"""Say when each event arrived, and which events were late.

An event arrives when the shop's system has it. Its file says when: in the column ``arrived`` (unix
seconds), else by the stream id in its name (``events-<stream id>.parquet``). An event whose file
does not say it arrived at its own time, as all events of an archive do.
"""

from __future__ import annotations

import re

import polars as pl

from recsys_assets.columns import ARRIVED, EVENT_ID, TIMESTAMP
from recsys_assets.files import sha256_json
from recsys_assets.lib.landing.event_ids import own_id

#: An event that arrives within these seconds is on time: streamed events take some.
LATE_SECONDS = 60
#: Moment from whose end on a query may count an event; a query at t counts it if this is below t.
SINCE = "since"
#: A Valkey stream id of the years 2001 to 2286: milliseconds, then a number.
_STREAMED = re.compile(r"events-(\d{13})-\d+\.parquet")


def stream_seconds(stream_id: str) -> int:
    """Return the unix seconds at which the stream took an entry.

    >>> stream_seconds("1793491200999-7")
    1793491200
    """
    return int(stream_id.partition("-")[0]) // 1000


def stated(rows: pl.DataFrame, file: str) -> pl.DataFrame:
    """Return the rows of a landed file with ARRIVED, as the file states it; null: it does not.

    Args:
        rows: RAW_INTERACTIONS, perhaps with ARRIVED.
        file: name of the file.
    """
    streamed = _STREAMED.fullmatch(file)
    taken = pl.lit(int(streamed[1]) // 1000 if streamed else None, pl.Int64)
    said = pl.coalesce(ARRIVED, taken) if ARRIVED in rows.columns else taken
    return rows.with_columns(said.alias(ARRIVED))


def first_arrivals(
    rows: pl.DataFrame, before: pl.DataFrame | None
) -> tuple[pl.DataFrame, str | None]:
    """Return the rows with the first known arrival of each event.

    An event of an earlier version of the day keeps its arrival there, unless its file states an
    earlier one: a day that is written again makes no event late.

    Args:
        rows: of ``stated``, each event once.
        before: {event_id, arrived} of the earlier version; None: there is none, or it has no
            arrivals.

    Returns:
        The rows, in which ARRIVED is never null and never below TIMESTAMP; and a digest of the
        arrivals that only the earlier version knows, None if there are none.
    """
    arrived = pl.max_horizontal(pl.coalesce(ARRIVED, TIMESTAMP), TIMESTAMP)
    if before is None:
        return rows.with_columns(arrived.alias(ARRIVED)), None
    known = before.select(own=own_id(pl.col(EVENT_ID)), kept=ARRIVED).unique("own", keep="first")
    both = rows.with_columns(own=own_id(pl.col(EVENT_ID)), read=arrived).join(
        known, on="own", how="left", maintain_order="left"
    )
    first = pl.max_horizontal(pl.coalesce(pl.min_horizontal(ARRIVED, "kept"), TIMESTAMP), TIMESTAMP)
    both = both.with_columns(first.alias(ARRIVED))
    kept = both.filter(pl.col(ARRIVED) != pl.col("read")).select("own", ARRIVED).sort("own")
    digest = sha256_json(kept.rows()) if kept.height else None
    return both.select(rows.columns), digest


def since() -> pl.Expr:
    """Return SINCE: a query at t may count an event if SINCE < t.

    An event on time counts from the second after its own. A late one counts in the second of its
    arrival already, because it lies before it.
    """
    late = pl.col(ARRIVED) - pl.col(TIMESTAMP) > LATE_SECONDS
    return pl.when(late).then(pl.col(ARRIVED) - 1).otherwise(TIMESTAMP).alias(SINCE)


def late_rows(rows: pl.DataFrame) -> int:
    """Return how many rows arrived more than LATE_SECONDS after their event."""
    return int((rows[ARRIVED] - rows[TIMESTAMP] > LATE_SECONDS).sum())
