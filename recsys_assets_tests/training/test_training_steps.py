"""The real training steps in their own environment, judged from this one by what they wrote."""

from __future__ import annotations

import json
import math
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets_tests.training.tiny_shop import (
    ITEMS,
    ROWS_A_DAY,
    TRAIN_DAYS,
    UNSEEN_USER,
    VALID_DAYS,
    Shop,
    StepRun,
    start_step,
)

pytestmark = pytest.mark.training
SOURCES = {"user": c.USER_CATEGORICAL, "context": c.CONTEXT_CATEGORICAL, "item": c.ITEM_CATEGORICAL}


def onnx(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    (output,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, inputs)
    return output


def parity(run: StepRun, prefix: str = "") -> dict[str, np.ndarray]:
    with np.load(run.output / "parity.npz", allow_pickle=False) as arrays:
        return {name.removeprefix(prefix): arrays[name] for name in arrays.files if name.startswith(prefix)}


@pytest.fixture(scope="module")
def transforms(workflows: StepRun) -> dict:
    return json.loads((workflows.output / "transforms.json").read_text())


@pytest.fixture(scope="module")
def valid(datasets: StepRun) -> pl.DataFrame:
    return pl.read_parquet(datasets.output / "valid" / "*.parquet")


@pytest.fixture(scope="module")
def raw_valid(shop: Shop) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(folder / "features.parquet") for folder in shop.features[TRAIN_DAYS:]])


# --- workflows and data sets -------------------------------------------------------------------------------------


def test_pipes_brings_metrics_versions_and_progress(workflows_and_log: tuple[StepRun, str]) -> None:
    run, log = workflows_and_log
    assert run.metrics["rows"] == TRAIN_DAYS * ROWS_A_DAY and run.metrics["items"] == ITEMS
    assert run.metrics["peak_memory_mb"] > 50 and run.versions["nvtabular"] == "23.8.0"
    assert "saved workflow_combined" in log


@pytest.mark.parametrize("name", [*SOURCES, "combined"])
def test_exported_vocabulary_is_nvtabulars_own(workflows: StepRun, transforms: dict, name: str) -> None:
    for column in SOURCES.get(name, c.RANKER_CATEGORICAL):
        unique = pd.read_parquet(workflows.output / f"workflow_{name}" / "categories" / f"unique.{column}.parquet")
        exported = {value: c.VOCABULARY_START + i for i, value in enumerate(transforms["vocabulary"][column])}
        assert dict(zip(unique[column].astype(str), unique.index, strict=True)) == exported
        assert transforms["cardinality"][column] == c.VOCABULARY_START + len(unique)
        assert c.MISSING not in exported


def test_every_item_and_only_seen_visitors_have_an_index(shop: Shop, transforms: dict) -> None:
    rows = pl.concat([pl.read_parquet(folder / "features.parquet") for folder in shop.features[:TRAIN_DAYS]])
    assert set(transforms["vocabulary"][c.ITEM_ID]) == {f"item-{i}" for i in range(ITEMS)}
    assert set(transforms["vocabulary"][c.USER_ID]) == set(rows[c.USER_ID])
    assert UNSEEN_USER not in transforms["vocabulary"][c.USER_ID]


def test_exported_moments(shop: Shop, transforms: dict) -> None:
    rows = pl.concat([pl.read_parquet(folder / "features.parquet") for folder in shop.features[:TRAIN_DAYS]])
    mean_age = rows.drop_nulls(c.AGE).unique(c.USER_ID)[c.AGE].cast(pl.Float64).mean()
    ages = rows[c.AGE].cast(pl.Float64).fill_null(mean_age)
    prices = pl.read_parquet(shop.items / "items.parquet")[c.PRICE].log()
    assert transforms["mean_age"] == pytest.approx(mean_age, rel=1e-6)
    assert transforms["age"] == pytest.approx({"mean": ages.mean(), "std": ages.std()}, rel=1e-6)
    assert transforms["price_log"] == pytest.approx({"mean": prices.mean(), "std": prices.std()}, rel=1e-9)
    assert transforms["age_boundaries"] == list(c.AGE_BOUNDARIES)


def test_data_set_columns_and_types(datasets: StepRun) -> None:
    expected = {**dict.fromkeys(c.RANKER_CATEGORICAL, pl.Int32), **dict.fromkeys(c.RANKER_CONTINUOUS, pl.Float32),
                c.CLICK: pl.Int32, c.TIMESTAMP: pl.Int64}
    for split, days in (("train", TRAIN_DAYS), ("valid", VALID_DAYS)):
        table = pl.read_parquet(datasets.output / split / "*.parquet")
        assert dict(table.schema) == expected and len(table) == days * ROWS_A_DAY == datasets.metrics[f"{split}_rows"]
        assert table.null_count().sum_horizontal().item() == 0
        assert (datasets.output / split / "schema.pbtxt").exists()


def test_unseen_masked_and_null(valid: pl.DataFrame) -> None:
    first = valid.row(0, named=True)
    assert (first[c.USER_ID], first[c.GENDER], first[c.DEVICE_TYPE]) == (c.OOV_INDEX, c.NULL_INDEX, c.OOV_INDEX)


def test_validation_rows_keep_their_order_and_every_value(valid: pl.DataFrame, raw_valid: pl.DataFrame,
                                                          transforms: dict) -> None:
    assert valid[c.TIMESTAMP].equals(raw_valid[c.TIMESTAMP])
    assert valid[c.CLICK].to_list() == raw_valid[c.CLICK].to_list()
    age = [transforms["mean_age"] if a is None else a for a in raw_valid[c.AGE]]
    raw = raw_valid.with_columns(pl.Series(c.AGE_BINNED, [str(sum(a >= b for b in c.AGE_BOUNDARIES)) for a in age]))
    for column in c.RANKER_CATEGORICAL:
        index = {value: c.VOCABULARY_START + i for i, value in enumerate(transforms["vocabulary"][column])}
        expected = [c.NULL_INDEX if value is None else index.get(value, c.OOV_INDEX) for value in raw[column]]
        assert valid[column].to_list() == expected, column
    times = [datetime.fromtimestamp(t, timezone.utc) for t in raw_valid[c.TIMESTAMP]]
    mean, std = transforms["age"].values()
    log_mean, log_std = transforms["price_log"].values()
    expected = {
        c.AGE_NORM: [(a - mean) / std for a in age],
        c.USER_FREQUENCY: [math.log1p(n) for n in raw_valid[c.CLICKS_24H]],
        c.USER_RECENCY: [hours / 24 for hours in raw_valid[c.HOURS_SINCE_CLICK]],
        c.ITEM_POPULARITY: [math.log1p(n) for n in raw_valid[c.ITEM_CLICKS]],
        c.PRICE_LOG_NORM: [(math.log(p) - log_mean) / log_std for p in raw_valid[c.PRICE]],
        c.HOUR_SIN: [math.sin(2 * math.pi * t.hour / 24) for t in times],
        c.HOUR_COS: [math.cos(2 * math.pi * t.hour / 24) for t in times],
        c.WEEKDAY_SIN: [math.sin(2 * math.pi * t.weekday() / 7) for t in times],
        c.WEEKDAY_COS: [math.cos(2 * math.pi * t.weekday() / 7) for t in times],
    }
    assert set(expected) == set(c.RANKER_CONTINUOUS)
    for column, values in expected.items():
        assert np.abs(valid[column].to_numpy() - np.array(values)).max() < 1e-6, column


def test_masked_rows_are_out_of_vocabulary_with_the_mean_age(datasets: StepRun, transforms: dict) -> None:
    masked = pl.read_parquet(datasets.output / "train" / "*.parquet").filter(pl.col(c.USER_ID) == c.OOV_INDEX)
    assert 0.03 < len(masked) / (TRAIN_DAYS * ROWS_A_DAY) < 0.07
    assert set(masked[c.GENDER]) == set(masked[c.TOP_CATEGORY]) == {c.OOV_INDEX}
    mean, std = transforms["age"].values()
    assert np.allclose(masked[c.AGE_NORM].to_numpy(), (transforms["mean_age"] - mean) / std, atol=1e-6)
    assert set(masked[c.USER_FREQUENCY]) == {0.0} and set(masked[c.USER_RECENCY]) == {1.0}


# --- models ------------------------------------------------------------------------------------------------------


def test_two_tower_finds_more_than_popularity_and_chance(two_tower: StepRun) -> None:
    metrics = two_tower.metrics
    assert metrics["recall@10"] > metrics["popularity_recall@10"] + 0.1
    assert metrics["random_recall@10"] == pytest.approx(10 / ITEMS) and metrics["recall@100"] == 1.0  # 60 items


def test_reported_recall_is_that_of_the_exported_towers(two_tower: StepRun, valid: pl.DataFrame,
                                                        embeddings: Path) -> None:
    clicks = valid.filter(pl.col(c.CLICK) == 1)
    catalogue, table = np.load(embeddings / "item_tower_inputs.npz"), np.load(embeddings / "embedding_table.npy")
    items = onnx(two_tower.output / "item_tower.onnx",
                 {"cat": catalogue["cat"], "cont": catalogue["cont"], "embeddings": table[catalogue["index"]]})
    queries = onnx(two_tower.output / "query_tower.onnx", {"cat": clicks.select(c.QUERY_CATEGORICAL).to_numpy(),
                                                           "cont": clicks.select(c.QUERY_CONTINUOUS).to_numpy()})
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5) and items.shape == (ITEMS, c.EMBEDDING_DIM)
    first = catalogue["index"][np.argsort(-(queries @ items.T), axis=1)[:, :10]]
    hits = (first == clicks[c.ITEM_ID].to_numpy()[:, None]).any(axis=1).mean()
    assert hits == pytest.approx(two_tower.metrics["recall@10"], abs=1.5 / len(clicks))


def test_the_query_tower_reads_the_context(two_tower: StepRun) -> None:
    sample = parity(two_tower, "query_")
    inputs = {"cat": sample["cat"], "cont": sample["cont"].copy()}
    users = len(c.USER_CONTINUOUS)
    inputs["cont"][:, users:] = np.roll(inputs["cont"][:, users:], 1, axis=0)  # hour and weekday of another row
    other = onnx(two_tower.output / "query_tower.onnx", inputs)
    assert np.abs(other - sample["embedding"]).max() > 1e-3


@pytest.mark.parametrize("column", c.USER_CONTINUOUS)
def test_the_query_tower_reads_age_frequency_and_recency(two_tower: StepRun, column: str) -> None:
    sample = parity(two_tower, "query_")
    inputs = {"cat": sample["cat"], "cont": sample["cont"].copy()}
    inputs["cont"][:, c.QUERY_CONTINUOUS.index(column)] += 1
    assert np.abs(onnx(two_tower.output / "query_tower.onnx", inputs) - sample["embedding"]).max() > 1e-3


@pytest.mark.parametrize("column", c.RANKER_CONTINUOUS)
def test_the_ranker_reads_every_number(dlrm: StepRun, column: str) -> None:
    sample = parity(dlrm)
    inputs = {"cat": sample["cat"], "cont": sample["cont"].copy(), "embeddings": sample["embeddings"]}
    inputs["cont"][:, c.RANKER_CONTINUOUS.index(column)] += 1
    assert np.abs(onnx(dlrm.output / "dlrm.onnx", inputs) - sample["score"]).max() > 1e-4


def test_dlrm_ranks_above_chance(dlrm: StepRun) -> None:
    assert dlrm.metrics["auc"] > 0.6 and dlrm.metrics["log_loss"] < math.log(2)


@pytest.mark.parametrize("half", [slice(0, c.EMBEDDING_DIM), slice(c.EMBEDDING_DIM, None)], ids=["text", "image"])
def test_dlrm_reads_both_pretrained_vectors(dlrm: StepRun, half: slice) -> None:
    sample = parity(dlrm)
    without = sample["embeddings"].copy()
    without[:, half] = 0
    scores = onnx(dlrm.output / "dlrm.onnx", {"cat": sample["cat"], "cont": sample["cont"], "embeddings": without})
    assert np.abs(scores - sample["score"]).max() > 1e-3


@pytest.mark.parametrize("run", ["two_tower", "tuned_query_tower"])
def test_towers_give_the_same_in_this_onnxruntime(run: str, request: pytest.FixtureRequest) -> None:
    made = request.getfixturevalue(run)
    for tower, prefix in (("query_tower.onnx", "query_"), ("item_tower.onnx", "item_")):
        sample = parity(made, prefix)
        expected = sample.pop("embedding")
        assert len(expected) > 200 and np.abs(onnx(made.output / tower, sample) - expected).max() <= 1e-5


@pytest.mark.parametrize("run", ["dlrm", "tuned_dlrm"])
def test_dlrm_gives_the_same_in_this_onnxruntime(run: str, request: pytest.FixtureRequest) -> None:
    made = request.getfixturevalue(run)
    sample = parity(made)
    expected = sample.pop("score")
    assert expected.ndim == 1 and len(expected) > 200
    assert np.abs(onnx(made.output / "dlrm.onnx", sample) - expected).max() <= 1e-5


# --- fine-tuning -------------------------------------------------------------------------------------------------


def test_the_frozen_item_tower_is_the_champions(two_tower: StepRun, tuned_query_tower: StepRun) -> None:
    champion, tuned = (run.output / "item_tower.onnx" for run in (two_tower, tuned_query_tower))
    assert champion.read_bytes() == tuned.read_bytes()
    sample = parity(tuned_query_tower, "item_")  # TensorFlow's output of the tuned model
    expected = sample.pop("embedding")
    assert np.abs(onnx(champion, sample) - expected).max() <= 1e-6


def test_fine_tuning_moves_the_query_tower(two_tower: StepRun, tuned_query_tower: StepRun) -> None:
    sample = parity(tuned_query_tower, "query_")
    tuned = sample.pop("embedding")
    moved = np.abs(onnx(two_tower.output / "query_tower.onnx", sample) - tuned).max()
    assert 1e-5 < moved < 0.5
    metrics = tuned_query_tower.metrics
    assert metrics["query_weights_changed"] > 0 and metrics["auc_before"] > 0.6
    assert metrics["auc_after"] > metrics["auc_before"] - 0.05


def test_fine_tuning_moves_the_dlrm(dlrm: StepRun, tuned_dlrm: StepRun) -> None:
    sample = parity(tuned_dlrm)
    tuned = sample.pop("score")
    assert 1e-5 < np.abs(onnx(dlrm.output / "dlrm.onnx", sample) - tuned).max() < 0.5
    assert tuned_dlrm.metrics["auc_after"] > tuned_dlrm.metrics["auc_before"] - 0.05


@pytest.mark.parametrize("run", ["two_tower", "dlrm", "tuned_query_tower", "tuned_dlrm"])
def test_a_checkpoint_holds_no_optimizer(run: str, request: pytest.FixtureRequest) -> None:
    """Restored with the weights, it would bring the champion's learning rate and moments into the fine-tuning."""
    data = b"".join(path.read_bytes() for path in (request.getfixturevalue(run).output / "checkpoint").iterdir())
    assert data and b"learning_rate" not in data


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("extras", "message"), [
    ({"params": {"epoch": 3}}, "unknown parameter epoch; this step knows epochs"),
    ({"inputs": {"datasets": "/nowhere"}}, "input folder /nowhere does not exist"),
])
def test_a_wrong_call_is_refused_by_name(shop: Shop, tmp_path: Path, extras: dict, message: str) -> None:
    done = start_step("dlrm", {"output": str(tmp_path / "output"), **extras}, tmp_path)
    assert done.returncode != 0 and message in done.stderr


def test_a_missing_column_is_named(shop: Shop, tmp_path: Path) -> None:
    rows = pl.read_parquet(shop.features[0] / "features.parquet").drop(c.DEVICE_TYPE)
    rows.write_parquet(tmp_path / "features.parquet")
    done = start_step("fit_workflows", {"inputs": {"train": [str(tmp_path)], "items": str(shop.items)},
                                        "output": str(tmp_path / "output")}, tmp_path)
    assert done.returncode != 0 and f"{tmp_path}/features.parquet has no column device_type" in done.stderr
