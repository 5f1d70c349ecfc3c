"""Write each shop's files once per session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from recsys_assets.bench.shops.all_shops import SHOPS
from recsys_assets.bench.shops.shop import Written

BY_NAME = {shop.name: shop for shop in SHOPS}
#: Shops that draw their files; real logs need the package index.
REAL = ("movielens", "complete_journey")
DRAWN = tuple(name for name in BY_NAME if name not in REAL)

Shop = tuple[Path, Written]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Shop]:
    """Return (folder, description) of a shop by its name."""
    known: dict[str, Shop] = {}

    def write(name: str) -> Shop:
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            known[name] = folder, BY_NAME[name].write(folder, folder, 0)
        return known[name]

    return write


def read(path: Path) -> pl.DataFrame:
    """Read a file of a shop; ids and times stay text."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    separator = "\t" if path.suffix == ".tsv" else ","
    return pl.read_csv(path, separator=separator, infer_schema=False)
