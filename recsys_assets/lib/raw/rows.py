"""Read the rows of raw/interactions."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recsys_assets.artifacts import Artifact

RAW_INTERACTIONS = "raw/interactions"
INTERACTIONS_FILE = "interactions.parquet"


def scan_interactions(days: Sequence[Artifact]) -> pl.LazyFrame:
    """Return the rows of several days, lazily, oldest day first; select the columns to read.

    Days that were written before arrivals were kept have no column ARRIVED, so it cannot be read
    here.
    """
    files = [day.path(INTERACTIONS_FILE) for day in days]
    return pl.scan_parquet(files, extra_columns="ignore")
