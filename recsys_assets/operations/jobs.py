"""Run the graph's jobs in this process, one after the other.

Each is a run of its own in the Dagster UI.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from rich.console import Console

from recsys_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

console = Console(stderr=True)
#: The log of the run, in the UI, has every line; the terminal shows one line per job.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


#: A partition, the first and the last of a range that one run takes, or None.
Partition: TypeAlias = str | tuple[str, str] | None


def accepting(days: Sequence[str]) -> dict[str, Any]:
    """Return the config of ``run_jobs`` that accepts the volume of some days, or of all."""
    return {"raw__interactions": {"config": {"accept_volume": [*days]}}} if days else {}


class PipelineFailed(RuntimeError):
    """A job failed; the message names job, partition, step and reason.

    Attributes:
        blocked: the steps whose asset exists and whose own blocking check ended the run; empty
            where anything else failed.
    """

    def __init__(self, message: str, blocked: Collection[str] = ()) -> None:
        super().__init__(message)
        self.blocked = frozenset(blocked)


class Clock:
    """Measures seconds since its start and prints them before each line."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds since the start, to a tenth."""
        return round(time.monotonic() - self.start, 1)

    def say(self, message: str, to: Console = console) -> None:
        """Print a line, by default to standard error."""
        to.print(f"{self.seconds:6.1f}s  {message}", highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def _beside_dagster(clock: Clock) -> Iterator[Callable[[str], None]]:
    """Yield a ``say`` that prints at once from inside a step.

    During a step, Dagster writes standard error to a file and copies it back by ``tail``, which it
    ends before ``tail`` has read the last lines.
    """
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except OSError:  # a stream of its own, without a file, as some tests have
        yield clock.say
        return
    with open(descriptor, "w", encoding="utf-8") as stderr:
        yield partial(clock.say, to=Console(file=stderr))


def run_jobs(
    settings: Settings,
    jobs: Sequence[tuple[str, Partition]],
    clock: Clock | None = None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Run (job, partition) pairs in order.

    Args:
        settings: of the home.
        jobs: job names with a partition key, the first and last key of a range, or None.
        clock: prints one line per job, and the progress of ranges.
        config: op → config; each job takes those of its own ops.

    Raises:
        PipelineFailed: a job failed, and the jobs after it do not run; or a day is not in the
            calendar of its job, or runs belong to a cluster, and no job runs.
    """
    from recsys_assets.operations import services

    if settings.executor == "k8s":
        raise PipelineFailed(
            f"RECSYS_EXECUTOR=k8s: runs belong to Dagster on the cluster, which keeps them in "
            f"Postgres; launch {', '.join(_label(*job) for job in jobs)} in its UI"
        )
    clock = clock or Clock()
    services.prepare_dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(settings.home / "dagster")
    import dagster as dg

    from recsys_assets.definitions import defs
    from recsys_assets.orchestration.days import progress_to

    _warnings_into(settings.home / "logs" / "warnings.log")
    # a step that is skipped for too few clicks reports no check; Dagster warns of each one
    logging.getLogger("dagster._core.execution.plan.active").setLevel(logging.ERROR)
    definitions = defs()
    for name, partition in jobs:
        require_days(definitions.resolve_job_def(name), partition)
    with dg.DagsterInstance.get() as instance:
        for number, (name, partition) in enumerate(jobs, 1):
            label, started = _label(name, partition), time.monotonic()
            job = definitions.resolve_job_def(name)
            ops = {op: given for op, given in (config or {}).items() if job.has_node_named(op)}
            with _beside_dagster(clock) as say, progress_to(say):
                result = job.execute_in_process(
                    instance=instance,
                    partition_key=partition if isinstance(partition, str) else None,
                    tags=_range_tags(partition),
                    raise_on_error=False,
                    run_config={**QUIET, "ops": ops},
                )
            if not result.success:
                raise PipelineFailed(
                    f"{label} failed: {_reason(result)} (run {result.run_id}; "
                    f"its log is in the Dagster UI or `dagster run`)",
                    _blocked(result),
                )
            clock.say(
                f"({number}/{len(jobs)}) {label}: {_materialized(result)}, "
                f"{time.monotonic() - started:.1f} s"
            )


def require_days(job: dg.JobDefinition, partition: Partition) -> None:
    """Refuse a day that the calendar of a job lacks, and a range that ends before its start.

    Raises:
        PipelineFailed: names the day and the days that there are.
    """
    if partition is None or job.partitions_def is None:
        return
    first, last = (partition, partition) if isinstance(partition, str) else partition
    unknown = [day for day in (first, last) if not job.partitions_def.has_partition_key(day)]
    if unknown:
        raise PipelineFailed(
            f"{job.name} has no day {unknown[0]!r}: choose one from "
            f"{job.partitions_def.get_first_partition_key()} to "
            f"{job.partitions_def.get_last_partition_key()}, in this form"
        )
    if last < first:
        raise PipelineFailed(f"{job.name}: {last} is before {first}: name the earlier day first")


def _label(name: str, partition: Partition) -> str:
    if partition is None:
        return name
    return f"{name} [{partition if isinstance(partition, str) else ' to '.join(partition)}]"


def _range_tags(partition: Partition) -> dict[str, str]:
    """Return the tags by which Dagster takes a range of partitions in one run."""
    from dagster._core.storage.tags import (
        ASSET_PARTITION_RANGE_END_TAG,
        ASSET_PARTITION_RANGE_START_TAG,
    )

    if not isinstance(partition, tuple):
        return {}
    first, last = partition
    return {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}


def _materialized(result: dg.ExecuteInProcessResult) -> str:
    """Return how many assets a run materialised and how many of them it reused."""
    found = [
        event.step_materialization_data.materialization.metadata.get("reused")
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION"
    ]
    skipped = sum(event.event_type_value == "STEP_SKIPPED" for event in result.all_events)
    reused = sum(bool(metadata and metadata.value) for metadata in found)
    text = f"{len(found)} assets, {reused} reused"
    return text + (f", {skipped} skipped" if skipped else "")


def _warnings_into(path: Path) -> None:
    """Write the libraries' warnings to a log and keep the terminal readable."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        with open(path, "a") as log:
            log.write(warnings.formatwarning(message, category, filename, lineno))

    warnings.showwarning = show


def _blocked(result: dg.ExecuteInProcessResult) -> list[str]:
    """Return the steps that a blocking check ended; none where another step failed."""
    failures = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    by_check = [
        event.step_key
        for event in failures
        if event.step_key is not None
        and event.step_failure_data.error
        and event.step_failure_data.error.cls_name == "DagsterAssetCheckFailedError"
    ]
    return by_check if len(by_check) == len(failures) else []


def _reason(result: dg.ExecuteInProcessResult) -> str:
    """Return the error message of the first failed step."""
    for event in result.all_events:
        if event.event_type_value == "STEP_FAILURE":
            data = event.step_failure_data
            error = data.error
            while error is not None and error.cause is not None:
                error = error.cause
            text = (data.user_failure_data.description if data.user_failure_data else None) or (
                error.message if error else ""
            )
            return f"{event.step_key}: {text.strip()}"
    return "no step failed; a blocking check did"
