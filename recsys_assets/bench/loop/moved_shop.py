"""Hold a home whose clock is moved: its schedules and sensors are evaluated, and runs run here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG

from recsys_assets import partitions
from recsys_assets.operations.jobs import QUIET
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import Settings


class MovedShop:
    """Holds the definitions of a home, its Dagster instance, and the cursors of its sensors.

    Args:
        settings: of this process, from which the definitions take calendar and time zone.
        instance: records the runs.
    """

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        from recsys_assets.definitions import defs

        self.settings, self.instance, self.platform = settings, instance, Platform.of(settings)
        self.definitions = defs()
        self.repository = self.definitions.get_repository_def()
        self.zone = ZoneInfo(partitions.time_zone(settings))
        self._cursors: dict[str, str | None] = {}

    def looked(self, name: str) -> Sequence[dg.RunRequest]:
        """Evaluate a sensor and return the runs that it asks for."""
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self._cursors.get(name),
            repository_def=self.repository,
            resources={"platform": self.platform},
        ) as context:
            found = self.repository.get_sensor_def(name).evaluate_tick(context)
        self._cursors[name] = found.cursor or self._cursors.get(name)
        return found.run_requests or ()

    def ran(self, job: str, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Run what was asked for in this process, and return how it ended."""
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            tags={**request.tags, RUN_KEY_TAG: str(request.run_key)},
            raise_on_error=False,
            run_config={**QUIET, **request.run_config},
        )


def move_clock(moment: datetime) -> None:
    """Let the calendar of this process read a moment."""
    partitions.__dict__["time"] = moment.timestamp
