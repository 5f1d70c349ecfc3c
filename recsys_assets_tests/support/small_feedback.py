"""Predictions for ads and their labels as files of the landing zone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets.ads_columns import CATEGORIES, INTEGERS
from recsys_assets.lib.landing.ads_predictions import (
    LABELS_SCHEMA,
    PREDICTIONS_SCHEMA,
    prediction_id,
)

DAY = "2026-03-02"
#: 2026-03-02 12:00:00 UTC.
NOON = 1_772_452_800.0
HOUR = 3_600.0


def name_of(number: int, at: float = NOON) -> str:
    """Return the id of a prediction."""
    return prediction_id(int(at * 1_000), "ab", number)


def prediction(number: int, at: float = NOON, **changed: Any) -> dict[str, Any]:
    """Return a prediction whose fields follow from its number."""
    return {
        "prediction_id": name_of(number, at),
        "request_id": "r",
        "at": at,
        "release": 3,
        "score": number / 100,
        **{name: number for name in INTEGERS},
        **{name: f"v{number}" for name in CATEGORIES},
        **changed,
    }


def label(number: int, clicked: int, arrived: float, at: float = NOON) -> dict[str, Any]:
    """Return a label of a prediction, which was made when it arrived."""
    return {
        "prediction_id": name_of(number, at),
        "label": clicked,
        "at": arrived,
        "arrived": arrived,
    }


def land(
    landing: Path | str,
    predictions: Sequence[dict[str, Any]] = (),
    labels: Sequence[dict[str, Any]] = (),
    *,
    file: str = "1772452800000-0",
    day: str = DAY,
) -> None:
    """Write a file of predictions and one of labels, unless they have no rows."""
    for rows, folder, prefix, schema in (
        (predictions, "ads_predictions", "predictions", PREDICTIONS_SCHEMA),
        (labels, "ads_labels", "labels", LABELS_SCHEMA),
    ):
        if not rows:
            continue
        target = Path(landing, folder, day)
        target.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows, schema=schema).write_parquet(target / f"{prefix}-{file}.parquet")
