"""The incremental training of the ads ranker after an abrupt change, as Dagster runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest

from recsys_assets.lib.ads_ctr.ads_transforms import AdsTransforms
from recsys_assets.lib.ads_ctr.ads_truth import AdsDrift, AdsTruth
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day
from recsys_assets.lib.evaluation.ranker_metrics import auc, log_loss
from recsys_assets_tests.support.tiny_shop import TRAINING_PYTHON, StepRun, run_step

pytestmark = pytest.mark.training
TRUTH = AdsTruth(7, AdsDrift("abrupt", at=1))
SMALL = {"deep_width": 64, "cross_layers": 2, "batch_size": 256, "dropout": 0.1, "epochs": 2}
FILES = {"ads_dcn.onnx", "checkpoint", "config.json", "parity.npz", "valid_scores.npy"}


def write_split(folder: Path, split: str, rows: pl.DataFrame, transforms: AdsTransforms) -> None:
    folder.mkdir(exist_ok=True)
    cat, cont = transforms.of_frame(rows)
    for name, values in (("cat", cat), ("cont", cont), ("label", rows["label"].to_numpy())):
        np.save(folder / f"{split}_{name}.npy", values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    return tmp_path_factory.mktemp("tune")


@pytest.fixture(scope="module")
def transforms(folder: Path) -> AdsTransforms:
    (folder / "day").mkdir()
    simulate_day(TRUTH, 0, 20_000).rows.write_parquet(folder / "day" / "ads.parquet")
    made = run_step("ads_ctr.fit_workflow", folder, {"train": [folder / "day"]})
    return AdsTransforms.read(made.output / "ads_transforms.json")


@pytest.fixture(scope="module")
def base(folder: Path, transforms: AdsTransforms) -> StepRun:
    """Return a network of the day before the change."""
    day = pl.read_parquet(folder / "day" / "ads.parquet")
    write_split(folder / "before", "train", day[:16_000], transforms)
    write_split(folder / "before", "valid", day[16_000:], transforms)
    inputs = {"workflow": folder / "ads_ctr.fit_workflow_output", "datasets": folder / "before"}
    return run_step("ads_ctr.train_dcn", folder, inputs, SMALL)


@pytest.fixture(scope="module")
def rows(folder: Path, transforms: AdsTransforms) -> Path:
    """Return 5,000 rows after the change, and 8,000 later ones that judge."""
    made = folder / "rows"
    write_split(made, "train", simulate_day(TRUTH, 1, 5_000).rows, transforms)
    write_split(made, "valid", simulate_day(TRUTH, 2, 8_000).rows, transforms)
    (made / "consumed.json").write_text('{"consumed_to": 1234.5}')
    return made


@pytest.fixture(scope="module")
def tuned(folder: Path, base: StepRun, rows: Path) -> StepRun:
    return run_step("ads_ctr.tune_dcn", folder, {"base": base.output, "rows": rows})


def test_it_comes_near_a_new_network_of_the_same_rows(
    folder: Path, base: StepRun, rows: Path, tuned: StepRun, tmp_path: Path
) -> None:
    assert base.metrics["auc"] > 0.65, "before the change"
    assert tuned.metrics["auc_before"] < 0.55, "the old network is worth nothing"
    inputs = {"workflow": folder / "ads_ctr.fit_workflow_output", "datasets": rows}
    fresh = run_step("ads_ctr.train_dcn", tmp_path, inputs, SMALL)
    assert tuned.metrics["auc"] > fresh.metrics["auc"] - 0.01
    assert tuned.metrics["auc"] > tuned.metrics["auc_before"] + 0.05
    assert tuned.metrics["log_loss"] < tuned.metrics["log_loss_before"]


def scores_of(network: Path, rows: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(network / "ads_dcn.onnx")
    inputs = {name: np.load(rows / f"valid_{name}.npy") for name in ("cat", "cont")}
    found: np.ndarray = session.run(None, inputs)[0]
    return found


def test_it_starts_from_the_weights_of_the_base(base: StepRun, rows: Path, tuned: StepRun) -> None:
    labels, before = np.load(rows / "valid_label.npy"), scores_of(base.output, rows)
    assert tuned.metrics["auc_before"] == pytest.approx(auc(labels, before), abs=1e-4)
    assert tuned.metrics["log_loss_before"] == pytest.approx(log_loss(labels, before), abs=1e-5)


def test_it_writes_the_files_of_a_full_training(base: StepRun, rows: Path, tuned: StepRun) -> None:
    names = {path.name for path in tuned.output.iterdir()}
    assert names == FILES == {path.name for path in base.output.iterdir()}
    assert json.loads((tuned.output / "config.json").read_text()) == json.loads(
        (base.output / "config.json").read_text()
    )
    scores = np.load(tuned.output / "valid_scores.npy")
    assert np.abs(scores_of(tuned.output, rows) - scores).max() <= 1e-6
    metrics = tuned.metrics
    assert metrics["auc"] == pytest.approx(auc(np.load(rows / "valid_label.npy"), scores), abs=1e-4)
    assert metrics["onnx_difference"] <= 1e-6 and metrics["consumed_to"] == 1234.5
    assert (metrics["rows"], metrics["held_out_rows"], metrics["validation_rows"]) == (
        4_000,
        1_000,
        8_000,
    )
    assert set(base.metrics) < set(metrics)


def test_the_next_training_starts_from_it(tuned: StepRun, rows: Path, tmp_path: Path) -> None:
    again = run_step(
        "ads_ctr.tune_dcn", tmp_path, {"base": tuned.output, "rows": rows}, {"epochs": 1}
    )
    assert again.metrics["auc_before"] == pytest.approx(tuned.metrics["auc"], abs=1e-6)


@pytest.mark.parametrize("changed", [True, False])
def test_a_gentle_rate_is_tried_only_where_the_base_keeps_half_of_its_lift(
    base: StepRun, transforms: AdsTransforms, tmp_path: Path, changed: bool
) -> None:
    known, rows = tmp_path / "base", tmp_path / "rows"
    shutil.copytree(base.output, known)
    (known / "manifest.json").write_text(json.dumps({"metrics": {"auc": base.metrics["auc"]}}))
    truth = TRUTH if changed else AdsTruth(7)
    write_split(rows, "train", simulate_day(truth, 1, 1_500).rows, transforms)
    write_split(rows, "valid", simulate_day(truth, 2, 1_000).rows, transforms)
    (rows / "consumed.json").write_text('{"consumed_to": 1.0}')
    found = run_step("ads_ctr.tune_dcn", tmp_path, {"base": known, "rows": rows}, {"epochs": 1})
    assert ("held_out_auc" in found.metrics) is not changed
    if changed:
        assert found.metrics["learning_rate"] == 2e-3


def test_the_rate_with_the_higher_held_out_auc_is_kept(tuned: StepRun) -> None:
    """The base has no manifest here, so that both are tried."""
    aucs = tuned.metrics["held_out_auc"]
    better = 2e-3 if aucs["quick"] >= aucs["gentle"] else 5e-4
    assert tuned.metrics["learning_rate"] == better


def test_rows_of_another_workflow_are_refused(base: StepRun, rows: Path, tmp_path: Path) -> None:
    other = tmp_path / "rows"
    other.mkdir()
    for path in rows.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    cat = np.load(rows / "valid_cat.npy")
    cat[0, 4] = 10**6
    np.save(other / "valid_cat.npy", cat)
    with pytest.raises(AssertionError, match=r"C5 has index 1000000 of \d+.*feedback_rows again"):
        run_step("ads_ctr.tune_dcn", tmp_path, {"base": base.output, "rows": other})
