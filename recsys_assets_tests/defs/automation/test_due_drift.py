"""Test the sensor ``drift``: over weeks with the schedules, and tick by tick."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.definitions import defs
from recsys_assets.defs.automation import sensors
from recsys_assets.files import write_json
from recsys_assets.lib.monitor.alarms import AlarmState, CursorInvalid
from recsys_assets.lib.release import releases
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import Settings, get_settings
from recsys_assets_tests.defs.automation.test_schedules import Told, days_of, runs, three_weeks
from recsys_assets_tests.support.bare_releases import serve, write_release

FIRST = "2025-03-17"  # a Monday
DRIFT = "2025-03-26"
DAYS = partitions.history_days(get_settings())
REPOSITORY = defs().get_repository_def()
TRAINED, BEFORE = DAYS[6], DAYS[7]


def by_drift(told: Told) -> list[tuple[str, list[str], str]]:
    """Return job, days and morning of the runs that the sensor asked for, but for the monitor."""
    return [
        (one["job"], one["days"], one["at"][:10])
        for one in told["runs"]
        if one["by"] == "drift" and one["job"] != "monitor"
    ]


def reasons(told: Told, morning: str) -> list[str]:
    ticks = [one for one in told["ticks"] if one["name"] == "drift" and one["at"][:10] == morning]
    return [str(one["skipped"]) for one in ticks]


# --- with the schedules, over three weeks
@pytest.mark.slow
def test_without_drift_it_only_monitors_each_day_once(tmp_path: Path) -> None:
    told = three_weeks(tmp_path, "UTC", FIRST, {}, watch=True, missing=["2025-04-01"])
    assert by_drift(told) == []
    # from the day on which a release was in service
    found = days_of(told, "monitor")
    assert found == partitions.days_between(date(2025, 3, 23), date(2025, 4, 6))
    assert "no champion yet" in reasons(told, "2025-03-18")[0]
    assert "no drift on 2025-03-27" in reasons(told, "2025-03-28")[-1]


@pytest.mark.slow
def test_the_fine_tune_of_the_schedule_answers_an_alarm(tmp_path: Path) -> None:
    """Every day is fine-tuned, so the first alarm asks for nothing more; it helped."""
    told = three_weeks(tmp_path, "UTC", FIRST, {}, watch=True, drift_from=DRIFT)
    assert by_drift(told) == []
    said = reasons(told, "2025-03-27")[-1]
    assert f"drift on {DRIFT}" in said and "counts as the fine-tune" in said
    assert days_of(told, "fine_tune") == sorted(set(days_of(told, "fine_tune")))


@pytest.mark.slow
def test_a_full_training_follows_where_fine_tunes_do_not_help(tmp_path: Path) -> None:
    told = three_weeks(
        tmp_path,
        "Europe/Berlin",
        FIRST,
        {},
        watch=True,
        drift_from=DRIFT,
        cure="full_training",
        off={"train_weekly": "2025-03-24"},
    )
    assert by_drift(told) == [("full_training", ["2025-03-29"], "2025-03-30")]
    assert "cool-down of 3 days has not passed" in reasons(told, "2025-03-28")[-1]
    assert "no drift on 2025-03-31" in reasons(told, "2025-04-01")[-1]


@pytest.mark.slow
def test_without_a_schedule_the_sensor_asks_for_the_fine_tunes_in_order(tmp_path: Path) -> None:
    off = {"fine_tune_daily": "2025-03-24", "train_weekly": "2025-03-24"}
    told = three_weeks(
        tmp_path,
        "UTC",
        FIRST,
        {"RECSYS_DRIFT_COOL_DOWN_DAYS": "4", "RECSYS_SERVED_LOG": "on"},
        watch=True,
        drift_from=DRIFT,
        off=off,
        quiet=["2025-03-27"],
    )
    assert by_drift(told) == [
        ("fine_tune", [day], "2025-03-27")
        for day in ("2025-03-23", "2025-03-24", "2025-03-25", "2025-03-26")
    ]
    assert all(one["success"] for one in runs(told, "fine_tune"))
    assert "2025-03-27 has too little to judge" in reasons(told, "2025-03-28")[-1]


# --- tick by tick
class Watched:
    """A home whose days are ingested and monitored by hand, with a full release in service."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        settings = Settings(
            home=folder,
            start_day=partitions.calendar_start(get_settings()),
            train_days=3,
            validation_days=1,
        )
        self.settings, self.instance = settings, instance
        self.store, self.cursor = ArtifactStore(settings.artifacts), None

        class HomePlatform(Platform):
            @property
            def settings(self) -> Settings:
                return settings

        self.platform = HomePlatform()
        for day in DAYS[:8]:
            self.ingest(day)
        train = self.store.require(
            "features/interactions", partitions.train_days(TRAINED, settings)
        )
        workflows = self.publish("features/workflows", TRAINED, {"train": train})
        write_release(self.store, settings, 1, TRAINED, inputs={"workflows": workflows})
        serve(settings, 1, at=partitions.day_bounds(BEFORE)[0] + 3_600)

    def publish(
        self, kind: str, day: str, inputs: dict[str, Any], text: str = "", **metrics: object
    ) -> Artifact:
        with self.store.stage(kind, day, inputs=inputs) as staged:
            write_json(staged.path / "content.json", [kind, day, text, str(metrics)])
            return staged.publish(metrics)

    def ingest(self, day: str, text: str = "") -> None:
        """Ingest a day; its landing folder has no file, as it was read."""
        folder = Path(self.settings.landing) / "interactions" / day
        folder.mkdir(parents=True, exist_ok=True)
        raw = self.publish(
            "raw/interactions", day, {"landing": "x"}, text, files={}, file_digests=[]
        )
        features = self.publish("features/interactions", day, {"interactions": [raw]}, text)
        self.publish("features/masked_train", day, {"features": features}, rows=5)

    def monitored(self, day: str, *drifted: str, unknown: float = 0.0, answers: int = 9) -> None:
        """Monitor a day."""
        served = self.publish(
            "monitor/served",
            day,
            {"interactions": self.store.current("raw/interactions", day)},
            answers=answers,
        )
        self.publish(
            "monitor/inputs",
            day,
            {"features": self.store.current("features/interactions", day)},
            judged=True,
            drifted=[],
            vocabularies=["item_id"] if unknown else [],
            unknown={"item_id": unknown},
            usual_unknown={"item_id": 0.0},
        )
        self.publish(
            "monitor/skew",
            day,
            {
                "interactions": self.store.current("raw/interactions", day),
                "features": self.store.current("features/interactions", day),
            },
        )
        self.publish(
            "monitor/quality",
            day,
            {"served": [served]},
            judged=bool(answers),
            drifted=[*drifted],
            verdicts={name: {"reason": "fell"} for name in drifted},
        )

    def tick(self) -> tuple[list[dg.RunRequest], str]:
        """Evaluate the sensor, and keep its cursor as the daemon does."""
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=REPOSITORY,
            resources={"platform": self.platform},
        ) as context:
            data = sensors.drift.evaluate_tick(context)
        self.cursor = data.cursor or self.cursor
        return [*(data.run_requests or [])], str(data.skip_message)

    def add_run(
        self, job: str, key: str = "other", status: Any = dg.DagsterRunStatus.STARTED
    ) -> Any:
        run = dg.DagsterRun(job, make_new_run_id(), tags={"recsys/work": key}, status=status)
        self.instance.add_run(run)
        return run


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    morning = datetime.fromisoformat(DAYS[8]).replace(hour=6, tzinfo=timezone.utc)
    monkeypatch.setattr(partitions, "time", morning.timestamp)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watched(tmp_path, instance)


def test_an_ingested_day_is_monitored_once_per_content(watched: Watched) -> None:
    [request], _ = watched.tick()
    assert (request.job_name, request.partition_key) == ("monitor", BEFORE)
    watched.add_run("monitor", str(request.run_key), dg.DagsterRunStatus.FAILURE)
    none, reason = watched.tick()
    assert none == [] and f"{BEFORE} were not monitored: the run of monitor failed" in reason
    watched.monitored(BEFORE)
    assert watched.tick() == ([], f"no drift on {BEFORE}")
    assert watched.tick()[1] == f"all days up to {BEFORE} were judged"
    watched.ingest(BEFORE, "corrected")
    [again], _ = watched.tick()
    assert again.run_key != request.run_key


def test_days_before_the_first_promotion_are_not_monitored(watched: Watched) -> None:
    serve(watched.settings, 1, at=partitions.day_bounds(DAYS[8])[0] + 60)
    assert watched.tick() == ([], "no ingested day on which a release was in service")


def test_an_alarm_starts_the_fine_tune_of_the_day_and_a_restart_does_not_repeat_it(
    watched: Watched,
) -> None:
    watched.monitored(BEFORE, "auc")
    [request], _ = watched.tick()
    assert (request.job_name, request.partition_key) == ("fine_tune", BEFORE)
    state = AlarmState.read(watched.cursor)
    assert state == AlarmState(BEFORE, BEFORE, "fine_tune")
    # the daemon died after it started the run, and before it stored the cursor
    watched.cursor = None
    run = watched.add_run("fine_tune", str(request.run_key))
    none, reason = watched.tick()
    assert none == [] and f"fine_tune is pending (run {run.run_id[:8]})" in reason
    assert watched.cursor is None  # so that the alarm is looked at again
    watched.instance.report_run_failed(run)
    [again], _ = watched.tick()
    assert again.run_key == request.run_key  # the run failed: it is asked for once more


@pytest.mark.parametrize("job", ["fine_tune", "full_training"])
def test_nothing_starts_while_a_run_is_pending(watched: Watched, job: str) -> None:
    watched.monitored(BEFORE, "auc")
    run = watched.add_run(job)
    none, reason = watched.tick()
    assert none == [] and f"drift on {BEFORE}: auc fell; {job} is pending" in reason
    watched.instance.report_run_failed(run)
    assert [one.job_name for one in watched.tick()[0]] == ["fine_tune"]


def test_a_release_that_has_learned_the_day_answers_its_alarm(watched: Watched) -> None:
    watched.monitored(BEFORE, "auc")
    write_release(watched.store, watched.settings, 2, BEFORE, kind="fine_tune", generation=1)
    serve(watched.settings, 2, before=[1], at=partitions.day_bounds(BEFORE)[0] + 60)
    none, reason = watched.tick()
    assert none == [] and f"release 2 has learned {BEFORE} since" in reason
    assert AlarmState.read(watched.cursor).job == "fine_tune"


def test_a_fine_tune_that_its_gate_blocked_counts_too(watched: Watched) -> None:
    watched.monitored(BEFORE, "auc")
    base = releases.open_release(watched.store, 1).artifact
    write_release(
        *(watched.store, watched.settings, 2, BEFORE),
        kind="fine_tune",
        generation=1,
        passed=False,
        inputs={"base": base},
    )
    none, reason = watched.tick()
    assert none == [] and "is blocked by its gate" in reason and "counts as" in reason
    assert AlarmState.read(watched.cursor).asked == BEFORE


def test_unknown_items_ask_for_a_full_training_of_the_newest_day(watched: Watched) -> None:
    watched.monitored(BEFORE, unknown=0.4)
    [request], _ = watched.tick()
    assert (request.job_name, request.partition_key) == ("full_training", BEFORE)


@pytest.mark.parametrize(
    ("rung", "job"), [("popularity", "full_training"), ("fusion", "fine_tune")]
)
def test_a_champion_of_sources_is_fine_tuned_and_a_simpler_one_trained(
    watched: Watched, rung: str, job: str
) -> None:
    simple = {"name": rung, "why": "few clicks", "next": None}
    write_release(watched.store, watched.settings, 2, TRAINED, kind="simple", rung=simple)
    serve(watched.settings, 2, at=partitions.day_bounds(BEFORE)[0] + 60)
    watched.monitored(BEFORE, "ndcg@10")
    assert [one.job_name for one in watched.tick()[0]] == [job]


def test_a_job_that_cannot_start_keeps_the_alarm(watched: Watched) -> None:
    """The files of a day of the window changed: the training waits, and says so at each tick."""
    watched.monitored(BEFORE, unknown=0.4)
    landing = Path(watched.settings.landing) / "interactions" / BEFORE
    (landing / "log.parquet").write_text("changed")
    for _ in range(2):
        none, reason = watched.tick()
        assert none == [] and "no full_training: " in reason and "changed" in reason
    assert watched.cursor is None
    (landing / "log.parquet").unlink()
    assert [one.job_name for one in watched.tick()[0]] == ["full_training"]


def test_a_day_without_answers_is_judged_by_its_inputs_only_where_nothing_is_logged(
    watched: Watched,
) -> None:
    watched.monitored(BEFORE, answers=0)
    assert watched.tick() == ([], f"no drift on {BEFORE}")
    watched.cursor = None
    watched.settings.served_log = "on"
    assert watched.tick() == ([], f"{BEFORE} has too little to judge")


def test_a_foreign_cursor_is_refused(watched: Watched) -> None:
    watched.cursor = "1234"  # type: ignore[assignment]
    with pytest.raises(CursorInvalid, match="reset it in the UI"):
        watched.tick()
