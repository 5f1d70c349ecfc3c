"""Move a shop's clock through three weeks and evaluate its schedules and sensors.

It is a process of its own (``python -m recsys_assets_tests.support.three_weeks``), because the
definitions take calendar and time zone from the environment. The definitions, the partitions and
the event log are the real ones. What a run would build is replaced by small artifacts.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG
from dagster._core.utils import make_new_run_id
from dagster._utils.schedules import schedule_execution_time_iterator

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.definitions import defs
from recsys_assets.files import sha256_json, write_json
from recsys_assets.lib.drift.served_releases import in_service
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.orchestration import work
from recsys_assets.orchestration.corrections import landing_content
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import get_settings
from recsys_assets_tests.support.bare_releases import serve, write_release

SENSORS = ("new_day", "ingested_day")
FEATURES, MASKED, RAW = "features/interactions", "features/masked_train", "raw/interactions"


@dataclass(frozen=True)
class Story:
    """Says what happens.

    Attributes:
        days: length.
        missing: days that never land.
        broken: day → day on whose morning its files are repaired, before the first tick.
        slow: days whose ingest ends only after the day's last tick.
        outage: days whose first fine-tune fails for a reason outside of the graph.
        blocked: days whose fine-tune the gate blocks.
        corrected: morning → day whose files are written again.
        sensors: the sensors are on beside the schedules, each second night only after the ticks.
        off: schedule → day from which it is switched off.
        watch: the sensor ``drift`` is on: it looks twice after the ticks of each day.
        drift_from: first day on which the answers of earlier releases have drifted; "": none.
        cure: what must have learned this day so that answers are fine again: "fine_tune", the
            release itself; "full_training", the full training that it comes from.
        quiet: days without an answer.
    """

    days: int = 21
    missing: tuple[str, ...] = ()
    broken: dict[str, str] = field(default_factory=dict)
    slow: tuple[str, ...] = ()
    outage: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    corrected: dict[str, str] = field(default_factory=dict)
    sensors: bool = False
    off: dict[str, str] = field(default_factory=dict)
    watch: bool = False
    drift_from: str = ""
    cure: str = "fine_tune"
    quiet: tuple[str, ...] = ()


@dataclass
class Run:
    """Records one run."""

    job: str
    days: list[str]
    key: str
    by: str
    at: str
    success: bool | None = None  # None: not ended


class Shop:
    """Holds a home, its Dagster instance and the moment."""

    def __init__(self, story: Story, instance: dg.DagsterInstance) -> None:
        self.story, self.instance, self.settings = story, instance, get_settings()
        self.platform, self.store = (
            Platform.of(self.settings),
            ArtifactStore(get_settings().artifacts),
        )
        definitions = defs()
        self.repository = definitions.get_repository_def()
        self.schedules = sorted(definitions.schedules or (), key=lambda one: one.name)
        self.sensors = {one.name: one for one in definitions.sensors or ()}
        self.zone = ZoneInfo(partitions.time_zone(self.settings))
        self.runs: list[Run] = []
        self.ticks: list[dict[str, Any]] = []
        self.cursors: dict[str, str | None] = {}
        self.sensor_keys: set[tuple[str, str]] = set()
        self.open: list[tuple[dg.DagsterRun, Run]] = []
        self.now = 0.0
        partitions.time = lambda: self.now  # type: ignore[assignment]

    # --- the clock
    def live(self) -> None:
        """Go through all ticks, in their order."""
        first = partitions.calendar_start(self.settings)
        mornings = [first + timedelta(days=n) for n in range(1, self.story.days + 1)]
        for morning in mornings:
            self.night(morning)
            for moment, schedule in self.ticks_of(morning):
                self.now = moment.timestamp()
                self.tick(schedule, moment)
                if schedule.name == "train_weekly":
                    self.look("passed_release")
            self.end_slow()
            if self.story.sensors:
                for name in SENSORS:
                    self.look(name)
            if self.story.watch:  # it asks for the monitor's run, and then looks at what it found
                self.look("drift")
                self.look("drift")
                self.look("passed_release")

    def ticks_of(self, day: date) -> list[tuple[datetime, dg.ScheduleDefinition]]:
        """Return the ticks of a local day, as Dagster's daemon finds them."""
        start = datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()
        found = []
        for schedule in self.schedules:
            if self.story.off.get(schedule.name, "9") <= day.isoformat():
                continue
            for moment in schedule_execution_time_iterator(
                start, schedule.cron_schedule, schedule.execution_timezone
            ):
                if moment.date() > day:
                    break
                found.append((moment, schedule))
        return sorted(found, key=lambda one: (one[0].timestamp(), one[1].name))

    def night(self, morning: date) -> None:
        """Land the day that is over; repair and correct files."""
        over, today = (morning - timedelta(days=1)).isoformat(), morning.isoformat()
        self.now = datetime(morning.year, morning.month, morning.day, tzinfo=self.zone).timestamp()
        if over not in self.story.missing:
            self.land(over, "as sent")
        for day, repaired in self.story.broken.items():
            if repaired == today:
                self.land(day, "repaired")
        if today in self.story.corrected:
            self.land(self.story.corrected[today], "corrected")
        if self.story.sensors and morning.toordinal() % 2:
            for name in SENSORS:
                self.look(name)

    def land(self, day: str, text: str) -> None:
        """Write the landing file of a day."""
        file = Path(self.settings.landing) / "interactions" / day / "log.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{day} {text}")

    # --- schedules and sensors
    def tick(self, schedule: dg.ScheduleDefinition, moment: datetime) -> None:
        """Evaluate a schedule, and start its runs."""
        with dg.build_schedule_context(
            scheduled_execution_time=moment,
            repository_def=self.repository,
            resources={"platform": self.platform},
        ) as context:
            # an instance that is not persistent has no reference, which a schedule asks for
            private: Any = context
            private._instance_ref = private._instance = self.instance
            data = schedule.evaluate_tick(context)
        self.record(schedule.name, data.skip_message)
        for request in data.run_requests or ():
            self.start(request, schedule.job_name, schedule.name)

    def look(self, name: str) -> None:
        """Evaluate a sensor, and start its runs; a run key is started once per sensor."""
        sensor = self.sensors[name]
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            repository_def=self.repository,
            resources={"platform": self.platform},
        ) as context:
            data = sensor.evaluate_tick(context)
        self.cursors[name] = data.cursor or self.cursors.get(name)
        self.record(name, data.skip_message)
        for request in data.run_requests or ():
            if (name, str(request.run_key)) not in self.sensor_keys:
                self.sensor_keys.add((name, str(request.run_key)))
                self.start(request, str(request.job_name), name)

    def record(self, name: str, skipped: str | None) -> None:
        """Record a tick."""
        at = datetime.fromtimestamp(self.now, self.zone)
        self.ticks.append({"name": name, "at": at.isoformat(), "skipped": skipped})

    # --- runs
    def start(self, request: dg.RunRequest, job: str, by: str) -> None:
        """Start a run, and end it at once unless its day is slow."""
        tags = {**request.tags, RUN_KEY_TAG: str(request.run_key)}
        if request.partition_key:
            tags[PARTITION_NAME_TAG] = request.partition_key
        run = dg.DagsterRun(job, make_new_run_id(), tags=tags, status=dg.DagsterRunStatus.STARTED)
        self.instance.add_run(run)
        at = datetime.fromtimestamp(self.now, self.zone).isoformat()
        one = Run(job, work.days_of(run), str(request.run_key), by, at)
        self.runs.append(one)
        if job == "daily_ingest" and set(one.days) & set(self.story.slow):
            self.open.append((run, one))
        else:
            self.end(run, one)

    def end_slow(self) -> None:
        """End the runs that are at work."""
        while self.open:
            self.end(*self.open.pop(0))

    def end(self, run: dg.DagsterRun, one: Run) -> None:
        """Do what a run does, and end it."""
        one.success = getattr(self, one.job)(one)
        kind = DagsterEventType.RUN_SUCCESS if one.success else DagsterEventType.RUN_FAILURE
        self.instance.report_dagster_event(DagsterEvent(kind.value, run.job_name), run.run_id)

    def daily_ingest(self, one: Run) -> bool:
        """Read days, oldest first; then compute their features."""
        content, left = landing_content(self.platform), False
        for day in one.days:
            today = datetime.fromtimestamp(self.now, self.zone).date().isoformat()
            if self.story.broken.get(day, "") > today:
                left = True
                continue
            digests = content.digests(day)
            self.publish(
                RAW,
                day,
                {"landing": sha256_json(digests)},
                files={name: 1 for name in digests},
                file_digests=[*digests.items()],
            )
        return not left and self.daily_features(one)

    def daily_features(self, one: Run) -> bool:
        """Compute the features of days."""
        for day in one.days:
            around = partitions.LOOK_BACK.days(self.settings, day)
            if not all(self.store.exists(RAW, read) for read in around):
                return False
            raw = [self.store.current(RAW, read) for read in around]
            features = self.publish(FEATURES, day, {"interactions": raw})
            rows = len(raw[-1].metrics["files"])
            self.publish(MASKED, day, {"features": features}, rows=rows)
        return True

    def feature_store_refresh(self, one: Run) -> bool:
        """Write to the online store."""
        self.report("feature_store/online", one.days[0])
        return True

    def fine_tune(self, one: Run) -> bool:
        """Fine-tune the champion on a day and promote the release."""
        from recsys_assets.lib.fine_tune import fine_tuning

        [day] = one.days
        plan = fine_tuning.plan(self.settings, self.store, day)
        earlier = [run for run in self.runs if (run.job, run.days) == ("fine_tune", one.days)]
        if day in self.story.outage and len(earlier) == 1:
            return False
        masked = self.store.require(MASKED, plan.training_days)
        rows = self.publish("fine_tune/rows", day, {"masked": masked})
        tower = self.publish("fine_tune/query_tower", day, {"rows": rows})
        passed = day not in self.story.blocked
        number = self.release(
            "fine_tune", day, {"base": plan.base.artifact, "query_tower": tower}, passed
        )
        if passed:
            self.promoted(number)
        return passed

    def monitor(self, one: Run) -> bool:
        """Measure days: their answers have drifted unless a release has cured it."""
        for day in one.days:
            raw, features = (self.store.current(kind, day) for kind in (RAW, FEATURES))
            answers = 0 if day in self.story.quiet else 100
            served = self.publish("monitor/served", day, {"interactions": raw}, answers=answers)
            self.publish("monitor/skew", day, {"interactions": raw, "features": features})
            self.publish(
                "monitor/inputs",
                day,
                {"features": features},
                judged=True,
                drifted=[],
                vocabularies=[],
            )
            drifted = ["auc"] if answers and self.has_drifted(day) else []
            self.publish(
                "monitor/quality",
                day,
                {"served": [served]},
                judged=bool(answers),
                drifted=drifted,
                verdicts={"auc": {"reason": "fell"}},
            )
        return True

    def has_drifted(self, day: str) -> bool:
        """Return whether the answers of a day have drifted."""
        if not self.story.drift_from or day < self.story.drift_from:
            return False
        number = in_service(
            read_champion(self.settings), partitions.day_bounds(day, self.zone.key)[1]
        )
        if number is None:
            return False
        release = releases.open_release(self.store, number)
        if self.story.cure == "full_training":
            release = releases.open_release(self.store, release.generation)
        return release.day < self.story.drift_from

    def full_training(self, one: Run) -> bool:
        """Train as of a day."""
        [day] = one.days
        train = self.store.require(FEATURES, partitions.train_days(day, self.settings))
        workflows = self.publish("features/workflows", day, {"train": train})
        self.publish("evaluation/offline", day, {})
        self.release("full", day, {"workflows": workflows})
        return True

    def evaluation(self, one: Run) -> bool:
        """Write a report."""
        self.publish("evaluation/report", one.days[0], {})
        return True

    def promote(self, one: Run) -> bool:
        """Promote the release that the key names."""
        self.promoted(int(one.key.split("-")[1]))
        return True

    # --- artifacts
    def publish(
        self, kind: str, partition: str, inputs: dict[str, Any], **metrics: object
    ) -> Artifact:
        """Publish an artifact, and report its materialisation."""
        with self.store.stage(kind, partition, inputs=inputs) as staged:
            write_json(staged.path / "content.json", [_named(inputs), metrics])
            made = staged.publish(metrics)
        self.report(kind, partition)
        return made

    def report(self, kind: str, partition: str) -> None:
        """Report a materialisation."""
        key = dg.AssetKey.from_user_string(kind)
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))

    def release(self, kind: str, day: str, inputs: dict[str, Any], passed: bool = True) -> int:
        """Publish the next release."""
        number = len(self.store.partitions(releases.RELEASE)) + 1
        full = [one.number for one in releases.list_releases(self.store) if one.kind == "full"]
        write_release(
            self.store,
            self.settings,
            number,
            day,
            kind=kind,
            generation=number if kind == "full" else full[-1],
            passed=passed,
            inputs=inputs,
        )
        return number

    def promoted(self, number: int) -> None:
        """Put a release into service."""
        champion = read_champion(self.settings)
        before = [int(one["release"]) for one in champion.history] if champion else []
        serve(self.settings, number, before, int(self.now))


def _named(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return inputs with digests for artifacts, so that other inputs make other content."""

    def named(one: Any) -> Any:
        return (
            [named(each) for each in one] if isinstance(one, list) else getattr(one, "digest", one)
        )

    return {role: named(one) for role, one in inputs.items()}


def told(shop: Shop) -> Iterator[tuple[str, Any]]:
    """Yield what happened."""
    yield "runs", [dataclasses.asdict(one) for one in shop.runs]
    yield "ticks", shop.ticks
    champion = read_champion(shop.settings)
    store = shop.store
    yield (
        "served",
        [
            [(one := releases.open_release(store, int(event["release"]))).kind, one.day]
            for event in (champion.history if champion else [])
        ],
    )
    yield "ingested", store.partitions(MASKED)


def main() -> None:
    """Read a story as JSON from the first argument; print what happened as JSON."""
    with dg.DagsterInstance.ephemeral() as instance:
        shop = Shop(Story(**json.loads(sys.argv[1])), instance)
        shop.live()
        print(json.dumps(dict(told(shop))))


if __name__ == "__main__":
    main()
