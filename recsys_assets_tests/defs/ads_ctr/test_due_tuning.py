"""The sensor ads_drift, tick by tick, on labelled predictions in a landing zone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.definitions import defs
from recsys_assets.defs.ads_ctr import due_tuning, sensors
from recsys_assets.lib.ads_ctr.ads_monitor import MONITOR_KEY
from recsys_assets.lib.ads_ctr.ads_watch import AdsWatch
from recsys_assets.lib.monitor.alarms import CursorInvalid
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import VISITOR_DATABASE, Settings, get_settings
from recsys_assets_tests.conftest import ValkeyProcess, free_port
from recsys_assets_tests.support.small_ads_feedback import (
    BAD,
    GOOD,
    land,
    predictions,
    serve_ads,
    write_ads_release,
)

DAYS = partitions.history_days(get_settings())
TODAY, BEFORE = DAYS[8], DAYS[7]
REPOSITORY = defs().get_repository_def()


class Watched:
    """A home whose champion scored ads since the evening before; its clock is set by hand."""

    def __init__(
        self, folder: Path, instance: dg.DagsterInstance, patch: pytest.MonkeyPatch, **others: Any
    ) -> None:
        settings = Settings(
            home=folder,
            start_day=partitions.calendar_start(get_settings()),
            **{"valkey_port": free_port(), **others},
        )
        self.settings, self.instance, self.cursor = settings, instance, None
        self.store = ArtifactStore(settings.artifacts)
        # two hours before midnight UTC, so that the predictions are of two days
        self.at = datetime.fromisoformat(BEFORE).replace(hour=22, tzinfo=timezone.utc).timestamp()
        self.now, self.landed = self.at, 0
        for module in (partitions, due_tuning):
            patch.setattr(module, "time", lambda: self.now)

        class HomePlatform(Platform):
            @property
            def settings(self) -> Settings:
                return settings

            @property
            def home_settings(self) -> Settings:
                return settings

        self.platform = HomePlatform()

    def serve(self, number: int = 1, **release: Any) -> None:
        write_ads_release(self.store, number, BEFORE, **release)
        serve_ads(self.settings, [(number, int(self.at))])

    def predict(self, rows: int, shift: float = GOOD, release: int = 1) -> None:
        """Land labelled predictions, one per ten seconds."""
        self.landed += 1
        made = predictions(rows, self.at, release=release, shift=shift, seed=self.landed, step=10.0)
        land(self.settings.landing, made, str(self.landed))
        self.at += 10.0 * rows
        self.now = self.at + 60

    def tick(self) -> tuple[list[dg.RunRequest], str]:
        """Evaluate the sensor, and keep its cursor as the daemon does."""
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=REPOSITORY,
            resources={"platform": self.platform},
        ) as context:
            data = sensors.ads_drift.evaluate_tick(context)
        self.cursor = data.cursor or self.cursor
        return [*(data.run_requests or [])], str(data.skip_message)

    def add_run(self, job: str, key: str = "other") -> dg.DagsterRun:
        run = dg.DagsterRun(
            job, make_new_run_id(), tags={"recsys/work": key}, status=dg.DagsterRunStatus.STARTED
        )
        self.instance.add_run(run)
        return run

    @property
    def watch(self) -> AdsWatch:
        found = AdsWatch.read(self.cursor)
        assert found is not None
        return found


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def watched(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Watched:
    return Watched(tmp_path, instance, monkeypatch, ads_tune_rows=400)


def test_without_a_champion_it_says_what_to_do(watched: Watched) -> None:
    none, reason = watched.tick()
    assert none == [] and "run ads_training, then promote" in reason


def test_a_good_release_has_no_alarm(watched: Watched) -> None:
    watched.serve()
    none, reason = watched.tick()
    assert none == [] and "release 1 has 0 labelled predictions" in reason
    watched.predict(200)
    assert "rolling AUC known from 250 on" in watched.tick()[1]
    watched.predict(800)
    none, reason = watched.tick()
    assert none == [] and reason.startswith("no alarm; release 1 has 1,000 labelled predictions")
    assert "0 wait for a label" in reason and "threshold 0.7" in reason
    assert watched.watch.labelled == 1_000
    watched.tick()
    assert watched.watch.labelled == 1_000, "no row is counted twice"


def drifted(watched: Watched) -> dg.RunRequest:
    watched.serve()
    watched.predict(700)
    watched.tick()
    watched.predict(800, BAD)
    [request], _ = watched.tick()
    return request


def test_an_alarm_asks_for_the_training_of_today_once(watched: Watched) -> None:
    request = drifted(watched)
    assert (request.job_name, request.partition_key) == ("ads_incremental", TODAY)
    assert str(request.run_key).startswith("ads-drift-1-1-")
    config = request.run_config["ops"]["ads_ctr__feedback_rows"]["config"]
    # the window of the alarm begins before the change, by at most its length
    change = watched.at - 800 * 10
    assert change - 500 * 10 < config["since"] < change + 10
    none, reason = watched.tick()
    assert none == [] and reason.startswith("no alarm")
    watched.predict(300, BAD)
    none, reason = watched.tick()
    assert none == []


def test_a_restart_before_the_cursor_was_stored_does_not_repeat_the_run(watched: Watched) -> None:
    watched.serve()
    watched.predict(700)
    watched.tick()
    before = watched.cursor
    watched.predict(800, BAD)
    [request], _ = watched.tick()
    run = watched.add_run("ads_incremental", str(request.run_key))
    watched.instance.report_run_failed(run)
    watched.cursor = before
    none, reason = watched.tick()
    assert none == [] and f"{request.run_key} was started before" in reason
    assert watched.watch.asked == 1 and watched.watch.pending is None


@pytest.mark.parametrize("job", ["ads_incremental", "ads_training"])
def test_an_alarm_waits_for_a_pending_training(watched: Watched, job: str) -> None:
    run = watched.add_run(job)
    watched.serve()
    watched.predict(700)
    watched.predict(800, BAD)
    none, reason = watched.tick()
    assert none == [] and f"{job} is pending (run {run.run_id[:8]})" in reason
    assert watched.watch.pending is not None
    watched.instance.report_run_failed(run)
    [request], _ = watched.tick()
    assert request.job_name == "ads_incremental"


def test_an_alarm_waits_for_enough_rows(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path, instance, monkeypatch, ads_tune_rows=1_000)
    watched.serve()
    watched.predict(700)
    watched.predict(500, BAD)
    none, reason = watched.tick()
    assert none == [] and "RECSYS_ADS_TUNE_ROWS is 1000" in reason and "alarm 1 of" in reason
    first = watched.watch.pending
    watched.predict(700, BAD)
    [request], _ = watched.tick()
    assert first is not None
    assert request.run_config["ops"]["ads_ctr__feedback_rows"]["config"]["since"] == first.since


def test_within_the_cool_down_an_alarm_of_the_next_release_waits(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path, instance, monkeypatch, ads_tune_rows=400, ads_cool_down=1_500)
    drifted(watched)
    watched.serve(2, consumed_to=watched.at)
    watched.predict(900, BAD, release=2)
    none, reason = watched.tick()
    # the change of release 1 raised alarms 1 and 2, of both monitors
    assert none == [] and "alarm 3 of release 2" in reason
    assert "alarm 1 was answered, and 600 labelled predictions of the cool-down of 1,500" in reason
    watched.predict(600, BAD, release=2)
    [request], _ = watched.tick()
    assert str(request.run_key).startswith("ads-drift-2-3-")


def test_a_new_champion_drops_the_alarm_of_the_one_before(watched: Watched) -> None:
    run = watched.add_run("ads_training")
    watched.serve()
    watched.predict(700)
    watched.predict(600, BAD)
    watched.tick()
    watched.instance.report_run_failed(run)
    watched.serve(2)
    none, reason = watched.tick()
    assert none == [] and reason.startswith("no alarm; release 2 has 0 labelled predictions")


def test_a_foreign_cursor_is_refused_with_the_remedy(watched: Watched) -> None:
    watched.serve()
    watched.cursor = '{"judged": "2026-03-02"}'
    with pytest.raises(CursorInvalid, match="reset it in the UI"):
        watched.tick()


@pytest.mark.services
def test_the_store_has_the_state_of_the_watch(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    valkey: ValkeyProcess,
) -> None:
    watched = Watched(tmp_path, instance, monkeypatch, valkey_port=valkey.port)
    watched.serve()
    watched.predict(700)
    watched.tick()
    found = json.loads(valkey.client(VISITOR_DATABASE).get(MONITOR_KEY))
    watch = watched.watch
    assert found == {
        "release": 1,
        "rolling_auc": watch.rolling_auc,
        "loss": watch.loss,
        "labelled": 700,
        "waiting": 0,
        "alarms": 0,
        "threshold": watch.rules.threshold,
        "at": watched.now,
    }
    assert 0.75 < found["rolling_auc"] < 0.95


def test_it_is_off_unless_the_sensors_are_on() -> None:
    assert sensors.ads_drift.default_status == dg.DefaultSensorStatus.STOPPED
