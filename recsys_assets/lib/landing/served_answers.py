"""Name the columns and files of the log of answers in the landing zone.

Files are ``served/<YYYY-MM-DD>/served-<stream id>.parquet``, one row per answer. The day is that of
the answer, in the shop's time zone.
"""

from __future__ import annotations

import polars as pl

from recsys_assets.columns import ARRIVED, DEVICE_TYPE, REQUEST_ID, USER_ID
from recsys_assets.lib.landing.zone import SERVED_FOLDER

ANSWER_ID, AT, ITEM_IDS = "answer_id", "at", "item_ids"
SCORES, PROPENSITIES, FEATURES, ARM = "scores", "propensities", "features", "arm"
#: One row per answer; ``serving.events.served_log.ServedAnswer`` says what the columns hold.
SCHEMA: dict[str, pl.DataType] = {
    ANSWER_ID: pl.String(),
    REQUEST_ID: pl.String(),
    USER_ID: pl.String(),
    AT: pl.Int64(),
    DEVICE_TYPE: pl.String(),
    "context_at": pl.Int64(),
    "top_k": pl.Int64(),
    ITEM_IDS: pl.List(pl.String()),
    SCORES: pl.List(pl.Float64()),
    PROPENSITIES: pl.List(pl.Float64()),
    "query_release": pl.Int64(),
    "release": pl.Int64(),
    "reasons": pl.List(pl.String()),
    ARRIVED: pl.Int64(),  # unix seconds at which the stream took the answer
    FEATURES: pl.String(),  # JSON of ``served_log.LoggedFeatures``; null: not logged
    ARM: pl.String(),  # of the shop's experiment; null: the request named none
}
#: Columns that files of older versions lack.
LATER = (FEATURES, ARM)


def folder_of(day: str) -> str:
    """Return the folder of a day (ISO), below the landing zone."""
    return f"{SERVED_FOLDER}/{day}"
