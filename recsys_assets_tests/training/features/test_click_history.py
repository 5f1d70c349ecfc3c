"""The click histories that make_datasets writes, against the platform's own count of them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.features.batch_transform import ClickHistories
from recsys_assets.lib.features.dataset_checks import transform_differences
from recsys_assets.lib.features.transforms import Transforms
from recsys_assets_tests.support.tiny_shop import (
    TRAIN_DAYS,
    Shop,
    StepRun,
    run_step,
    start_step,
    write,
)

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def transforms(workflows: StepRun) -> Transforms:
    return Transforms.from_dict(json.loads((workflows.output / "transforms.json").read_text()))


def clicked(folders: list[Path], name: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(folder / name) for folder in folders]).filter(
        pl.col(c.CLICK) == 1
    )


def expected(
    rows: pl.DataFrame, histories: list[Path], transforms: Transforms
) -> dict[str, np.ndarray]:
    lists = pl.concat([pl.read_parquet(folder / "click_history.parquet") for folder in histories])
    assert lists[c.EVENT_ID].equals(rows[c.EVENT_ID])
    made = ClickHistories.of(transforms, rows.hstack(lists.drop(c.EVENT_ID)))
    return {"history": made.categories, "items": made.items, "ages": made.ages}


def written(datasets: StepRun, split: str) -> dict[str, np.ndarray]:
    return {
        name: np.load(datasets.output / f"{split}_{name}.npy")
        for name in ("history", "items", "ages")
    }


def test_both_splits_are_the_platforms_own_count(
    shop: Shop, datasets: StepRun, transforms: Transforms
) -> None:
    days = {
        "train": (shop.masked, "masked.parquet", shop.features[:TRAIN_DAYS]),
        "valid": (shop.features[TRAIN_DAYS:], "features.parquet", shop.features[TRAIN_DAYS:]),
    }
    for split, (folders, name, histories) in days.items():
        made, rows = written(datasets, split), clicked(folders, name)
        found = made["history"]
        assert found.dtype == np.uint8 and found.shape == (
            rows.height,
            2 * (c.VOCABULARY_START + 6),
        )
        for part, values in expected(rows, histories, transforms).items():
            assert made[part].dtype == values.dtype and np.array_equal(made[part], values), part
        counts = rows[c.CLICKS_LOOK_BACK].to_numpy()
        assert np.array_equal((made["items"] >= c.VOCABULARY_START).sum(axis=1), counts)
        assert (np.diff(made["ages"])[:, 0][counts > 1] >= 0).all()  # newest first
        assert datasets.metrics[f"{split}_clicked_rows"] == rows.height
        assert found[:, :9].sum(axis=1).tolist() == rows[c.CLICKS_LOOK_BACK].to_list()


def test_a_row_is_that_of_the_data_sets_clicked_row(datasets: StepRun) -> None:
    """The counts at the row's own category are what its frequency and share were made of."""
    for split in ("train", "valid"):
        rows = pl.read_parquet(datasets.output / split / "*.parquet").filter(pl.col(c.CLICK) == 1)
        found = np.load(datasets.output / f"{split}_history.npy").astype(np.float64)
        index = rows[c.CATEGORY_L1].to_numpy()
        for name, start in (
            (c.CATEGORY_FREQUENCY_LOOK_BACK, 0),
            (c.CATEGORY_FREQUENCY_24H, found.shape[1] // 2),
        ):
            counts = found[np.arange(len(rows)), start + index]
            assert (
                np.array_equal(np.log1p(counts).astype(np.float32), rows[name].to_numpy())
                and len(np.unique(counts)) > 5
            )


def test_masked_rows_are_empty(datasets: StepRun) -> None:
    rows = pl.read_parquet(datasets.output / "train" / "*.parquet").filter(pl.col(c.CLICK) == 1)
    made = written(datasets, "train")
    found, masked = made["history"], (rows[c.USER_ID] == c.OOV_INDEX).to_numpy()
    assert masked.sum() > 20 and not any(values[masked].any() for values in made.values())
    assert found[~masked].any(axis=1).mean() > 0.9


def test_its_width_is_the_models_cardinality_of_the_category(
    datasets: StepRun, transforms: Transforms
) -> None:
    schema = (datasets.output / "train" / "schema.pbtxt").read_text()
    size = 1 + int(re.search(r'int_domain \{\s*name: "category_l1"\s*max: (\d+)', schema)[1])
    assert (
        np.load(datasets.output / "train_history.npy").shape[1]
        == 2 * size
        == transforms.history_width
    )


def test_the_data_sets_check_sees_a_history_that_differs(
    shop: Shop, workflows: StepRun, datasets: StepRun, tmp_path: Path
) -> None:
    store = ArtifactStore(tmp_path)

    def artifact(kind: str, folder: Path) -> Artifact:
        with store.stage(kind, folder.name) as staged:
            shutil.copytree(folder, staged.path, dirs_exist_ok=True)
            return staged.publish()

    parts = (
        artifact("datasets", datasets.output),
        artifact("workflows", workflows.output),
        [artifact("features", folder) for folder in shop.features[TRAIN_DAYS:]],
    )
    found = transform_differences(*parts)
    assert (
        set(found) == {*c.RANKER_CATEGORICAL, *c.RANKER_CONTINUOUS, "history"}
        and max(found.values()) <= 1e-6
    )
    assert found["history"] == 0
    made = np.load(datasets.output / "valid_history.npy")
    other = shutil.copytree(datasets.output, tmp_path / "other")
    np.save(other / "valid_history.npy", np.roll(made, 1, axis=0))
    assert transform_differences(artifact("datasets", other), *parts[1:])["history"] == 1
    np.save(other / "valid_history.npy", made)
    ages = np.load(other / "valid_ages.npy")
    np.save(other / "valid_ages.npy", ages + 1)
    assert transform_differences(artifact("datasets", other), *parts[1:])["history"] == 1
    np.save(other / "valid_ages.npy", ages)
    np.save(other / "valid_history.npy", made[1:])
    with pytest.raises(ValueError, match=r"valid_history.npy has shape"):
        transform_differences(artifact("datasets", other), *parts[1:])


@pytest.fixture
def one_day(shop: Shop, workflows: StepRun, tmp_path: Path) -> dict:
    """Inputs of a small call: one day to train on, one to judge by, their histories copied to be
    changed.
    """
    histories = [
        write(
            pl.read_parquet(folder / "click_history.parquet"),
            tmp_path / f"history-{n}",
            "click_history.parquet",
        )
        for n, folder in enumerate((shop.features[0], shop.features[-1]))
    ]
    return {
        "workflows": str(workflows.output),
        "items": str(shop.items),
        "train": [str(shop.masked[0])],
        "valid": [str(shop.features[-1])],
        "history": [str(path) for path in histories],
    }


def test_without_the_masking_nobody_is_unknown(
    shop: Shop, one_day: dict, transforms: Transforms, tmp_path: Path
) -> None:
    made = run_step(
        "features.make_datasets",
        tmp_path,
        {**one_day, "train": [str(shop.features[0])]},
        {"train_name": "features.parquet"},
    )
    rows = clicked(shop.features[:1], "features.parquet")
    for part, values in expected(rows, shop.features[:1], transforms).items():
        assert np.array_equal(np.load(made.output / f"train_{part}.npy"), values), part
    assert (
        pl.read_parquet(made.output / "train" / "*.parquet")[c.USER_ID].min() >= c.VOCABULARY_START
    )


def _swapped(history: pl.DataFrame) -> pl.DataFrame:
    return history[[1, 0, *range(2, history.height)]]


def _shorter(history: pl.DataFrame) -> pl.DataFrame:
    return history.with_columns(pl.col("categories").list.head(1))


def _without_ages(history: pl.DataFrame) -> pl.DataFrame:
    return history.with_columns(pl.col("ages").list.head(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_swapped, "day {day}: the {rows} event ids of"),
        (lambda history: history.head(5), "day {day}: the 5 event ids of"),
        (_shorter, "day {day}: event event-11-"),
        (_without_ages, "day {day}: event event-11-"),
        (lambda history: history.drop("items"), "day {day}: "),
    ],
)
def test_a_history_of_other_rows_is_refused_by_its_day(
    shop: Shop, one_day: dict, tmp_path: Path, change, message: str
) -> None:
    path = Path(one_day["history"][1]) / "click_history.parquet"
    history = pl.read_parquet(path)
    change(history).write_parquet(path)
    done = start_step(
        "features.make_datasets", {"inputs": one_day, "output": str(tmp_path / "output")}, tmp_path
    )
    assert done.returncode != 0
    assert "StepError: " + message.format(day="2026-10-02", rows=history.height) in done.stderr


@pytest.mark.parametrize(
    ("changes", "params", "message"),
    [
        ({"history": 1}, {}, "input 'history' must be 2 addresses"),
        ({}, {"train_name": "raw.parquet"}, "train_name must be masked.parquet or"),
    ],
)
def test_wrong_calls_are_refused_before_anything_runs(
    one_day: dict, tmp_path: Path, changes: dict, params: dict, message: str
) -> None:
    inputs = {**one_day, **{role: one_day[role][:count] for role, count in changes.items()}}
    done = start_step(
        "features.make_datasets",
        {"inputs": inputs, "output": str(tmp_path / "output"), "params": params},
        tmp_path,
    )
    assert done.returncode != 0 and message in done.stderr
