"""The incremental training and the quality of a day, as Dagster runs them in one home."""

from __future__ import annotations

from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from recsys_assets import local_time
from recsys_assets.ads_columns import FEATURES, LABEL
from recsys_assets.defs.ads_ctr import incremental, quality, ranker
from recsys_assets.lib.ads_ctr import ads_landing, ads_release
from recsys_assets.lib.ads_ctr.ads_truth import AdsDrift, AdsTruth
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day
from recsys_assets.lib.release.releases import Release, read_release
from recsys_assets_tests.defs.ads_ctr.test_ranker import DAYS, START, AdsHome, checks
from recsys_assets_tests.support.small_ads_feedback import land, serve_ads
from recsys_assets_tests.support.tiny_shop import TRAINING_PYTHON

TRUTH = AdsTruth(7, AdsDrift("abrupt", at=2))
SERVED = DAYS[2]
NOON = float(local_time.day_bounds(SERVED, "UTC")[0] + 12 * 3_600)
OLD, NEW = 800, 2_400
SMALL = {"cross_layers": 1, "deep_width": 32, "batch_size": 128, "dropout": 0.1}


def test_without_a_champion_the_message_names_the_remedy(tmp_path: Any) -> None:
    result = AdsHome(tmp_path).run([incremental.feedback_rows], SERVED)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert "run ads_training, then promote its release" in str(failure.event_specific_data)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> AdsHome:
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    made = AdsHome(tmp_path_factory.mktemp("ads-incremental"))
    ads_landing.land_simulated(made.landing, TRUTH, START, 2, 8_000)
    assert all(one.success for one in made.logs(DAYS[:2]))
    trained = made.run(
        [ranker.workflow, ranker.datasets, ranker.dcn], DAYS[1], {"ads_ctr__dcn": {"config": SMALL}}
    )
    assert trained.success
    return made


@pytest.fixture(scope="module")
def champion(home: AdsHome) -> Release:
    workflow, dcn = (home.store.current(f"ads_ctr/{name}", DAYS[1]) for name in ("workflow", "dcn"))
    release = ads_release.build_ads_release(
        home.store,
        day=DAYS[1],
        workflow=workflow,
        dcn=dcn,
        sample=simulate_day(TRUTH, 1, 40).rows,
        gate=None,
        metrics={"auc": dcn.metrics["auc"], "click_rate": 0.25},
        learnt="the first day",
    )
    serve_ads(home.resources["platform"].settings, [(1, int(NOON))])
    return read_release(release)


@pytest.fixture(scope="module")
def served(home: AdsHome, champion: Release) -> pl.DataFrame:
    """Land predictions of the champion, one per second: some before the change, more after it."""
    rows = pl.concat([simulate_day(TRUTH, 1, OLD).rows, simulate_day(TRUTH, 2, NEW).rows])
    times = NOON + np.arange(rows.height, dtype=np.float64)
    made = pl.DataFrame(
        {
            "prediction_id": [f"{int(one * 1_000):x}-{7:032x}-0" for one in times],
            "at": times,
            "settled_at": times + 5,
            "release": np.full(rows.height, 1),
            "score": ads_release.scores_of(champion, rows).astype(np.float64),
        }
    ).hstack(rows.select(pl.col(LABEL).cast(pl.Int64), *FEATURES))
    land(home.landing, made, "1")
    return made


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock to the evening of the day."""
    for module in (incremental, quality):
        monkeypatch.setattr(module, "time", lambda: NOON + 10 * 3_600)


def tune(home: AdsHome, since: float | None = None) -> dg.ExecuteInProcessResult:
    config = {} if since is None else {"ads_ctr__feedback_rows": {"config": {"since": since}}}
    return home.run([incremental.feedback_rows, incremental.tuned_dcn], SERVED, config or None)


@pytest.mark.training
def test_the_champion_learns_what_was_served_after_the_change(
    home: AdsHome, champion: Release, served: pl.DataFrame, later: None
) -> None:
    result = tune(home, since=float(served["settled_at"][OLD - 1]))
    assert result.success
    found = checks(result)
    assert set(found) == {"auc", "onnx", "better"} and all(one.passed for one in found.values())
    assert found["better"].metadata["value"].value > 0
    rows = home.store.current("ads_ctr/feedback_rows", SERVED)
    cut = int(NEW * 0.7)
    assert (rows.metrics["train"], rows.metrics["held_out"]) == (cut, NEW - cut)
    assert rows.metrics["by_release"] == {"1": NEW} and rows.metrics["base_release"] == 1
    tuned = home.store.current("ads_ctr/tuned_dcn", SERVED)
    assert tuned.metrics["consumed_to"] == served["settled_at"][-1]
    assert tuned.manifest["inputs"]["base"]["digest"] == (
        home.store.current("ads_ctr/dcn", DAYS[1]).digest
    )
    assert tuned.metrics["auc"] > tuned.metrics["auc_before"]
    labels = served[LABEL].to_list()[OLD:][cut:]
    assert tuned.metrics["validation_clicks"] == sum(labels)
    # the network goes into a release, from which the next training starts after these rows
    built = ads_release.build_tuned_release(
        home.store,
        day=SERVED,
        base=champion,
        tuned=tuned,
        sample=served.select(FEATURES),
        gate=None,
        metrics={"auc": tuned.metrics["auc"], "click_rate": rows.metrics["click_rate"]},
        learnt="the predictions",
    )
    settings = home.resources["platform"].settings
    serve_ads(settings, [(1, int(NOON)), (int(built.metrics["release"]), int(NOON) + 9_000)])
    try:
        again = tune(home)
        assert not again.success
        (failure,) = again.get_step_failure_events()
        assert "0 labelled predictions are not learnt yet" in str(failure.event_specific_data)
    finally:
        serve_ads(settings, [(1, int(NOON))])


@pytest.mark.training
def test_the_quality_of_the_day_shows_the_change(
    home: AdsHome, served: pl.DataFrame, later: None
) -> None:
    result = home.run([quality.quality], SERVED)
    assert result.success
    drift = checks(result)["drift"]
    assert not drift.passed and drift.severity == dg.AssetCheckSeverity.WARN
    assert drift.metadata["labelled"].value == OLD + NEW
    (event,) = result.asset_materializations_for_node("ads_ctr__quality")
    assert event.metadata["rolling auc"].value.startswith("![Rolling AUC")
    assert "| 1 | 3,200 |" in event.metadata["releases"].value
    assert home.store.current("ads_ctr/quality", SERVED).metrics["labelled"] == OLD + NEW


@pytest.mark.training
def test_a_day_without_predictions_passes(home: AdsHome, later: None) -> None:
    result = home.run([quality.quality], DAYS[0])
    assert result.success and checks(result)["drift"].passed
