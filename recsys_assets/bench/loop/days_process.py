"""Move a shop's clock from day to day; evaluate its schedules, and run what they start.

Everything is real but the clock: the definitions and the event log of Dagster, the runs with their
trainings, Triton, Valkey and the gateway. Runs are executed here, one after the other, in the order
in which the daemon would start them.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._utils.schedules import schedule_execution_time_iterator

from recsys_assets import partitions
from recsys_assets.bench.harness.part import BenchFailed, main
from recsys_assets.bench.loop.growing_shop import GrowingShop
from recsys_assets.bench.loop.moved_shop import MovedShop, move_clock
from recsys_assets.operations import own_home
from recsys_assets.operations.full_graph import materialize
from recsys_assets.operations.jobs import PipelineFailed
from recsys_assets.settings import get_settings

#: Visitors of whom each day's lists are asked, beside one who was never seen.
VISITORS, ITEMS = 20, 10
SENSOR = "passed_release"


@dataclass
class Day:
    """Holds what happened on one day."""

    morning: str
    runs: list[tuple[str, bool]] = field(default_factory=list)  # job, whether it succeeded
    skipped: dict[str, str] = field(default_factory=dict)  # schedule → reason
    lists: int = 0  # full, and not degraded
    release_day: str = ""
    launched: int = 0  # products since the first day
    lacking: int = 0  # of them, those that the release does not know
    shown: set[str] = field(default_factory=set)  # of them, those in the lists that were asked for
    bytes: int = 0

    @property
    def behind(self) -> int:
        """Return how many days the release lacks of those that are over."""
        newest = date.fromisoformat(self.morning) - timedelta(days=1)
        return (newest - date.fromisoformat(self.release_day)).days if self.release_day else -1

    @property
    def served(self) -> bool:
        """Return whether everyone got a full list."""
        return self.lists == VISITORS + 1


class LivingShop(MovedShop):
    """Lives from day to day by its schedules and one sensor."""

    visitors: Sequence[str] = [str(number) for number in range(1, VISITORS + 1)]

    def live(self, morning: date, outside: GrowingShop) -> Day:
        """Bring the day that is over, and go through the ticks of a morning."""
        day = Day(morning.isoformat())
        outside.bring([(morning - timedelta(days=1)).isoformat()])
        for moment, schedule in self._ticks(morning):
            move_clock(moment)
            for request in self._evaluated(schedule, moment, day):
                day.runs.append((schedule.job_name, self.ran(schedule.job_name, request).success))
            for request in self.looked(SENSOR):
                job = str(request.job_name)
                day.runs.append((job, self.ran(job, request).success))
        self._ask(day, outside.launched)
        day.bytes = size(self.settings.home)
        return day

    def _ticks(self, day: date) -> list[tuple[datetime, dg.ScheduleDefinition]]:
        """Return the ticks of a local day, as Dagster's daemon finds them."""
        start = datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()
        found = []
        for schedule in self.repository.schedule_defs:
            for moment in schedule_execution_time_iterator(
                start, schedule.cron_schedule, schedule.execution_timezone
            ):
                if moment.date() > day:
                    break
                found.append((moment, schedule))
        return sorted(found, key=lambda one: (one[0].timestamp(), one[1].name))

    def _evaluated(
        self, schedule: dg.ScheduleDefinition, moment: datetime, day: Day
    ) -> Sequence[dg.RunRequest]:
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=moment,
            repository_def=self.repository,
            resources={"platform": self.platform},
        ) as context:
            found = schedule.evaluate_tick(context)
        if found.skip_message:
            day.skipped[schedule.name] = found.skip_message
        return found.run_requests or ()

    def _ask(self, day: Day, launched: Mapping[str, str]) -> None:
        """Ask for the lists of some visitors, known ones and a new one."""
        from recsys_assets.lib.release import releases
        from recsys_assets.serving.gateway import client

        number = 0
        for visitor in [*self.visitors, "a-visitor-never-seen"]:
            answer = client.recommend(self.settings.gateway_url, visitor, top_k=ITEMS)
            day.shown |= {one["item_id"] for one in answer["items"]} & launched.keys()
            if len(answer["items"]) == ITEMS and not answer["degraded"]:
                day.lists += 1
                number = answer["release"]["ranker"]
        if number:
            release = releases.open_release(self.platform.store, number)
            day.release_day = release.day
            day.launched = len(launched)
            day.lacking = len(launched.keys() - releases.read_display(release).keys())


def size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Build the first release, serve it, and live the days; see ``days.measure``."""
    from recsys_assets.lib.release import releases
    from recsys_assets.serving.promotion import promotion

    settings, started = get_settings(), time.monotonic()
    history = partitions.history_days(settings)
    first = date.fromisoformat(history[-1]) + timedelta(days=1)
    zone = ZoneInfo(partitions.time_zone(settings))
    move_clock(datetime(first.year, first.month, first.day, 1, tzinfo=zone))
    log = settings.home / "logs" / "days.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    lived: list[Day] = []
    with ExitStack() as stack:
        stack.enter_context(own_home.running(settings, ["valkey"]))
        try:
            outside = GrowingShop(settings, Path(request["shop"]), history[-1])
            outside.bring(history)
            materialize(settings, history[-1])
        except PipelineFailed as failed:
            raise BenchFailed(f"the first release was not built: {failed}") from failed
        stack.enter_context(own_home.running(settings, ["triton", "gateway", "consumer"]))
        os.environ["DAGSTER_HOME"] = str(settings.home / "dagster")
        with dg.DagsterInstance.get() as instance:
            shop = LivingShop(settings, instance)
            newest = releases.newest_passed(shop.platform.store, settings)
            promotion.promote(settings, newest, log=lambda line: None)
            for number in range(request["days"]):
                lived.append(shop.live(first + timedelta(days=1 + number), outside))
                with log.open("a") as file:
                    file.write(f"{lived[-1]}\n")
    return figures(lived, time.monotonic() - started)


def figures(lived: Sequence[Day], seconds: float) -> dict[str, Any]:
    """Return the figures of ``days.measure``; lived: at least one day."""
    runs = Counter(job for day in lived for job, _ in day.runs)
    return {
        "days": len(lived),
        "served": sum(day.served for day in lived),
        "not_served": sum(not day.served for day in lived),
        "late": sum(day.served and day.behind > 0 for day in lived),
        "runs": dict(sorted(runs.items())),
        "launched": lived[-1].launched,
        # days on whose morning the release did not know every product of the days before
        "lacking": sum(day.lacking > 0 for day in lived),
        "launched_shown": len(set().union(*(day.shown for day in lived))),
        "failed_runs": sum(not success for day in lived for _, success in day.runs),
        "disk_ratio": round(lived[-1].bytes / lived[0].bytes, 3),
        "bytes_per_day": round((lived[-1].bytes - lived[0].bytes) / max(1, len(lived) - 1)),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main(body)
