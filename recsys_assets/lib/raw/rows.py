"""Name the raw assets, and read the rows of raw/interactions."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.files import sha256_json

RAW_INTERACTIONS, RAW_ITEMS, RAW_USERS = "raw/interactions", "raw/items", "raw/users"
INTERACTIONS_FILE = "interactions.parquet"


def scan_interactions(days: Sequence[Artifact]) -> pl.LazyFrame:
    """Return the rows of several days, lazily, oldest day first; select the columns to read.

    Days that were written before arrivals were kept have no column ARRIVED, so it cannot be read
    here.
    """
    files = [day.path(INTERACTIONS_FILE) for day in days]
    return pl.scan_parquet(files, extra_columns="ignore")


def table_digest(file: str, digest: str) -> str:
    """Return the digest of a landed table, from that of its file."""
    return sha256_json({file: digest})


def items_digest(table: str, images: str) -> str:
    """Return the digest of the landed catalogue, from those of its table and of its pictures."""
    return sha256_json([table, images])
