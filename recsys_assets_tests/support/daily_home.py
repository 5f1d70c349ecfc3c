"""A home with a landing zone, and the daily assets in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import Settings, get_settings

# the assets' calendar is the session's: it is fixed when they are imported
START = partitions.calendar_start(get_settings())
DAYS = partitions.history_days(get_settings())[:3]


class Home:
    """Holds a copy of a shop and the daily assets in it."""

    def __init__(self, folder: Path, template: Path) -> None:
        shutil.copytree(template, folder, dirs_exist_ok=True)
        self.settings = Settings(home=folder, start_day=START, scale="tiny")
        self.store = ArtifactStore(self.settings.artifacts)
        home = self.settings

        class HomePlatform(Platform):
            @property
            def settings(self) -> Settings:
                return home

        self.platform = HomePlatform()

    def landing(self, day: str) -> Path:
        """Return the landing folder of a day."""
        return self.settings.home / "landing" / "interactions" / day

    def run(self, name: str, day: str | None = None, **config: object) -> dg.ExecuteInProcessResult:
        """Materialise one asset."""
        return self.run_all([name], day, **config)

    def run_all(
        self,
        names: list[str],
        day: str | None = None,
        instance: dg.DagsterInstance | None = None,
        until: str | None = None,
        **config: object,
    ) -> dg.ExecuteInProcessResult:
        """Materialise these assets in one run; ``config`` is that of the first.

        ``until`` is the last day of a range.
        """
        from recsys_assets.defs.features import daily
        from recsys_assets.defs.monitor import daily as monitor
        from recsys_assets.defs.raw import catalogue, interactions

        assets = {
            "users": catalogue.users,
            "items": catalogue.items,
            "interactions": interactions.interactions,
            "features": daily.interaction_features,
            "masked": daily.masked_train,
            "served": monitor.served,
            "quality": monitor.quality,
            "inputs": monitor.inputs,
        }
        chosen = [assets[name] for name in names]
        run_config = {"ops": {chosen[0].op.name: {"config": config}}} if config else None
        with contextlib.ExitStack() as stack:
            return dg.materialize(
                chosen,
                resources={"platform": self.platform},
                partition_key=None if until else day,
                tags={
                    ASSET_PARTITION_RANGE_START_TAG: day or "",
                    ASSET_PARTITION_RANGE_END_TAG: until,
                }
                if until
                else None,
                run_config=run_config,
                raise_on_error=False,
                instance=instance or stack.enter_context(dg.DagsterInstance.ephemeral()),
            )

    def rewrite(self, day: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Change the landed rows of a day."""
        file = self.landing(day) / "simulated.parquet"
        change(pl.read_parquet(file)).write_parquet(file)

    def ticked(
        self, schedule: dg.ScheduleDefinition, instance: dg.DagsterInstance, moment: datetime
    ) -> list[dg.RunRequest] | str:
        """Evaluate a schedule; return its runs, or the reason why there is none."""
        with dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=moment,
            resources={"platform": self.platform},
        ) as context:
            found = schedule(context)
        return str(found.skip_message) if isinstance(found, dg.SkipReason) else found
