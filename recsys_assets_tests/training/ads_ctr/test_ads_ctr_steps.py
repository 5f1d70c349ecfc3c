"""The training steps of the ads ranker on simulated days, as Dagster runs them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest

from recsys_assets.ads_columns import CATEGORIES, INTEGERS
from recsys_assets.lib.ads_ctr.ads_transforms import AdsTransforms
from recsys_assets.lib.evaluation.ranker_metrics import auc
from recsys_assets_tests.support.small_ads import write_day
from recsys_assets_tests.support.tiny_shop import TRAINING_PYTHON, StepRun, run_step

pytestmark = pytest.mark.training
SMALL = {"deep_width": 64, "cross_layers": 2, "batch_size": 256, "dropout": 0.1, "epochs": 2}


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two days; the second has values, nulls and numbers that the first one lacks."""
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    folder = tmp_path_factory.mktemp("ads")
    first, second = (write_day(folder, number, 6_000) for number in range(2))
    rows = pl.read_parquet(second / "ads.parquet")
    odd = rows[:40].with_columns(
        C1=pl.lit(None, pl.String),
        C2=pl.lit("käse 🧀"),
        C9=pl.lit("never seen"),
        I1=pl.lit(None, pl.Int64),
        I2=pl.lit(-3, pl.Int64),
        I3=pl.lit(2**53, pl.Int64),
    )
    pl.concat([odd, rows]).write_parquet(second / "ads.parquet")
    return [first, second]


@pytest.fixture(scope="module", params=[True, False], ids=["log counts", "plain counts"])
def logs(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def workflow(days: list[Path], tmp_path_factory: pytest.TempPathFactory, logs: bool) -> StepRun:
    folder = tmp_path_factory.mktemp("workflow")
    params = {"hashed_buckets": 50, "log_counts": logs}
    return run_step("ads_ctr.fit_workflow", folder, {"train": days[:1]}, params)


@pytest.fixture(scope="module")
def datasets(
    days: list[Path], workflow: StepRun, tmp_path_factory: pytest.TempPathFactory
) -> StepRun:
    inputs = {"workflow": workflow.output, "train": days[:1], "valid": days[1:]}
    return run_step("ads_ctr.make_datasets", tmp_path_factory.mktemp("datasets"), inputs)


@pytest.fixture(scope="module")
def dcn(workflow: StepRun, datasets: StepRun, tmp_path_factory: pytest.TempPathFactory) -> StepRun:
    inputs = {"workflow": workflow.output, "datasets": datasets.output}
    return run_step("ads_ctr.train_dcn", tmp_path_factory.mktemp("dcn"), inputs, SMALL)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_the_compiled_transforms_equal_nvtabular_in_every_bit(
    days: list[Path], workflow: StepRun, datasets: StepRun, split: str
) -> None:
    rows = pl.read_parquet(days[split == "valid"] / "ads.parquet")
    cat, cont = AdsTransforms.read(workflow.output / "ads_transforms.json").of_frame(rows)
    theirs = {
        name: np.load(datasets.output / f"{split}_{name}.npy") for name in ("cat", "cont", "label")
    }
    assert theirs["cat"].dtype == np.int32 and (cat == theirs["cat"]).all()
    assert theirs["cont"].dtype == np.float32
    assert (cont.view(np.int32) == theirs["cont"].view(np.int32)).all()
    assert (rows["label"].to_numpy() == theirs["label"]).all()


def test_the_workflow_keeps_frequent_values_and_normalises(
    days: list[Path], workflow: StepRun, datasets: StepRun, logs: bool
) -> None:
    export = json.loads((workflow.output / "ads_transforms.json").read_text())
    counts = pl.read_parquet(days[0] / "ads.parquet")["C3"].value_counts()
    frequent = counts.filter(pl.col("count") >= 5, pl.col("C3").is_not_null())["C3"]
    assert set(export["vocabulary"]["C3"]) == set(frequent)
    assert export["log_counts"] is logs
    cont = np.load(datasets.output / "train_cont.npy")
    assert cont.mean(axis=0) == pytest.approx(np.zeros(13), abs=0.01)
    if logs:  # few counts are then far enough from the others to be cut off
        assert cont.std(axis=0) == pytest.approx(np.ones(13), abs=0.01)
    assert cont.max() <= 20
    cat = np.load(datasets.output / "train_cat.npy")
    sizes = [workflow.metrics["cardinality"][name] for name in CATEGORIES]
    assert (cat >= 1).all() and (cat < sizes).all()


def test_the_network_learns_and_its_export_is_equal(
    days: list[Path], datasets: StepRun, dcn: StepRun
) -> None:
    metrics = dcn.metrics
    assert metrics["losses"][1] < metrics["losses"][0] and len(metrics["held_out_log_loss"]) == 2
    assert metrics["auc"] > 0.6 and metrics["onnx_difference"] <= 1e-6
    scores = np.load(dcn.output / "valid_scores.npy")
    inputs = {name: np.load(datasets.output / f"valid_{name}.npy") for name in ("cat", "cont")}
    session = onnxruntime.InferenceSession(dcn.output / "ads_dcn.onnx")
    assert {one.name: one.shape[1] for one in session.get_inputs()} == {
        "cat": len(CATEGORIES),
        "cont": len(INTEGERS),
    }
    (served,) = session.run(None, inputs)
    assert served.shape == scores.shape and np.abs(served - scores).max() <= 1e-6
    labels = np.load(datasets.output / "valid_label.npy")
    assert auc(labels, served) == pytest.approx(metrics["auc"], abs=1e-4)


def shapes_of(path: Path) -> list[tuple[int, ...]]:
    """Return the shapes of a model's constants; the training environment reads ONNX files."""
    code = (
        "import onnx, sys; print([list(i.dims) for i in onnx.load(sys.argv[1]).graph.initializer])"
    )
    done = subprocess.run(
        [str(TRAINING_PYTHON), "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    return [tuple(dims) for dims in json.loads(done.stdout)]


def test_the_network_has_the_width_of_the_reference(dcn: StepRun) -> None:
    """26 × 16 + 13 = 429 inputs of the cross layers."""
    shapes = shapes_of(dcn.output / "ads_dcn.onnx")
    assert shapes.count((429, 429)) == SMALL["cross_layers"] and (429, 64) in shapes


@pytest.mark.parametrize("rank", [1, 8])
def test_a_cross_layer_of_low_rank(
    workflow: StepRun, datasets: StepRun, tmp_path: Path, rank: int
) -> None:
    inputs = {"workflow": workflow.output, "datasets": datasets.output}
    found = run_step(
        "ads_ctr.train_dcn", tmp_path, inputs, {**SMALL, "epochs": 1, "cross_rank": rank}
    )
    shapes = shapes_of(found.output / "ads_dcn.onnx")
    assert (429, rank) in shapes and (429, 429) not in shapes
    assert found.metrics["onnx_difference"] <= 1e-6


def test_equal_seeds_give_equal_files(workflow: StepRun, datasets: StepRun, tmp_path: Path) -> None:
    inputs = {"workflow": workflow.output, "datasets": datasets.output}
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run = run_step("ads_ctr.train_dcn", tmp_path / name, inputs, {**SMALL, "epochs": 1})
        files.append((run.output / "ads_dcn.onnx").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("fit_workflow", "no training day has a row"),
        ("make_datasets", "none of the 1 days of valid has a row"),
    ],
)
def test_days_without_rows_are_refused(
    days: list[Path], workflow: StepRun, tmp_path: Path, step: str, message: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    pl.read_parquet(days[0] / "ads.parquet")[:0].write_parquet(empty / "ads.parquet")
    inputs: dict[str, object] = {"train": [empty]}
    if step == "make_datasets":
        inputs = {"train": days[:1], "valid": [empty], "workflow": workflow.output}
    with pytest.raises(AssertionError, match=message):
        run_step(f"ads_ctr.{step}", tmp_path, inputs)


def test_a_wrong_parameter_is_named(workflow: StepRun, datasets: StepRun, tmp_path: Path) -> None:
    inputs = {"workflow": workflow.output, "datasets": datasets.output}
    with pytest.raises(AssertionError, match="cross_rank must be at most the width of the input"):
        run_step("ads_ctr.train_dcn", tmp_path, inputs, {"cross_rank": 430})
