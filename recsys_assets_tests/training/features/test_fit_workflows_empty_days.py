"""Tests that days without rows may lie anywhere in a window, and that a window without any row is
refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets_tests.support.tiny_shop import Shop, StepRun, run_step, start_step, write

pytestmark = pytest.mark.training
HISTORY = "click_history.parquet"


@pytest.fixture
def nothing(shop: Shop, tmp_path: Path) -> Path:
    """The files of a day without rows."""
    folder = tmp_path / "nothing"
    for source, name in (
        (shop.masked[0], "masked.parquet"),
        (shop.features[0], "features.parquet"),
        (shop.features[0], HISTORY),
    ):
        write(pl.read_parquet(source / name).clear(), folder, name)
    return folder


def test_days_without_rows_around_one_with_rows_change_nothing(
    shop: Shop, nothing: Path, tmp_path: Path
) -> None:
    masked, day = shop.masked[0], shop.features[0]
    fitted, made = {}, {}
    for name, around in (("alone", []), ("among", [nothing])):
        folder = tmp_path / name
        folder.mkdir()
        fitted[name] = run_step(
            "features.fit_workflows",
            folder,
            {"train": [*around, day, *around], "items": shop.items},
        )
        made[name] = run_step(
            "features.make_datasets",
            folder,
            {
                "workflows": fitted[name].output,
                "train": [*around, masked, *around],
                "valid": [*around, day, *around],
                "history": [*around, day, *around, *around, day, *around],
                "items": shop.items,
            },
        )
    alone, among = ((run.output / "transforms.json").read_bytes() for run in fitted.values())
    assert alone == among
    clicked = pl.read_parquet(day / "features.parquet")[c.CLICK].sum()
    for split in ("train", "valid"):
        alone, among = (pl.read_parquet(run.output / split / "*.parquet") for run in made.values())
        assert alone.equals(among) and alone.height
        of_alone, of_among = (np.load(run.output / f"{split}_history.npy") for run in made.values())
        assert np.array_equal(of_alone, of_among)
    assert made["among"].metrics["valid_clicked_rows"] == clicked > 0


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("features.fit_workflows", "no training day has a row"),
        ("features.make_datasets", "none of the 1 days of valid has a row"),
    ],
)
def test_a_window_without_any_row_is_refused_with_the_remedy(
    shop: Shop, workflows: StepRun, nothing: Path, tmp_path: Path, step: str, message: str
) -> None:
    inputs = {"train": [str(nothing)], "items": str(shop.items)}
    if step == "features.make_datasets":
        inputs |= {
            "workflows": str(workflows.output),
            "train": [str(shop.masked[0])],
            "valid": [str(nothing)],
            "history": [str(shop.features[0]), str(nothing)],
        }
    done = start_step(step, {"inputs": inputs, "output": str(tmp_path / "output")}, tmp_path)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
