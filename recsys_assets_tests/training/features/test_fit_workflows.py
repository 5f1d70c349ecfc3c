"""Test the fit of the workflows on days whose columns lack values."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from recsys_assets import columns as c
from recsys_assets.release_files import TRANSFORMS
from recsys_assets.training.features import tables
from recsys_assets_tests.support.tiny_shop import TRAIN_DAYS, Shop, StepRun, run_step, write


def parts(folder: Path, *days: dict[str, list[str | None]]) -> list[pl.DataFrame]:
    """Write days as parts, join the first ones, and return the parts that are left."""
    for number, day in enumerate(days):
        tables.write_part(
            pl.DataFrame(day, schema=dict.fromkeys(day, pl.String))
            .to_arrow()
            .cast(pa.schema([(n, pa.string()) for n in day])),
            folder,
            number,
        )
    tables.join_until_known(folder)
    return [pl.read_parquet(path) for path in sorted(folder.glob("part_*.parquet"))]


def test_the_first_part_has_a_value_in_each_column(tmp_path: Path) -> None:
    days = [
        {"a": [None], "b": ["x"]},
        {"a": [], "b": []},
        {"a": ["y"], "b": [None]},
        {"a": ["z"], "b": ["z"]},
    ]
    first, last = parts(tmp_path, *days)
    assert first.rows() == [(None, "x"), ("y", None)] and last.rows() == [("z", "z")]


def test_a_first_part_with_values_stays(tmp_path: Path) -> None:
    first, last = parts(tmp_path, {"a": ["x", None]}, {"a": [None]})
    assert first.rows() == [("x",), (None,)] and last.rows() == [(None,)]


@pytest.mark.training
def test_a_first_day_without_earlier_clicks_fits(
    shop: Shop, workflows: StepRun, tmp_path: Path
) -> None:
    """As in a log without times of day, whose first day has no earlier click."""
    rows = pl.read_parquet(shop.features[0] / "features.parquet")
    first = write(
        rows.with_columns(pl.lit(c.MISSING).alias(c.TOP_CATEGORY)),
        tmp_path / "1",
        "features.parquet",
    )
    train = [first, *shop.features[1:TRAIN_DAYS]]
    fitted = run_step("features.fit_workflows", tmp_path, {"train": train, "items": shop.items})
    words, usual = (
        json.loads((one.output / TRANSFORMS).read_text())["vocabulary"][c.TOP_CATEGORY]
        for one in (fitted, workflows)
    )
    assert sorted(words) == sorted(usual)
