"""Name the work that a run does, so that sensors and schedules do not start it twice.

Dagster compares run keys only among the runs of one sensor, or of one tick of one schedule. So each
requested run carries its key in the tag WORK too, which says what is done to which content.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from recsys_assets.partitions import days_between

#: Tag of a run: what it does, to which content.
WORK = "recsys/work"
Context = dg.SensorEvaluationContext | dg.ScheduleEvaluationContext


def request(
    key: str,
    job: str,
    days: tuple[str, str] | None = None,
    tags: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
) -> dg.RunRequest:
    """Return the request of one run.

    Args:
        key: names the work; the run key and the tag WORK.
        job: name of the job.
        days: first and last partition, ISO; None: the job has no partitions.
        tags: further tags of the run.
        config: of the run.
    """
    first, last = days or (None, None)
    many = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    return dg.RunRequest(
        run_key=key,
        job_name=job,
        partition_key=first if first == last else None,
        tags={
            **(tags or {}),
            WORK: key,
            **({name: day for name, day in many.items() if day} if first != last else {}),
        },
        run_config=config,
    )


def runs_of(instance: dg.DagsterInstance, key: str) -> Sequence[dg.DagsterRun]:
    """Return the runs that did this work or will do it, newest first."""
    return instance.get_runs(dg.RunsFilter(tags={WORK: key}))


def never_started(
    instance: dg.DagsterInstance, requests: Iterable[dg.RunRequest]
) -> list[dg.RunRequest]:
    """Return the requests whose work no run has; also a failed run counts."""
    return [one for one in requests if not runs_of(instance, str(one.run_key))]


def unfinished(
    instance: dg.DagsterInstance, *jobs: str, asset: dg.AssetKey | None = None
) -> list[dg.DagsterRun]:
    """Return the runs of these jobs, or of this asset by hand, that wait or run, newest first."""

    def found(job: str) -> Sequence[dg.DagsterRun]:
        return instance.get_runs(dg.RunsFilter(job_name=job, statuses=NOT_FINISHED_STATUSES))

    by_hand = [
        run for run in found(IMPLICIT_ASSET_JOB_NAME) if asset in (run.asset_selection or ())
    ]
    return [*(run for job in jobs for run in found(job)), *(by_hand if asset else [])]


def days_of(run: dg.DagsterRun) -> list[str]:
    """Return the days that a run takes, from its tags; none for a run without partitions."""
    first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG) or run.tags.get(PARTITION_NAME_TAG)
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG) or first
    if not first or not last:
        return []
    return days_between(date.fromisoformat(first), date.fromisoformat(last))


def pending_days(
    instance: dg.DagsterInstance, *jobs: str, asset: dg.AssetKey | None = None
) -> dict[str, str]:
    """Return day → id of the run that waits for it or takes it; see ``unfinished``."""
    return {
        day: run.run_id for run in unfinished(instance, *jobs, asset=asset) for day in days_of(run)
    }


def due(
    instance: dg.DagsterInstance, requests: Iterable[dg.RunRequest]
) -> tuple[list[dg.RunRequest], list[str]]:
    """Return the requests that a schedule starts now, and why the others are left out.

    Work that a run has done, or that a run is at, is left out. Work that failed or was cancelled is
    started again.
    """
    wanted, reasons = [], []
    for one in requests:
        runs = runs_of(instance, str(one.run_key))
        pending = [run for run in runs if not run.is_finished]
        done = [run for run in runs if run.is_success]
        if pending:
            reasons.append(f"{one.run_key} is pending in {shown(pending[0].run_id)}")
        elif done:
            reasons.append(f"{one.run_key} was done by {shown(done[0].run_id)}")
        else:
            wanted.append(one)
    return wanted, reasons


def shown(run_id: str) -> str:
    """Return a run as skip reasons show it."""
    return f"run {run_id[:8]}"
