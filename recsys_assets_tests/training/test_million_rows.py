"""The compiled transform against NVTabular itself, column by column, on a million rows of everything that can come."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.batch_transform import BatchTransform
from recsys_assets_tests.training.tiny_shop import TRAINING_PYTHON, run_step

pytestmark = pytest.mark.training

ROWS, FIT_ROWS = 1_000_000, 20_000
USERS, ITEMS = 5_000, 600
KNOWN = {
    c.USER_ID: [f"user-{n}" for n in range(USERS)], c.GENDER: list(c.GENDERS), c.TOP_CATEGORY: ["tools", "books", "ágil"],
    c.DEVICE_TYPE: list(c.DEVICES), c.ITEM_ID: [f"item-{n}" for n in range(ITEMS)],
    c.CATEGORY_L1: ["tools", "books", "ágil"], c.CATEGORY_L2: [f"style-{n}" for n in range(40)],
    c.ITEM_GENDER: list(c.ITEM_GENDERS),
}
#: Null, the mark of the unknown, and strings that no fit has seen; some look like a known one.
STRANGE = [None, c.MISSING, "", " ", "user-0 ", "USER-1", "item-01", "f", "nan", "None", "0", "3", "日本", "x" * 300]
BELOW = [float(np.nextafter(np.float32(age), np.float32(0))) for age in c.AGE_BOUNDARIES]
EXTREMES = {
    c.AGE: [None, float("nan"), 0.0, -0.0, 1.5, *map(float, c.AGE_BOUNDARIES), *BELOW, 120.0, -1.0, 1e6],
    c.TIMESTAMP: [0, -1, 1, 3_599, 3_600, 86_399, 86_400, -86_400, -1_000_000_007, 2**31, 2**33, 253_402_300_799],
    c.PRICE: [0.01, 1e-30, 1.0, 0.1 + 0.2, 24_999.99, 1e30, float(np.float32(16_777_217))],
    c.CLICKS_24H: [0.0, 1.0, 200.0, 1e6], c.HOURS_SINCE_CLICK: [0.0, 1 / 3600, 23.999, 24.0, 24.5],
    c.ITEM_CLICKS: [0.0, 1.0, 16_777_216.0, 1e9],
}


def usual(count: int, seed: int) -> pl.DataFrame:
    """Rows as a shop has them; nobody is under 18, so that one age bucket is not in the vocabulary either."""
    random = np.random.default_rng(seed)
    table = {name: pl.Series(values).gather(random.integers(len(values), size=count)) for name, values in KNOWN.items()}
    numbers = {
        c.TIMESTAMP: random.integers(1_600_000_000, 1_900_000_000, size=count), c.AGE: random.integers(18, 90, size=count),
        c.PRICE: np.round(np.exp(random.normal(4, 1.3, count)), 2), c.CLICKS_24H: random.poisson(2, count),
        c.HOURS_SINCE_CLICK: random.random(count) * 24, c.ITEM_CLICKS: random.poisson(40, count),
        c.CLICK: random.random(count) < 0.2,
    }
    frame = pl.DataFrame({**table, **numbers, c.EVENT_ID: np.arange(count).astype(str)})
    return frame.select(list(c.INTERACTION_FEATURES)).cast({name: getattr(pl, kind) for name, kind in c.INTERACTION_FEATURES.items()})


def strange(count: int, seed: int) -> pl.DataFrame:
    """The same with a quarter of each column's values replaced, independently, by whatever is hard."""
    frame, random = usual(count, seed), np.random.default_rng(seed + 1)
    pools = {**{name: pl.Series(STRANGE, dtype=pl.String) for name in KNOWN},
             **{name: pl.Series(values).cast(frame.schema[name]) for name, values in EXTREMES.items()}}
    return frame.with_columns(
        pl.when(pl.lit(pl.Series(random.random(count) < 0.25)))
        .then(pl.lit(pool.gather(random.integers(len(pool), size=count)))).otherwise(pl.col(name)).alias(name)
        for name, pool in pools.items())


def write(frame: pl.DataFrame, folder: Path, name: str) -> Path:
    folder.mkdir()
    frame.write_parquet(folder / name)
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The million rows by the compiled transform, and by NVTabular as the graph's own step runs it."""
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    folder = tmp_path_factory.mktemp("million")
    fit = write(usual(FIT_ROWS, 1), folder / "fit", "features.parquet")
    items = usual(ITEMS, 2).with_columns(pl.Series(c.ITEM_ID, KNOWN[c.ITEM_ID])).select(*c.ITEM_CATEGORICAL, c.PRICE)
    catalogue = write(items, folder / "items", "items.parquet")
    rows = strange(ROWS, 3)
    workflows = run_step("fit_workflows", folder, {"train": [fit], "items": catalogue})
    datasets = run_step("make_datasets", folder, {
        "workflows": workflows.output, "items": catalogue, "valid": [write(rows, folder / "rows", "features.parquet")],
        "train": [write(strange(10, 5), folder / "few", "masked.parquet")]})
    ours = BatchTransform(json.loads((workflows.output / "transforms.json").read_text())).transform_frame(rows)
    return ours, pl.read_parquet(datasets.output / "valid" / "*.parquet")


def test_every_index_is_equal(both: tuple[pl.DataFrame, pl.DataFrame]):
    ours, theirs = both
    assert ours.height == theirs.height == ROWS
    for name in c.RANKER_CATEGORICAL:
        different = ours[name] != theirs[name]
        assert not different.any(), f"{name}: {different.sum()} rows differ"
        kinds = set(ours[name].clip(upper_bound=c.VOCABULARY_START).unique())
        expected = {c.OOV_INDEX, c.VOCABULARY_START}  # a null age is the mean one, so age_binned is never null
        assert kinds == (expected if name == c.AGE_BINNED else expected | {c.NULL_INDEX}), name


def test_every_number_is_equal(both: tuple[pl.DataFrame, pl.DataFrame]):
    ours, theirs = both
    for name in c.RANKER_CONTINUOUS:
        found = ours[name].to_numpy()
        assert np.isfinite(found).all(), name
        # relative where the value is large: neighbouring float32 are further apart than 1e-6 there
        np.testing.assert_allclose(found, theirs[name].to_numpy(), rtol=1e-6, atol=1e-6, err_msg=name)
        assert len(np.unique(found)) >= 4, f"{name} hardly varies: the rows test nothing"
