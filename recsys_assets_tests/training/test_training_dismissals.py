"""Dismissals in the training environment: data sets, and what the ranker learns from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.release_files import DISMISSALS, DISMISSED
from recsys_assets_tests.support.tiny_shop import TRAIN_DAYS, Shop, StepRun, run_step

pytestmark = pytest.mark.training
WEIGHT = 20.0
RANKER = {"epochs": 2, "batch_size": 256, "seed": 11}


@pytest.fixture(scope="module")
def dismissing(
    shop: Shop, workflows: StepRun, tmp_path_factory: pytest.TempPathFactory
) -> dict[bool, StepRun]:
    """Data sets of days on which each click on the most clicked item is dismissed too.

    By whether the log holds clicks alone.
    """
    found = {}
    for clicks_only in (False, True):
        folder = tmp_path_factory.mktemp("dismissing")
        train, valid = [], []
        for kept, days, name in (
            (train, shop.masked, "masked"),
            (valid, shop.features[TRAIN_DAYS:], "features"),
        ):
            for n, day in enumerate(days):
                target = folder / f"{name}-{n}"
                shutil.copytree(day, target)
                rows = pl.read_parquet(day / f"{name}.parquet")
                of_clicks = rows.filter(pl.col(c.CLICK) == 1)
                if clicks_only:
                    of_clicks.write_parquet(target / f"{name}.parquet")
                dismissed = of_clicks.filter(pl.col(c.ITEM_ID) == "item-59").with_columns(
                    pl.lit(0, rows.schema[c.CLICK]).alias(c.CLICK)
                )
                if name == "masked" and dismissed.height:
                    dismissed.write_parquet(target / DISMISSALS)
                kept.append(target)
        inputs = {
            "workflows": workflows.output,
            "train": train,
            "valid": valid,
            "history": shop.features,
            "items": shop.items,
        }
        run = run_step("features.make_datasets", folder, inputs, {"dismissal_weight": WEIGHT})
        found[clicks_only] = run
    return found


def test_dismissed_rows_are_beside_the_others_with_their_weight(
    dismissing: dict[bool, StepRun], datasets: StepRun
) -> None:
    run = dismissing[False]
    rows = pl.read_parquet(run.output / DISMISSED / "*.parquet")
    assert rows.height == run.metrics["dismissed_rows"] > 20
    assert set(rows[c.VALUE]) == {WEIGHT} and set(rows[c.CLICK]) == {0}
    assert rows[c.ITEM_ID].n_unique() == 1
    assert not (datasets.output / DISMISSED).exists() and "dismissed_rows" not in datasets.metrics
    for split in ("train", "valid"):
        plain, own = (pl.read_parquet(one.output / split / "*.parquet") for one in (datasets, run))
        assert own.select(plain.columns).equals(plain)


def scores(trained: StepRun, item: int) -> np.ndarray:
    """Scores of an item in the sample of validation rows that a model is written with."""
    with np.load(trained.output / "parity.npz") as sample:
        of_item = sample["cat"][:, c.RANKER_CATEGORICAL.index(c.ITEM_ID)] == item
        found: np.ndarray = sample["score"].reshape(-1)[of_item]
    return found


@pytest.mark.parametrize("clicks_only", [False, True])
def test_the_ranker_places_a_dismissed_item_lower(
    dismissing: dict[bool, StepRun],
    model_inputs: dict[str, Path],
    tmp_path: Path,
    clicks_only: bool,
) -> None:
    """A log of clicks alone stays one: a few dismissals are not its negatives."""
    made = dismissing[clicks_only]
    item = pl.read_parquet(made.output / DISMISSED / "*.parquet")[c.ITEM_ID][0]
    without = tmp_path / "without"
    shutil.copytree(made.output, without)
    shutil.rmtree(without / DISMISSED)
    found = {}
    for name, datasets in (("with", made.output), ("without", without)):
        folder = tmp_path / f"{name}_run"
        folder.mkdir()
        inputs = {**model_inputs, "datasets": datasets}
        found[name] = run_step("ranking.dlrm", folder, inputs, RANKER)
    learnt, plain = found["with"].metrics, found["without"].metrics
    count = made.metrics["dismissed_rows"]
    assert learnt["dismissed_rows"] == count and "dismissed_rows" not in plain
    assert learnt["rows"] == plain["rows"] + count
    same = ("held_out_rows", "validation_rows", "validation_clicks", "sampled_negatives")
    assert [learnt[name] for name in same] == [plain[name] for name in same]
    assert (plain["sampled_negatives"] > 0) == clicks_only
    own, others = (scores(found[name], item).mean() for name in ("with", "without"))
    assert own < 0.7 * others, (own, others)
