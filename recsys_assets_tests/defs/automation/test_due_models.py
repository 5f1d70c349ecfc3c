"""Test what is promoted, trained and fine-tuned, and the reasons why nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.defs.automation import due_models, sensors
from recsys_assets.defs.automation.due_days import Days
from recsys_assets.lib.fine_tune import fine_tuning
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import Settings, get_settings
from recsys_assets_tests.support.bare_releases import serve, write_release

DAYS = partitions.history_days(get_settings())


class Home:
    """Holds a home without landing files, and its Dagster instance."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.settings = Settings(home=folder, start_day=partitions.calendar_start(get_settings()))
        self.store = ArtifactStore(self.settings.artifacts)

    @property
    def platform(self) -> Platform:
        """Return the platform resource of the home."""
        home = self.settings

        class HomePlatform(Platform):
            @property
            def settings(self) -> Settings:
                return home

        return HomePlatform()

    def set(self, **values: Any) -> None:
        """Change settings."""
        self.settings = self.settings.model_copy(update=values)

    def release(self, number: int, day: str, **values: Any) -> None:
        """Write a release."""
        write_release(self.store, self.settings, number, day, **values)

    def run(self, job: str, status: dg.DagsterRunStatus, **tags: str) -> str:
        """Add a run; return its id as reasons show it."""
        named = {name.replace("__", "/"): value for name, value in tags.items()}
        run = dg.DagsterRun(job, make_new_run_id(), tags=named, status=status)
        return self.instance.add_run(run).run_id[:8]

    def promotion(self) -> dg.RunRequest | str:
        """Evaluate the sensor passed_release; return its run, or its reason."""
        with dg.build_sensor_context(
            instance=self.instance, resources={"platform": self.platform}
        ) as context:
            return one_of(sensors.passed_release(context))

    def found(self, find: Any, today: str) -> Any:
        """Return the days of the runs that are due in the morning of a day, or the reason."""
        with dg.build_sensor_context(instance=self.instance) as context:
            found = find(Days(context, self.platform, today))
        if isinstance(found, dg.SkipReason):
            return str(found.skip_message)
        return [request.partition_key for request in found]

    def ingested(self, days: list[str], rows: int = 5) -> None:
        """Publish the masked rows of days."""
        for day in days:
            with self.store.stage("features/masked_train", day) as staged:
                (staged.path / "rows").write_text(f"{day}: {rows}")
                staged.publish({"rows": rows})


def one_of(found: Any) -> dg.RunRequest | str:
    """Return the only run, or the reason."""
    if isinstance(found, dg.SkipReason):
        return str(found.skip_message)
    [request] = found
    return request


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Return a new home."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Home(tmp_path, instance)


# --- promotion
def test_a_release_that_passed_is_promoted_once(home: Home) -> None:
    assert home.promotion() == "no release serves, and no newer release has passed its gate"
    home.release(1, DAYS[5])
    request = home.promotion()
    assert isinstance(request, dg.RunRequest) and request.job_name == "promote"
    assert request.run_config == {"ops": {"serving__champion": {"config": {"release": 1}}}}
    shown = home.run("promote", dg.DagsterRunStatus.STARTED, recsys__work=str(request.run_key))
    assert home.promotion() == f"a promotion is pending (run {shown})"
    serve(home.settings, 1)
    home.release(2, DAYS[6], passed=False)
    assert home.promotion() == "release 1 serves, and no newer release has passed its gate"


def test_with_manual_promotion_the_reason_names_the_release_that_waits(home: Home) -> None:
    home.set(promotion="manual")
    home.release(1, DAYS[5])
    reason = home.promotion()
    assert isinstance(reason, str) and reason.startswith(f"release 1 (full, {DAYS[5]}, rung full)")
    assert "materialise serving/champion, or run `recsys promote 1`" in reason


def test_a_failed_promotion_is_not_repeated(home: Home) -> None:
    home.release(1, DAYS[5])
    request = home.promotion()
    assert isinstance(request, dg.RunRequest)
    shown = home.run("promote", dg.DagsterRunStatus.FAILURE, recsys__work=str(request.run_key))
    reason = home.promotion()
    assert isinstance(reason, str) and f"did not succeed (run {shown} says why)" in reason
    home.release(2, DAYS[6])
    assert isinstance(home.promotion(), dg.RunRequest)


def test_a_rollback_stays_in_force(home: Home) -> None:
    home.release(1, DAYS[5])
    home.release(2, DAYS[6])
    serve(home.settings, 1, before=[1, 2])
    assert home.promotion() == "release 1 serves, and no newer release has passed its gate"


def test_a_release_waits_for_the_end_of_the_run_that_builds_it(home: Home) -> None:
    home.release(1, DAYS[5])
    shown = home.run("full_training", dg.DagsterRunStatus.STARTED, dagster__partition=DAYS[5])
    reason = home.promotion()
    assert isinstance(reason, str) and f"run {shown}, which builds it, has not ended" in reason


def test_with_manual_promotion_a_fine_tune_does_not_promote(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    code = (
        "from recsys_assets.definitions import defs; job = defs().resolve_job_def('fine_tune'); "
        "print(sorted(k.to_user_string() for k in job.asset_layer.executable_asset_keys), "
        "job.description)"
    )
    home = {"RECSYS_HOME": str(tmp_path), "RECSYS_PROMOTION": "manual"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **home}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "serving/champion'" not in done.stdout and "fine_tune/release" in done.stdout
    assert "waits: materialise serving/champion" in done.stdout


# --- fine-tunes and trainings
@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every champion be fine-tuned; a release without models has no training days."""
    monkeypatch.setattr(fine_tuning, "plan", lambda *_: None)


@pytest.mark.usefixtures("planned")
def test_fine_tunes_take_ingested_days_in_order_up_to_the_first_gap(home: Home) -> None:
    home.release(1, DAYS[2])
    serve(home.settings, 1)
    home.ingested(DAYS[:5])
    home.ingested(DAYS[6:7])
    assert home.found(due_models.fine_tunes, DAYS[7]) == DAYS[3:5]
    home.ingested(DAYS[3:5], rows=0)
    reason = home.found(due_models.fine_tunes, DAYS[7])
    assert f"{DAYS[3]} has no rows to learn" in reason and f"{DAYS[5]} has not landed" in reason
    shown = home.run("full_training", dg.DagsterRunStatus.NOT_STARTED, dagster__partition=DAYS[4])
    assert f"a full training is pending (run {shown})" in home.found(due_models.fine_tunes, DAYS[7])


@pytest.mark.usefixtures("planned")
def test_a_day_that_was_read_before_its_end_is_fine_tuned_once_it_is_read_again(home: Home) -> None:
    today = partitions.today(home.settings)
    day, tomorrow = today.isoformat(), (today + timedelta(days=1)).isoformat()
    home.release(1, partitions.previous_day(day))
    serve(home.settings, 1)
    home.ingested([day])
    folder = Path(home.settings.landing) / "interactions" / day
    folder.mkdir(parents=True)
    (folder / "events-1.parquet").touch()
    with home.store.stage("raw/interactions", day) as staged:
        (staged.path / "rows").write_text("")
        staged.publish({"files": {"events-1.parquet": 0}})
    assert home.found(due_models.fine_tunes, tomorrow) == [day]
    (folder / "events-2.parquet").touch()
    assert f"{day} is not ingested yet" in home.found(due_models.fine_tunes, tomorrow)


@pytest.mark.usefixtures("planned")
def test_a_fine_tune_that_was_judged_is_not_repeated(home: Home) -> None:
    home.release(1, DAYS[2])
    serve(home.settings, 1)
    home.ingested(DAYS[:5])
    base = {"base": home.store.current("serving/release", "000001")}
    home.release(2, DAYS[3], kind="fine_tune", generation=1, passed=False, inputs=base)
    home.release(3, DAYS[4], kind="fine_tune", generation=1, inputs=base)
    reason = home.found(due_models.fine_tunes, DAYS[5])
    assert f"the fine-tune on {DAYS[3]} (release 2) is blocked by its gate: auc = 0.4" in reason
    assert f"the fine-tune on {DAYS[4]} is release 3, which is not in service" in reason


def test_without_a_champion_that_has_sources_nothing_is_fine_tuned(home: Home) -> None:
    home.ingested(DAYS[:5])
    assert "no champion to fine-tune" in home.found(due_models.fine_tunes, DAYS[5])
    assert "no champion yet" in home.found(due_models.refresh, DAYS[5])
    home.release(1, DAYS[3], rung={"name": "item_to_item", "why": "tried", "next": None})
    serve(home.settings, 1)
    assert "is of the rung item_to_item" in home.found(due_models.fine_tunes, DAYS[5])
    assert home.found(due_models.refresh, DAYS[5]) == [DAYS[4]]
    home.release(2, DAYS[3], rung={"name": "fusion", "why": "tried", "next": None})
    serve(home.settings, 2)
    assert home.found(due_models.fine_tunes, DAYS[5]) == [DAYS[4]]


def test_a_training_takes_the_newest_ingested_day_once(home: Home) -> None:
    assert "has not landed (no day landed)" in home.found(due_models.training, DAYS[5])
    home.ingested([DAYS[0], *DAYS[2:5]])
    reason = home.found(due_models.training, DAYS[5])
    assert f"the window of {DAYS[4]} lacks {DAYS[1]}" in reason
    home.ingested([DAYS[1]])
    assert home.found(due_models.training, DAYS[5]) == [DAYS[4]]
    home.release(1, DAYS[4])
    home.release(2, DAYS[5], kind="fine_tune", generation=1)
    assert f"release 1 was trained as of {DAYS[4]} already" in home.found(
        due_models.training, DAYS[6]
    )
    shown = home.run("full_training", dg.DagsterRunStatus.STARTED)
    assert home.found(due_models.training, DAYS[6]) == f"a full training is pending (run {shown})"


def test_a_report_is_written_once_per_training(home: Home) -> None:
    assert "no full training to evaluate" in home.found(due_models.report, DAYS[5])
    for kind in ("evaluation/offline", "evaluation/report"):
        with home.store.stage(kind, DAYS[4]) as staged:
            (staged.path / "x").write_text("x")
            staged.publish({})
        found = home.found(due_models.report, DAYS[6])
        if kind == "evaluation/offline":
            assert found == [DAYS[4]]
    assert f"the report of {DAYS[4]}, the newest full training, is written already" in found
