"""Tests that training, compiled transforms and serving compute hour and weekday in one time zone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.features.batch_transform import BatchTransform
from recsys_assets.lib.features.transforms import Transforms
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.tabular import NvtContextTransform
from recsys_assets_tests.support.tiny_shop import Shop, StepRun, run_step, write

pytestmark = pytest.mark.training
ZONE = "Europe/Berlin"
SPRING, AUTUMN = 1_774_738_800, 1_792_879_200  # local midnight of 2026-03-29 and of 2026-10-25
STEP = 120  # seconds between rows


def local_day(folder: Path, name: str, target: Path, start: int) -> Path:
    """Write a day of the shop with rows at each STEP of the 23 or 25 hours from ``start`` on."""
    rows = pl.read_parquet(folder / name)
    times = start + STEP * np.arange(rows.height)
    write(rows.with_columns(pl.Series(c.TIMESTAMP, times)), target, name)
    return target


@dataclass
class Zoned:
    workflows: StepRun
    datasets: StepRun
    transforms: dict
    train: Path
    valid: Path


@pytest.fixture(scope="module")
def zoned(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Zoned:
    """Run the steps on one day per split, each with a change of the clock."""
    folder, history = tmp_path_factory.mktemp("zoned"), "click_history.parquet"
    masked, features = shop.masked[0], shop.features[0]
    train = local_day(masked, "masked.parquet", folder / "train", SPRING)
    fitted = local_day(features, "features.parquet", folder / "fitted", SPRING)
    valid = local_day(features, "features.parquet", folder / "valid", AUTUMN)
    (valid / history).write_bytes((features / history).read_bytes())
    workflows = run_step(
        "features.fit_workflows",
        folder,
        {"train": [fitted], "items": shop.items},
        {"time_zone": ZONE},
    )
    datasets = run_step(
        "features.make_datasets",
        folder,
        {
            "workflows": workflows.output,
            "train": [train],
            "valid": [valid],
            "history": [valid, valid],
            "items": shop.items,
        },
    )
    transforms = json.loads((workflows.output / "transforms.json").read_text())
    return Zoned(workflows, datasets, transforms, train, valid)


@pytest.mark.parametrize(
    ("split", "start", "offsets"), [("train", SPRING, {1, 2}), ("valid", AUTUMN, {1, 2})]
)
def test_training_compiled_and_serving_agree_where_the_clock_changes(
    zoned: Zoned, split: str, start: int, offsets: set[int]
) -> None:
    folder, name = (
        (zoned.train, "masked.parquet") if split == "train" else (zoned.valid, "features.parquet")
    )
    raw = pl.read_parquet(folder / name)
    made = pl.read_parquet(zoned.datasets.output / split / "*.parquet")
    assert made.height == raw.height and zoned.transforms["time_zone"] == ZONE
    there = [datetime.fromtimestamp(at, ZoneInfo(ZONE)) for at in raw[c.TIMESTAMP]]
    assert {one.utcoffset().seconds // 3_600 for one in there} == offsets  # both sides of it
    hour = 2 * np.pi / 24 * np.array([one.hour for one in there])
    weekday = 2 * np.pi / 7 * np.array([one.weekday() for one in there])
    expected = np.stack([np.sin(hour), np.cos(hour), np.sin(weekday), np.cos(weekday)], axis=1)
    of_training = made.select(c.CONTEXT_CONTINUOUS).to_numpy()
    np.testing.assert_allclose(of_training, expected, atol=1e-6)
    compiled = BatchTransform(zoned.transforms).transform_frame(raw)
    of_batch = compiled.select(c.CONTEXT_CONTINUOUS).to_numpy()
    np.testing.assert_allclose(of_batch, of_training, atol=1e-6)
    stage = NvtContextTransform(Transforms.read(zoned.workflows.output / "transforms.json"))
    served = stage.run(
        {
            t.CONTEXT_DEVICE.name: raw[c.DEVICE_TYPE].to_numpy(),
            t.CONTEXT_TIMESTAMP.name: raw[c.TIMESTAMP].to_numpy(),
        }
    )
    assert np.array_equal(served[t.CONTEXT_CONT.name], of_batch)


def test_transforms_of_before_zones_are_utc(workflows: StepRun) -> None:
    content = json.loads((workflows.output / "transforms.json").read_text())
    assert content.pop("time_zone") == "UTC"
    assert Transforms.from_dict(content).time_zone == "UTC"
