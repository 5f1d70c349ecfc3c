"""Values of clicks in the training environment: data sets, weights of rows, and what models learn.

``values_probe.py`` trains there and says what it found.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.support.tiny_shop import (
    TRAIN_DAYS,
    TRAINING_PYTHON,
    Shop,
    StepRun,
    run_step,
)

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def probe() -> dict[str, Any]:
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    done = subprocess.run(
        [str(TRAINING_PYTHON), "-m", "recsys_assets_tests.support.values_probe"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        env={"PYTHONPATH": str(PROJECT_ROOT), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_clicked_rows_weigh_their_value_over_the_mean(probe: dict[str, Any]) -> None:
    found = probe["weights"]
    assert found["of"] == [0.25, 1.0, 2.75, 0.0] and found["without"]
    assert found["dismissed"] == [1.0, 1.0, 2.5]
    assert "none of the 3 clicks" in found["refused"] and "RECSYS_EVENT_VALUES" in found["refused"]


def test_drawn_negatives_are_worth_1(probe: dict[str, Any]) -> None:
    assert probe["drawn"] == {"clicks": [7.0], "negatives": [1.0]}


@pytest.mark.parametrize("model", ["two_tower", "ranker"])
def test_the_same_value_for_all_clicks_changes_nothing(probe: dict[str, Any], model: str) -> None:
    found = probe[model]
    assert found["same"]["checksum"] == pytest.approx(found["none"]["checksum"], rel=1e-6)


@pytest.mark.parametrize("model", ["two_tower", "ranker"])
def test_values_raise_the_value_weighted_ndcg(probe: dict[str, Any], model: str) -> None:
    found = {kind: figures["value_ndcg"] for kind, figures in probe[model].items()}
    assert found["odd"] > found["none"] + 0.01, found


def test_early_stopping_weighs_held_out_clicks_by_value(probe: dict[str, Any]) -> None:
    found = probe["two_tower"]["odd"]
    assert found["judged"] == pytest.approx(found["weighted_loss"], rel=1e-6)


def test_the_rankers_odds_are_those_of_the_click_times_its_relative_value(
    probe: dict[str, Any],
) -> None:
    """Half the clicks are worth 10, so the odds of theirs are about ten times those of others."""
    plain, valued = (probe["ranker"][kind]["odds_ratio"] for kind in ("none", "odd"))
    assert 4 < valued / plain < 14, (plain, valued)


def _with_values(shop: Shop, workflows: StepRun, folder: Path) -> StepRun:
    """Return the data sets with the values of the folder, which they are written into."""
    return run_step(
        "features.make_datasets",
        folder,
        {
            "workflows": workflows.output,
            "train": shop.masked,
            "valid": shop.features[TRAIN_DAYS:],
            "history": shop.features,
            "items": shop.items,
            "values": folder,
        },
    )


def test_data_sets_have_the_values_beside_the_same_rows(
    shop: Shop, workflows: StepRun, datasets: StepRun, tmp_path: Path
) -> None:
    rows = pl.concat(
        [pl.read_parquet(Path(day) / "features.parquet") for day in shop.features],
        how="vertical_relaxed",
    )
    clicks = rows.filter(pl.col(c.CLICK) == 1).select(c.EVENT_ID)
    worth = clicks.with_columns(
        (pl.int_range(pl.len()) % 5 + 1).cast(pl.Float32).alias(c.VALUE)
    ).sample(fraction=1.0, shuffle=True, seed=1)
    worth.write_parquet(tmp_path / "click_values.parquet")
    run = _with_values(shop, workflows, tmp_path)
    expected = (
        rows.join(worth, on=c.EVENT_ID, how="left", maintain_order="left")[c.VALUE]
        .fill_null(1.0)
        .to_list()
    )
    found = []
    for split in ("train", "valid"):
        plain, valued = (
            pl.read_parquet(one.output / split / "*.parquet") for one in (datasets, run)
        )
        # NVTabular orders the columns by a set
        assert plain.equals(valued.select(plain.columns)) and c.VALUE not in plain.columns
        found += valued[c.VALUE].to_list()
    assert found == expected
