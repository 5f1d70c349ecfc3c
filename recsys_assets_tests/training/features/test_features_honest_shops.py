"""Features and models of small honest shops: nothing known, nothing that varies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.embeddings.aligned import item_tower_inputs
from recsys_assets.lib.exports.parity import parity
from recsys_assets.lib.features.batch_transform import BatchTransform, ClickHistories
from recsys_assets.lib.features.point_in_time import interaction_features, mask
from recsys_assets.lib.own_data.tables import derived_items, derived_users
from recsys_assets.lib.retrieval.item_vectors import item_vectors
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


@dataclass(frozen=True)
class Prepared:
    """A shop's days and the outputs of both feature steps."""

    folder: Path
    days: list[Path]
    valid: pl.DataFrame
    workflows: Path
    datasets: Path
    transforms: dict[str, Any]


def prepared(shop: HonestShop, folder: Path) -> Prepared:
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    logs = [interactions(shop, day, seed) for seed, day in enumerate(DAYS)]
    days, features = [], pl.DataFrame()
    for n, day in enumerate(DAYS):
        earlier = pl.concat(logs[:n]) if n else None
        features, clicks, _ = interaction_features(
            logs[n], earlier, shop.users, shop.items, day, look_back_days=7
        )
        days.append(write(features, folder / day, "features.parquet"))
        write(clicks, days[n], "click_history.parquet")
        write(mask(features, day, seed=3), days[n], "masked.parquet")
    items = write(shop.items, folder / "items", "items.parquet")
    train, valid = days[:2], days[2:]
    workflows = run_step("features.fit_workflows", folder, {"train": train, "items": items}).output
    inputs = {"workflows": workflows, "train": train, "valid": valid, "history": days}
    datasets = run_step("features.make_datasets", folder, {**inputs, "items": items}).output
    transforms = json.loads((workflows / "transforms.json").read_text())
    return Prepared(folder, days, features, workflows, datasets, transforms)


@pytest.mark.parametrize("name", SHOPS)
def test_workflows_and_data_sets_are_finite_and_equal_to_the_compiled(
    tmp_path: Path, name: str
) -> None:
    shop = SHOPS[name]
    made = prepared(shop, tmp_path)
    for moments in (made.transforms["age"], made.transforms["price_log"]):
        assert np.isfinite(moments["mean"]) and moments["std"] > 1e-3
    compiled = BatchTransform(made.transforms)
    ours = compiled.transform_frame(made.valid)
    theirs = pl.read_parquet(made.datasets / "valid" / "*.parquet")
    assert ours.select(c.RANKER_CATEGORICAL).equals(theirs.select(c.RANKER_CATEGORICAL))
    for column in c.RANKER_CONTINUOUS:
        assert np.isfinite(theirs[column].to_numpy()).all(), column
        np.testing.assert_allclose(
            ours[column].to_numpy(), theirs[column].to_numpy(), rtol=0, atol=1e-6, err_msg=column
        )
    clicked = made.valid.filter(pl.col(c.CLICK) == 1)
    lists = pl.read_parquet(made.days[2] / "click_history.parquet").drop(c.EVENT_ID)
    clicks = ClickHistories.of(compiled.transforms, clicked.hstack(lists))
    assert (np.load(made.datasets / "valid_history.npy") == clicks.categories).all()
    assert (np.load(made.datasets / "valid_items.npy") == clicks.items).all()
    assert (np.load(made.datasets / "valid_ages.npy") == clicks.ages).all()
    # the deviation of equal values is not one of rounding: what differs later is no huge number
    later = made.valid.with_columns(
        pl.lit(70, pl.Float32).alias(c.AGE), pl.lit(500.0).alias(c.PRICE)
    )
    numbers = compiled.transform_frame(later).select(c.AGE_NORM, c.PRICE_LOG_NORM).to_numpy()
    assert np.abs(numbers).max() < 100
    inputs = item_tower_inputs(made.transforms, shop.items)
    known = shop.items[c.PRICE].is_not_null().to_numpy()
    assert (inputs["cont"][~known] == 0).all() and np.isfinite(inputs["cont"]).all()


def test_both_models_train_on_one_item_and_one_visitor(tmp_path: Path) -> None:
    shop = SHOPS["one_item_one_visitor"]
    made = prepared(shop, tmp_path)
    aligned = tmp_path / "aligned"
    aligned.mkdir()
    items = item_tower_inputs(made.transforms, shop.items)
    rows = made.transforms["cardinality"][c.ITEM_ID]
    table = np.zeros((rows, 2 * c.EMBEDDING_DIM), np.float32)  # no text, no picture
    np.save(aligned / "embedding_table.npy", table)
    np.savez(aligned / "item_tower_inputs.npz", **items)
    inputs = {
        "datasets": made.datasets,
        "workflows": made.workflows,
        "embeddings": aligned,
        "item_inputs": aligned,
    }
    towers = run_step("retrieval.two_tower", tmp_path, inputs, {"epochs": 1}).output
    ranker = run_step("ranking.dlrm", tmp_path, inputs, {"epochs": 1}).output
    vectors = item_vectors(towers / "item_tower.onnx", items, table)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    for model, folder in (
        ("query_tower.onnx", towers),
        ("item_tower.onnx", towers),
        ("dlrm.onnx", ranker),
    ):
        assert parity(folder / model, folder / "parity.npz") < 1e-4
