"""The ads graph from landed days to an evaluation, in one home, as Dagster runs it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from recsys_assets import ads_partitions, partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.ads_ctr import ads_landing
from recsys_assets.lib.ads_ctr.ads_truth import AdsDrift, AdsTruth
from recsys_assets.lib.release.lines import ADS
from recsys_assets.lib.release.releases import list_releases
from recsys_assets.orchestration.pipes import TrainingClient
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import Settings, get_settings
from recsys_assets_tests.support import small_feedback
from recsys_assets_tests.support.tiny_shop import TRAINING_PYTHON

START = partitions.calendar_start(get_settings())
DAYS = partitions.days_between(START, date.fromordinal(START.toordinal() + 3))
ROWS = 4_000


class AdsHome:
    """A home with an ads log whose input breaks on the last of four days."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        changed = Settings(home=folder, start_day=START, **settings)
        self.landing, self.store = Path(changed.landing), ArtifactStore(changed.artifacts)

        class HomePlatform(Platform):
            @property
            def settings(self) -> Settings:
                return changed

        class HomeTraining(TrainingClient):
            @property
            def settings(self) -> Settings:
                return changed

        self.resources = {"platform": HomePlatform(), "training": HomeTraining()}

    def run(
        self, assets: Sequence[dg.AssetsDefinition], day: str, config: dict[str, Any] | None = None
    ) -> dg.ExecuteInProcessResult:
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                assets,
                partition_key=day,
                resources=self.resources,
                instance=instance,
                run_config={"ops": config} if config else None,
                raise_on_error=False,
            )

    def logs(self, days: Sequence[str]) -> list[dg.ExecuteInProcessResult]:
        from recsys_assets.defs.ads_ctr import logs

        return [self.run([logs.logs], day) for day in days]


def checks(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Return check → its evaluation."""
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> AdsHome:
    made = AdsHome(tmp_path_factory.mktemp("ads-home"))
    truth = AdsTruth(7, AdsDrift("broken", at=3))
    ads_landing.land_simulated(made.landing, truth, START, len(DAYS), ROWS)
    return made


@pytest.fixture(scope="module")
def imported(home: AdsHome) -> list[dg.ExecuteInProcessResult]:
    return home.logs(DAYS)


def test_days_are_imported_with_their_profile(
    home: AdsHome, imported: list[dg.ExecuteInProcessResult]
) -> None:
    assert all(one.success for one in imported)
    artifact = home.store.current("ads_ctr/logs", DAYS[0])
    assert artifact.metrics["rows"] == ROWS
    assert artifact.path("figures/distributions.md").read_text().startswith("![")
    (event,) = imported[0].asset_materializations_for_node("ads_ctr__logs")
    assert event.metadata["dagster/row_count"].value == ROWS
    assert {one.name for one in event.metadata["dagster/column_schema"].value.columns} >= {
        "label",
        "I13",
        "C26",
    }


def test_a_broken_input_warns_by_name(imported: list[dg.ExecuteInProcessResult]) -> None:
    *quiet, broken = (checks(one) for one in imported)
    assert all(one["contract"].passed and one["drift"].passed for one in quiet)
    drift = broken["drift"]
    assert not drift.passed and drift.severity == dg.AssetCheckSeverity.WARN
    assert set(drift.metadata["drifted"].value) == {"I1", "C1"}
    assert drift.metadata["plot"].value.startswith("![")
    assert drift.metadata["compared_with"].value == DAYS[:3]


def test_a_drifted_day_stops_where_the_setting_says_so(tmp_path: Path, home: AdsHome) -> None:
    strict = AdsHome(tmp_path, landing_uri=str(home.landing), ads_drift_blocks=True)
    results = strict.logs(DAYS[2:])
    drift = checks(results[1])["drift"]
    assert results[0].success and not drift.passed
    assert drift.severity == dg.AssetCheckSeverity.ERROR


def test_a_file_that_breaks_the_form_stops_the_day(tmp_path: Path) -> None:
    home = AdsHome(tmp_path)
    ads_landing.land_simulated(home.landing, AdsTruth(7), START, 1, 20)
    (file,) = home.landing.glob("ads/*/*.parquet")
    pl.read_parquet(file).drop("C9").write_parquet(file)
    (result,) = home.logs(DAYS[:1])
    assert not result.success and not home.store.exists("ads_ctr/logs", DAYS[0])
    assert not checks(result)["contract"].passed
    assert "column 'C9': type is missing" in str(checks(result)["contract"].metadata["failures"])


def test_a_day_of_served_predictions_is_new_with_each_label(tmp_path: Path) -> None:
    home, now = AdsHome(tmp_path), time.time()
    made = [small_feedback.prediction(number, now) for number in range(3)]
    small_feedback.land(home.landing, made, [small_feedback.label(1, 1, now, now)], day=DAYS[0])

    def imported() -> tuple[list[Any], dict[str, Any], Any]:
        (result,) = home.logs(DAYS[:1])
        assert result.success
        artifact = home.store.current("ads_ctr/logs", DAYS[0])
        rows = pl.read_parquet(artifact.path("ads.parquet"))
        return rows.select("label", "I1").rows(), artifact.metrics, checks(result)["settled"]

    rows, metrics, settled = imported()
    assert rows == [(1, 1)] and (metrics["served"], metrics["waiting"]) == (1, 2)
    assert not settled.passed and settled.severity == dg.AssetCheckSeverity.WARN
    assert settled.metadata["value"].value == 2
    labels = [small_feedback.label(number, 0, now, now) for number in (0, 2)]
    small_feedback.land(home.landing, [], labels, file="1772452900000-0", day=DAYS[0])
    rows, metrics, settled = imported()
    assert rows == [(0, 0), (1, 1), (0, 2)] and metrics["waiting"] == 0 and settled.passed
    assert imported()[0] == rows


@pytest.mark.training
def test_the_graph_ends_in_a_release(
    home: AdsHome, imported: list[dg.ExecuteInProcessResult]
) -> None:
    from recsys_assets.defs.ads_ctr import ranker, release

    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    small = {"cross_layers": 1, "deep_width": 32, "batch_size": 128, "dropout": 0.1}
    result = home.run(
        [ranker.workflow, ranker.datasets, ranker.dcn, ranker.evaluation, release.release],
        DAYS[1],
        {"ads_ctr__dcn": {"config": small}},
    )
    assert result.success
    found = checks(result)
    gates = {"gate", "champion", "exports"}
    assert set(found) == {"parity", "auc", "onnx", "baselines", "calibration"} | gates
    assert found["gate"].passed and found["exports"].passed
    assert found["champion"].metadata["value"].value == "there is none to compare with"
    built = list_releases(home.store, ADS)
    assert [(one.number, one.generation, one.day, one.kind) for one in built] == [
        (1, 1, DAYS[1], "full")
    ]
    assert built[0].versions == {"ads_nvt_transform": 1, "ads_dcn": 1}
    sample = pl.read_parquet(built[0].artifact.path("sample.parquet"))
    assert sample.height == 32 and sample["score"].is_between(0, 1).all()
    again = home.run([release.release], DAYS[1])
    assert again.success and len(list_releases(home.store, ADS)) == 1, "nothing has changed"
    assert found["parity"].passed and found["auc"].passed and found["onnx"].passed
    metrics = home.store.current("ads_ctr/evaluation", DAYS[1]).metrics
    assert set(metrics["systems"]) == {
        "dcn",
        "logistic_regression",
        "factorization_machine",
        "boosted_trees",
        "oracle",
    }
    aucs = {name: one["auc"]["value"] for name, one in metrics["systems"].items()}
    assert max(aucs, key=aucs.__getitem__) == "oracle" and min(aucs.values()) > 0.55
    assert metrics["rows"] == ROWS


def test_the_first_day_of_the_log_has_nothing_to_learn(home: AdsHome) -> None:
    """Its training window is empty; the message says what to choose."""
    assert ads_partitions.ADS_TRAINING.days(Settings(start_day=START), DAYS[0]) == []
