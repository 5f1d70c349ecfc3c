"""Workflows and data sets of small honest shops: nothing known, nothing that varies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.embeddings.aligned import item_tower_inputs
from recsys_assets.lib.features.batch_transform import BatchTransform, history_matrix
from recsys_assets.lib.features.point_in_time import interaction_features, mask
from recsys_assets.lib.own_data.tables import derived_items, derived_users
from recsys_assets.partitions import day_bounds
from recsys_assets_tests.support.tiny_shop import TRAINING_PYTHON, run_step, write

pytestmark = pytest.mark.training

DAYS = ("2026-01-05", "2026-01-06", "2026-01-07")  # two train, one validates


@dataclass(frozen=True)
class HonestShop:
    """Rows a day, visitors, and what the shop knows of items and users."""

    rows: int
    visitors: int
    items: pl.DataFrame
    users: pl.DataFrame
    devices: tuple[str, ...] = (c.MISSING,)


def items_of(count: int, **known: list[object]) -> pl.DataFrame:
    return derived_items(pl.Series([f"i{n}" for n in range(count)])).with_columns(
        pl.Series(name, values, getattr(pl, c.RAW_ITEMS[name])) for name, values in known.items()
    )


def users_of(count: int, ages: list[int | None] | None = None) -> pl.DataFrame:
    users = derived_users(pl.Series([f"u{n}" for n in range(count)]))
    return users if ages is None else users.with_columns(age=pl.Series(ages, dtype=pl.Int32))


SHOPS = {
    "one_item_one_visitor": HonestShop(7, 1, items_of(1), users_of(1)),
    "nothing_varies": HonestShop(
        40, 9, items_of(300, price=[29.9] * 300), users_of(9, [33] * 9), ("mobile",)
    ),
    "some_prices_and_ages": HonestShop(
        40,
        9,
        items_of(5, price=[3.0, None, 80.5, None, 12.0], category_l1=["a", "b", "a", "b", "c"]),
        users_of(9, [20, None, 30, 41, None, 66, None, 18, 90]),
        ("mobile", "desktop", c.MISSING),
    ),
}


def interactions(shop: HonestShop, day: str, seed: int) -> pl.DataFrame:
    random, (start, _) = np.random.default_rng(seed), day_bounds(day)
    click = random.random(shop.rows) < 0.6
    click[:2] = (True, False)
    return pl.DataFrame(
        {
            c.EVENT_ID: [f"{day}-{n}" for n in range(shop.rows)],
            c.USER_ID: [f"u{n % shop.visitors}" for n in range(shop.rows)],
            c.ITEM_ID: [f"i{n}" for n in random.integers(shop.items.height, size=shop.rows)],
            c.TIMESTAMP: start + 1_000 * np.arange(shop.rows),
            c.DEVICE_TYPE: [shop.devices[n % len(shop.devices)] for n in range(shop.rows)],
            c.EVENT_TYPE: np.where(click, c.VIEW, c.IMPRESSION),
            c.CLICK: click,
        }
    ).cast({name: getattr(pl, kind) for name, kind in c.RAW_INTERACTIONS.items()})


@pytest.mark.parametrize("name", SHOPS)
def test_workflows_and_data_sets_are_finite_and_equal_to_the_compiled(
    tmp_path: Path, name: str
) -> None:
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    shop = SHOPS[name]
    logs = [interactions(shop, day, seed) for seed, day in enumerate(DAYS)]
    folders, rows = [], []
    for n, day in enumerate(DAYS):
        earlier = pl.concat(logs[:n]) if n else None
        features, clicks, _ = interaction_features(logs[n], earlier, shop.users, shop.items, day)
        folders.append(write(features, tmp_path / day, "features.parquet"))
        write(clicks, folders[n], "click_history.parquet")
        write(mask(features, day, seed=3), folders[n], "masked.parquet")
        rows.append(features)
    catalogue = write(shop.items, tmp_path / "items", "items.parquet")
    workflows = run_step(
        "features.fit_workflows", tmp_path, {"train": folders[:2], "items": catalogue}
    )
    datasets = run_step(
        "features.make_datasets",
        tmp_path,
        {
            "workflows": workflows.output,
            "train": folders[:2],
            "valid": folders[2:],
            "history": folders,
            "items": catalogue,
        },
    )
    content = json.loads((workflows.output / "transforms.json").read_text())
    for moments in (content["age"], content["price_log"]):
        assert np.isfinite(moments["mean"]) and moments["std"] > 1e-3
    compiled = BatchTransform(content)
    ours = compiled.transform_frame(rows[2])
    theirs = pl.read_parquet(datasets.output / "valid" / "*.parquet")
    assert ours.select(c.RANKER_CATEGORICAL).equals(theirs.select(c.RANKER_CATEGORICAL))
    for column in c.RANKER_CONTINUOUS:
        assert np.isfinite(theirs[column].to_numpy()).all(), column
        np.testing.assert_allclose(
            ours[column].to_numpy(), theirs[column].to_numpy(), rtol=0, atol=1e-6, err_msg=column
        )
    history = np.load(datasets.output / "valid_history.npy")
    clicked = rows[2].filter(pl.col(c.CLICK) == 1)
    lists = pl.read_parquet(folders[2] / "click_history.parquet")
    assert (
        history
        == history_matrix(
            compiled.transforms.vocabulary[c.CATEGORY_L1],
            lists["categories"],
            clicked[c.CLICKS_7D].to_numpy(),
            clicked[c.CLICKS_24H].to_numpy(),
        )
    ).all()
    # the deviation of equal values is not one of rounding: what differs later is no huge number
    later = rows[2].with_columns(pl.lit(70, pl.Float32).alias(c.AGE), pl.lit(500.0).alias(c.PRICE))
    numbers = compiled.transform_frame(later).select(c.AGE_NORM, c.PRICE_LOG_NORM).to_numpy()
    assert np.abs(numbers).max() < 100
    inputs = item_tower_inputs(content, shop.items)
    known = shop.items[c.PRICE].is_not_null().to_numpy()
    assert (inputs["cont"][~known] == 0).all() and np.isfinite(inputs["cont"]).all()
