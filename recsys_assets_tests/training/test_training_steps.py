"""The real training steps in their own environment, judged from this one by what they wrote."""

from __future__ import annotations

import json
import math
import shutil
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets_tests.support.tiny_shop import (
    ITEMS,
    ROWS_A_DAY,
    TRAIN_DAYS,
    UNSEEN_USER,
    VALID_DAYS,
    Shop,
    StepRun,
    run_step,
    start_step,
)

pytestmark = pytest.mark.training
SOURCES = {
    "user": c.USER_CATEGORICAL,
    "context": c.CONTEXT_CATEGORICAL,
    "item": c.ITEM_CATEGORICAL,
    "affinity": (),
}


def onnx(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    (output,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(
        None, inputs
    )
    return output


def parity(run: StepRun, prefix: str = "") -> dict[str, np.ndarray]:
    with np.load(run.output / "parity.npz", allow_pickle=False) as arrays:
        return {
            name.removeprefix(prefix): arrays[name]
            for name in arrays.files
            if name.startswith(prefix)
        }


def asked(run: StepRun) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs of the query tower's parity sample, and TensorFlow's answer."""
    sample = parity(run, "query_")
    answer = sample.pop("embedding")
    return sample, answer


def recall_at_10(
    run: StepRun, clicks: pl.DataFrame, histories: Path, split: str, embeddings: Path
) -> float:
    """Of the exported towers, over the whole catalogue.

    histories: folder of the clicks' histories, of this split.
    """
    catalogue, table = (
        np.load(embeddings / "item_tower_inputs.npz"),
        np.load(embeddings / "embedding_table.npy"),
    )
    items = onnx(
        run.output / "item_tower.onnx",
        {
            "cat": catalogue["cat"],
            "cont": catalogue["cont"],
            "embeddings": table[catalogue["index"]],
        },
    )
    queries = onnx(
        run.output / "query_tower.onnx",
        {
            "cat": clicks.select(c.QUERY_CATEGORICAL).to_numpy(),
            "cont": clicks.select(c.QUERY_CONTINUOUS).to_numpy(),
            "history": np.load(histories / f"{split}_history.npy").astype(np.float32),
            "items": np.load(histories / f"{split}_items.npy"),
            "age_hours": np.load(histories / f"{split}_ages.npy"),
        },
    )
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5) and items.shape == (
        ITEMS,
        c.EMBEDDING_DIM,
    )
    first = catalogue["index"][np.argsort(-(queries @ items.T), axis=1)[:, :10]]
    return float((first == clicks[c.ITEM_ID].to_numpy()[:, None]).any(axis=1).mean())


@pytest.fixture(scope="module")
def transforms(workflows: StepRun) -> dict:
    return json.loads((workflows.output / "transforms.json").read_text())


@pytest.fixture(scope="module")
def valid(datasets: StepRun) -> pl.DataFrame:
    return pl.read_parquet(datasets.output / "valid" / "*.parquet")


@pytest.fixture(scope="module")
def raw_valid(shop: Shop) -> pl.DataFrame:
    return pl.concat(
        [pl.read_parquet(folder / "features.parquet") for folder in shop.features[TRAIN_DAYS:]]
    )


# --- workflows and data sets ----------------------------------------------------------------------


def test_pipes_brings_metrics_versions_and_progress(workflows_and_log: tuple[StepRun, str]) -> None:
    run, log = workflows_and_log
    assert run.metrics["rows"] == TRAIN_DAYS * ROWS_A_DAY and run.metrics["items"] == ITEMS
    assert run.metrics["peak_memory_mb"] > 50 and run.versions["nvtabular"] == "23.8.0"
    assert "saved workflow_combined" in log


@pytest.mark.parametrize("name", [*SOURCES, "combined"])
def test_exported_vocabulary_is_nvtabulars_own(
    workflows: StepRun, transforms: dict, name: str
) -> None:
    for column in SOURCES.get(name, c.RANKER_CATEGORICAL):
        unique = pd.read_parquet(
            workflows.output / f"workflow_{name}" / "categories" / f"unique.{column}.parquet"
        )
        exported = {
            value: c.VOCABULARY_START + i
            for i, value in enumerate(transforms["vocabulary"][column])
        }
        assert dict(zip(unique[column].astype(str), unique.index, strict=True)) == exported
        assert transforms["cardinality"][column] == c.VOCABULARY_START + len(unique)
        assert c.MISSING not in exported


def test_every_item_and_only_seen_visitors_have_an_index(shop: Shop, transforms: dict) -> None:
    rows = pl.concat(
        [pl.read_parquet(folder / "features.parquet") for folder in shop.features[:TRAIN_DAYS]]
    )
    assert set(transforms["vocabulary"][c.ITEM_ID]) == {f"item-{i}" for i in range(ITEMS)}
    assert set(transforms["vocabulary"][c.USER_ID]) == set(rows[c.USER_ID])
    assert UNSEEN_USER not in transforms["vocabulary"][c.USER_ID]


def test_exported_moments(shop: Shop, transforms: dict) -> None:
    rows = pl.concat(
        [pl.read_parquet(folder / "features.parquet") for folder in shop.features[:TRAIN_DAYS]]
    )
    mean_age = rows.drop_nulls(c.AGE).unique(c.USER_ID)[c.AGE].cast(pl.Float64).mean()
    ages = rows[c.AGE].cast(pl.Float64).fill_null(mean_age)
    prices = pl.read_parquet(shop.items / "items.parquet")[c.PRICE].log()
    assert transforms["mean_age"] == pytest.approx(mean_age, rel=1e-6)
    assert transforms["age"] == pytest.approx({"mean": ages.mean(), "std": ages.std()}, rel=1e-6)
    assert transforms["price_log"] == pytest.approx(
        {"mean": prices.mean(), "std": prices.std()}, rel=1e-9
    )
    assert transforms["age_boundaries"] == list(c.AGE_BOUNDARIES)


def test_data_set_columns_and_types(datasets: StepRun) -> None:
    expected = {
        **dict.fromkeys(c.RANKER_CATEGORICAL, pl.Int32),
        **dict.fromkeys(c.RANKER_CONTINUOUS, pl.Float32),
        c.CLICK: pl.Int32,
        c.TIMESTAMP: pl.Int64,
    }
    for split, days in (("train", TRAIN_DAYS), ("valid", VALID_DAYS)):
        table = pl.read_parquet(datasets.output / split / "*.parquet")
        assert (
            dict(table.schema) == expected
            and len(table) == days * ROWS_A_DAY == datasets.metrics[f"{split}_rows"]
        )
        assert table.null_count().sum_horizontal().item() == 0
        assert (datasets.output / split / "schema.pbtxt").exists()


def test_unseen_masked_and_null(valid: pl.DataFrame) -> None:
    first = valid.row(0, named=True)
    assert (first[c.USER_ID], first[c.GENDER], first[c.DEVICE_TYPE]) == (
        c.OOV_INDEX,
        c.NULL_INDEX,
        c.OOV_INDEX,
    )


def test_validation_rows_keep_their_order_and_every_value(
    valid: pl.DataFrame, raw_valid: pl.DataFrame, transforms: dict
) -> None:
    assert valid[c.TIMESTAMP].equals(raw_valid[c.TIMESTAMP])
    assert valid[c.CLICK].to_list() == raw_valid[c.CLICK].to_list()
    age = [transforms["mean_age"] if a is None else a for a in raw_valid[c.AGE]]
    raw = raw_valid.with_columns(
        pl.Series(c.AGE_BINNED, [str(sum(a >= b for b in c.AGE_BOUNDARIES)) for a in age])
    )
    for column in c.RANKER_CATEGORICAL:
        index = {
            value: c.VOCABULARY_START + i
            for i, value in enumerate(transforms["vocabulary"][column])
        }
        expected = [
            c.NULL_INDEX if value is None else index.get(value, c.OOV_INDEX)
            for value in raw[column]
        ]
        assert valid[column].to_list() == expected, column
    times = [datetime.fromtimestamp(t, timezone.utc) for t in raw_valid[c.TIMESTAMP]]
    mean, std = transforms["age"].values()
    log_mean, log_std = transforms["price_log"].values()
    expected = {
        c.AGE_NORM: [(a - mean) / std for a in age],
        c.USER_FREQUENCY: [math.log1p(n) for n in raw_valid[c.CLICKS_24H]],
        c.USER_FREQUENCY_LOOK_BACK: [math.log1p(n) for n in raw_valid[c.CLICKS_LOOK_BACK]],
        c.CATEGORY_SHARE_LOOK_BACK: [
            n / (of + 2)
            for n, of in raw_valid.select(
                c.CATEGORY_CLICKS_LOOK_BACK, c.CLICKS_LOOK_BACK
            ).iter_rows()
        ],
        c.CATEGORY_SHARE_24H: [
            n / (of + 1)
            for n, of in raw_valid.select(c.CATEGORY_CLICKS_24H, c.CLICKS_24H).iter_rows()
        ],
        c.CATEGORY_FREQUENCY_LOOK_BACK: [
            math.log1p(n) for n in raw_valid[c.CATEGORY_CLICKS_LOOK_BACK]
        ],
        c.CATEGORY_FREQUENCY_24H: [math.log1p(n) for n in raw_valid[c.CATEGORY_CLICKS_24H]],
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


def test_masked_rows_are_out_of_vocabulary_with_the_mean_age(
    datasets: StepRun, transforms: dict
) -> None:
    masked = pl.read_parquet(datasets.output / "train" / "*.parquet").filter(
        pl.col(c.USER_ID) == c.OOV_INDEX
    )
    assert 0.03 < len(masked) / (TRAIN_DAYS * ROWS_A_DAY) < 0.07
    assert set(masked[c.GENDER]) == set(masked[c.TOP_CATEGORY]) == {c.OOV_INDEX}
    mean, std = transforms["age"].values()
    assert np.allclose(
        masked[c.AGE_NORM].to_numpy(), (transforms["mean_age"] - mean) / std, atol=1e-6
    )
    assert set(masked[c.USER_RECENCY]) == {1.0}
    for name in (c.USER_FREQUENCY, c.USER_FREQUENCY_LOOK_BACK, *c.AFFINITY_CONTINUOUS):
        assert set(masked[name]) == {0.0}, name


# --- models ---------------------------------------------------------------------------------------


def test_two_tower_finds_more_than_popularity_and_chance(two_tower: StepRun) -> None:
    metrics = two_tower.metrics
    assert metrics["recall@10"] > metrics["popularity_recall@10"] + 0.1
    assert (
        metrics["random_recall@10"] == pytest.approx(10 / ITEMS) and metrics["recall@100"] == 1.0
    )  # 60 items


def test_reported_recall_is_that_of_the_exported_towers(
    two_tower: StepRun, datasets: StepRun, valid: pl.DataFrame, embeddings: Path
) -> None:
    clicks = valid.filter(pl.col(c.CLICK) == 1)
    hits = recall_at_10(two_tower, clicks, datasets.output, "valid", embeddings)
    assert hits == pytest.approx(two_tower.metrics["recall@10"], abs=1.5 / len(clicks))


def test_the_query_tower_reads_the_context(two_tower: StepRun) -> None:
    inputs, answer = asked(two_tower)
    users = len(c.USER_CONTINUOUS)
    inputs["cont"][:, users:] = np.roll(
        inputs["cont"][:, users:], 1, axis=0
    )  # hour and weekday of another row
    assert np.abs(onnx(two_tower.output / "query_tower.onnx", inputs) - answer).max() > 1e-3


@pytest.mark.parametrize("half", [0, 1], ids=["look_back", "24h"])
def test_the_query_tower_reads_both_halves_of_the_click_history(
    two_tower: StepRun, transforms: dict, half: int
) -> None:
    inputs, answer = asked(two_tower)
    size = transforms["cardinality"][c.CATEGORY_L1]
    assert inputs["history"].shape[1] == 2 * size
    inputs["history"][:, half * size : (half + 1) * size] = 0
    assert np.abs(onnx(two_tower.output / "query_tower.onnx", inputs) - answer).max() > 1e-3


@pytest.mark.parametrize("change", ["first", "others", "older"])
def test_the_query_tower_reads_the_latest_items_and_their_ages(
    two_tower: StepRun, change: str
) -> None:
    inputs, answer = asked(two_tower)
    if change == "older":
        inputs["age_hours"] = np.where(inputs["items"] > 0, 600 - inputs["age_hours"], 0)
        inputs["age_hours"] = inputs["age_hours"].astype(np.float32)
    else:
        part = inputs["items"][:, :1] if change == "first" else inputs["items"][:, 1:]
        part[part > 0] = c.VOCABULARY_START + 7
    assert np.abs(onnx(two_tower.output / "query_tower.onnx", inputs) - answer).max() > 1e-3


@pytest.mark.parametrize("run", ["two_tower", "dlrm"])
def test_the_models_do_not_ask_who_it_is(run: str, request: pytest.FixtureRequest) -> None:
    made = request.getfixturevalue(run)
    prefix, output, name = {
        "two_tower": ("query_", "embedding", "query_tower.onnx"),
        "dlrm": ("", "score", "dlrm.onnx"),
    }[run]
    sample = parity(made, prefix)
    answer = sample.pop(output)
    sample["cat"][:, 0] = c.OOV_INDEX
    assert c.QUERY_CATEGORICAL[0] == c.RANKER_CATEGORICAL[0] == c.USER_ID
    assert np.abs(onnx(made.output / name, sample) - answer).max() <= 1e-6


@pytest.mark.parametrize("column", c.USER_CONTINUOUS)
def test_the_query_tower_reads_age_frequency_and_recency(two_tower: StepRun, column: str) -> None:
    inputs, answer = asked(two_tower)
    inputs["cont"][:, c.QUERY_CONTINUOUS.index(column)] += 1
    assert np.abs(onnx(two_tower.output / "query_tower.onnx", inputs) - answer).max() > 1e-3


@pytest.mark.parametrize("column", c.RANKER_CONTINUOUS)
def test_the_ranker_reads_every_number(dlrm: StepRun, column: str) -> None:
    sample = parity(dlrm)
    inputs = {
        "cat": sample["cat"],
        "cont": sample["cont"].copy(),
        "embeddings": sample["embeddings"],
    }
    inputs["cont"][:, c.RANKER_CONTINUOUS.index(column)] += 1
    assert np.abs(onnx(dlrm.output / "dlrm.onnx", inputs) - sample["score"]).max() > 1e-4


def test_dlrm_ranks_above_chance(dlrm: StepRun) -> None:
    assert dlrm.metrics["auc"] > 0.6 and dlrm.metrics["log_loss"] < math.log(2)
    # the check of the asset tells chance by both counts
    assert 0 < dlrm.metrics["validation_clicks"] < dlrm.metrics["validation_rows"]


@pytest.mark.parametrize(
    "half", [slice(0, c.EMBEDDING_DIM), slice(c.EMBEDDING_DIM, None)], ids=["text", "image"]
)
def test_dlrm_reads_both_pretrained_vectors(dlrm: StepRun, half: slice) -> None:
    sample = parity(dlrm)
    without = sample["embeddings"].copy()
    without[:, half] = 0
    scores = onnx(
        dlrm.output / "dlrm.onnx",
        {"cat": sample["cat"], "cont": sample["cont"], "embeddings": without},
    )
    assert np.abs(scores - sample["score"]).max() > 1e-3


@pytest.mark.parametrize("run", ["two_tower", "tuned_query_tower"])
def test_towers_give_the_same_in_this_onnxruntime(run: str, request: pytest.FixtureRequest) -> None:
    made = request.getfixturevalue(run)
    for tower, prefix in (("query_tower.onnx", "query_"), ("item_tower.onnx", "item_")):
        sample = parity(made, prefix)
        expected = sample.pop("embedding")
        # of a fine-tune the held-out clicks of its days: fewer than a sample's 256
        assert len(expected) > (200 if run == "two_tower" else 80)
        assert np.abs(onnx(made.output / tower, sample) - expected).max() <= 1e-6


@pytest.mark.parametrize("run", ["dlrm", "tuned_dlrm"])
def test_dlrm_gives_the_same_in_this_onnxruntime(run: str, request: pytest.FixtureRequest) -> None:
    made = request.getfixturevalue(run)
    sample = parity(made)
    expected = sample.pop("score")
    assert expected.ndim == 1 and len(expected) > 200
    assert np.abs(onnx(made.output / "dlrm.onnx", sample) - expected).max() <= 1e-6


@pytest.mark.parametrize("name", ["retrieval.two_tower", "ranking.dlrm"])
def test_the_same_seed_gives_the_same_metrics_and_bytes(
    name: str,
    shop: Shop,
    model_inputs: dict[str, Path],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    first = request.getfixturevalue(name.split(".")[1])
    params = {
        "retrieval.two_tower": {"epochs": 3, "seed": 11},
        "ranking.dlrm": {"epochs": 2, "batch_size": 256, "seed": 11},
    }[name]
    second = run_step(name, tmp_path, model_inputs, params)
    timed = {"seconds", "peak_memory_mb", "rows_per_second"}
    assert {k: v for k, v in first.metrics.items() if k not in timed} == {
        k: v for k, v in second.metrics.items() if k not in timed
    }
    models = sorted(first.output.glob("*.onnx"))
    assert models and all(
        path.read_bytes() == (second.output / path.name).read_bytes() for path in models
    )
    # the description of tf2onnx counts the traced functions of the process
    assert not any(b"converted from" in path.read_bytes() for path in models)


def test_a_log_of_clicks_alone_trains_a_ranker(
    shop: Shop, datasets: StepRun, model_inputs: dict[str, Path], tmp_path: Path
) -> None:
    for split in ("train", "valid"):
        (tmp_path / "datasets" / split).mkdir(parents=True)
        for path in (datasets.output / split).iterdir():
            if path.suffix == ".parquet":
                pl.read_parquet(path).filter(pl.col(c.CLICK) == 1).write_parquet(
                    tmp_path / "datasets" / split / path.name
                )
            elif path.name == "schema.pbtxt":
                shutil.copy(path, tmp_path / "datasets" / split)
        shutil.copytree(
            datasets.output / split / ".merlin", tmp_path / "datasets" / split / ".merlin"
        )
        for part in ("history", "items", "ages"):
            shutil.copy(datasets.output / f"{split}_{part}.npy", tmp_path / "datasets")
    run = run_step(
        "ranking.dlrm",
        tmp_path,
        {**model_inputs, "datasets": tmp_path / "datasets"},
        {
            "epochs": 8,
            "batch_size": 256,
            "seed": 11,
            "negatives_per_positive": 3,
            "learning_rate": 3e-3,
        },
    )
    clicks = len(pl.read_parquet(tmp_path / "datasets" / "train" / "*.parquet"))
    assert (
        run.metrics["auc"] > 0.6
        and run.metrics["rows"] == run.metrics["sampled_negatives"] * 4 // 3
    )
    assert 0.94 * 4 * clicks < run.metrics["rows"] < 0.96 * 4 * clicks  # 5 % held out
    # a log with impressions does without the catalogue; one of clicks says what it lacks
    inputs = {
        "datasets": tmp_path / "datasets",
        **{role: model_inputs[role] for role in ("workflows", "embeddings")},
    }
    extras = {
        "inputs": {role: str(path) for role, path in inputs.items()},
        "output": str(tmp_path / "lacking"),
    }
    lacking = start_step("ranking.dlrm", extras, tmp_path)
    assert lacking.returncode != 0 and "input 'item_inputs' is missing" in lacking.stderr


# --- fine-tuning ----------------------------------------------------------------------------------


def test_the_frozen_item_tower_is_the_champions(
    two_tower: StepRun, tuned_query_tower: StepRun
) -> None:
    champion, tuned = (run.output / "item_tower.onnx" for run in (two_tower, tuned_query_tower))
    assert champion.read_bytes() == tuned.read_bytes()
    sample = parity(tuned_query_tower, "item_")  # TensorFlow's output of the tuned model
    expected = sample.pop("embedding")
    assert np.abs(onnx(champion, sample) - expected).max() <= 1e-6


def test_fine_tuning_moves_the_query_tower(
    two_tower: StepRun, tuned_query_tower: StepRun, day_rows: Path, embeddings: Path
) -> None:
    sample, tuned = asked(tuned_query_tower)
    moved = np.abs(onnx(two_tower.output / "query_tower.onnx", sample) - tuned).max()
    assert 1e-5 < moved < 0.5
    metrics = tuned_query_tower.metrics
    assert metrics["query_weights_changed"] > 0
    assert metrics["recall@100_before"] == metrics["recall@100_after"] == 1.0  # 60 items
    clicks = pl.read_parquet(day_rows / "holdout.parquet").filter(pl.col(c.CLICK) == 1)
    before, after = (
        recall_at_10(run, clicks, day_rows, "holdout", embeddings)
        for run in (two_tower, tuned_query_tower)
    )
    assert before > 2 * 10 / ITEMS and after > before - 0.05


def test_fine_tuning_moves_the_dlrm(dlrm: StepRun, tuned_dlrm: StepRun) -> None:
    sample = parity(tuned_dlrm)
    tuned = sample.pop("score")
    assert 1e-5 < np.abs(onnx(dlrm.output / "dlrm.onnx", sample) - tuned).max() < 0.5
    assert tuned_dlrm.metrics["auc_after"] > tuned_dlrm.metrics["auc_before"] - 0.05


@pytest.mark.parametrize("run", ["two_tower", "dlrm", "tuned_query_tower", "tuned_dlrm"])
def test_a_checkpoint_holds_no_optimizer(run: str, request: pytest.FixtureRequest) -> None:
    """Restored with the weights, it would bring the champion's learning rate and moments into the
    fine-tuning.
    """
    data = b"".join(
        path.read_bytes() for path in (request.getfixturevalue(run).output / "checkpoint").iterdir()
    )
    assert data and b"learning_rate" not in data


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ({"params": {"epoch": 3}}, "unknown parameter epoch; this step has epochs"),
        ({"inputs": {"datasets": "/nowhere"}}, "input folder /nowhere does not exist"),
    ],
)
def test_a_wrong_call_is_refused_by_name(
    shop: Shop, tmp_path: Path, extras: dict, message: str
) -> None:
    done = start_step("ranking.dlrm", {"output": str(tmp_path / "output"), **extras}, tmp_path)
    assert done.returncode != 0 and message in done.stderr


def test_a_missing_column_is_named(shop: Shop, tmp_path: Path) -> None:
    rows = pl.read_parquet(shop.features[0] / "features.parquet").drop(c.DEVICE_TYPE)
    rows.write_parquet(tmp_path / "features.parquet")
    done = start_step(
        "features.fit_workflows",
        {
            "inputs": {"train": [str(tmp_path)], "items": str(shop.items)},
            "output": str(tmp_path / "output"),
        },
        tmp_path,
    )
    assert (
        done.returncode != 0
        and f"{tmp_path}/features.parquet has no column device_type" in done.stderr
    )
