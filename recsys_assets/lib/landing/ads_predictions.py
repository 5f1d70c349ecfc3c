"""Name the columns and files of the gateway's predictions for ads, and of their labels.

    ads_predictions/<YYYY-MM-DD>/predictions-<stream id>.parquet   one row per prediction
    ads_labels/<YYYY-MM-DD>/labels-<stream id>.parquet             one row per label

The day is that of the prediction in both, in the shop's time zone. It follows from the id of the
prediction, so that a label finds its day without the prediction.
"""

from __future__ import annotations

import re

import polars as pl

from recsys_assets.ads_columns import CATEGORIES, INTEGERS, LABEL
from recsys_assets.columns import ARRIVED, REQUEST_ID

PREDICTION_ID, AT, RELEASE, SCORE = "prediction_id", "at", "release", "score"
PREDICTIONS_SCHEMA: dict[str, type[pl.DataType]] = {
    PREDICTION_ID: pl.String,
    REQUEST_ID: pl.String,
    AT: pl.Float64,  # unix seconds of the answer
    RELEASE: pl.Int64,
    SCORE: pl.Float64,  # click probability
    **dict.fromkeys(INTEGERS, pl.Int64),
    **dict.fromkeys(CATEGORIES, pl.String),
}
LABELS_SCHEMA: dict[str, type[pl.DataType]] = {
    PREDICTION_ID: pl.String,
    LABEL: pl.Int8,  # 1: clicked
    AT: pl.Float64,  # unix seconds of the click, or at which the label was made
    ARRIVED: pl.Float64,  # unix seconds at which the stream took the label
}
#: Milliseconds since 1970, the name of the process, and the number of the prediction, all hex.
ID_PATTERN = r"^[0-9a-f]{1,12}-[0-9a-f]{1,64}-[0-9a-f]{1,16}$"
_ID = re.compile(ID_PATTERN)
#: Moments of predictions: from 2000-01-01 to 2100-01-01, unix milliseconds.
_EARLIEST_MS, _LATEST_MS = 946_684_800_000, 4_102_444_800_000


def prediction_id(at_ms: int, process: str, count: int) -> str:
    """Return the id of a prediction.

    Args:
        at_ms: unix milliseconds of the answer.
        process: name of the gateway's process, hex.
        count: of the process's predictions.

    >>> prediction_id(1_790_000_000_123, "ab", 31)
    '1a0c4506c7b-ab-1f'
    """
    return f"{at_ms:x}-{process}-{count:x}"


def predicted_at(given: str) -> float:
    """Return the unix seconds of a prediction.

    Raises:
        ValueError: the text is no id of a prediction.

    >>> predicted_at("1a0c4506c7b-ab-1f")
    1790000000.123
    """
    at_ms = int(given.partition("-")[0], 16) if _ID.fullmatch(given) else 0
    if not _EARLIEST_MS <= at_ms < _LATEST_MS:
        raise ValueError("is no prediction_id that the gateway gave")
    return at_ms / 1_000


def stream_moment(stream_id: str) -> float:
    """Return the unix seconds at which the stream took an entry, with milliseconds.

    >>> stream_moment("1793491200999-7")
    1793491200.999
    """
    return int(stream_id.partition("-")[0]) / 1_000
