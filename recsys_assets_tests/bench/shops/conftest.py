"""Write each shop's files once per session."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from recsys_assets.bench.shops.all_shops import SHOPS
from recsys_assets.bench.shops.shop import Written
from recsys_assets.bench.shops.wheels import DataWheel

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


def write_wheel(folder: Path, package: str, content: str, **tables: pl.DataFrame) -> DataWheel:
    """Write a wheel that holds tables as Parquet files, and return what names it.

    content: path of a table in the wheel, with {} for its name.
    """
    wheel = DataWheel(package, "9.0.0", "")
    path = folder / f"{package.replace('-', '_')}-{wheel.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, frame in tables.items():
            written = io.BytesIO()
            frame.write_parquet(written)
            archive.writestr(content.format(name), written.getvalue())
    return replace(wheel, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
