"""Runs the graph's jobs in this process, one after the other, each a run of its own in the Dagster
UI.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from recsys_assets.settings import Settings

console = Console(stderr=True)
#: The run's own log, in the UI, has every line; the terminal gets one a job.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class PipelineFailed(RuntimeError):
    """A job did not succeed; the message names the job, the partition, the step and the reason.

    ``blocked``: the steps whose asset is there and whose own blocking check ended the run; none
    where anything else failed.
    """

    def __init__(self, message: str, blocked: Collection[str] = ()):
        super().__init__(message)
        self.blocked = frozenset(blocked)


class Clock:
    """Seconds since the start, printed before each line."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.start, 1)

    def say(self, message: str) -> None:
        console.print(
            f"{self.seconds:6.1f}s  {message}", highlight=False, markup=False, soft_wrap=True
        )


def run_jobs(
    settings: Settings,
    jobs: Sequence[tuple[str, str | None]],
    clock: Clock | None = None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Run (job, partition) pairs in order; raises PipelineFailed at the first that does not
    succeed.

    Args:
        config: run config of every job, beside the terminal's log level.
    """
    from recsys_assets.operations import services

    clock = clock or Clock()
    services.prepare_dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(settings.home / "dagster")
    import dagster as dg

    from recsys_assets.definitions import defs

    _warnings_into(settings.home / "logs" / "warnings.log")
    definitions = defs()
    with dg.DagsterInstance.get() as instance:
        for number, (name, partition) in enumerate(jobs, 1):
            label = f"{name}{f' [{partition}]' if partition else ''}"
            started = time.monotonic()
            result = definitions.resolve_job_def(name).execute_in_process(
                instance=instance,
                partition_key=partition,
                raise_on_error=False,
                run_config={**QUIET, **(config or {})},
            )
            if not result.success:
                raise PipelineFailed(
                    f"{label} failed: {_reason(result)} (run {result.run_id}; "
                    f"its log is in the Dagster UI or `dagster run`)",
                    _blocked(result),
                )
            materialized = [
                event
                for event in result.all_events
                if event.event_type_value == "ASSET_MATERIALIZATION"
            ]
            reused = sum(
                bool(
                    event.step_materialization_data.materialization.metadata.get("reused")
                    and event.step_materialization_data.materialization.metadata["reused"].value
                )
                for event in materialized
            )
            clock.say(
                f"({number}/{len(jobs)}) {label}: {len(materialized)} assets, {reused} reused, "
                f"{time.monotonic() - started:.1f} s"
            )


def _warnings_into(path: Path) -> None:
    """Libraries' warnings to a log: a terminal of deprecations hides the one line that matters."""
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


def _blocked(result: Any) -> list[str]:
    failures = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    by_check = [
        event.step_key
        for event in failures
        if event.step_failure_data.error
        and event.step_failure_data.error.cls_name == "DagsterAssetCheckFailedError"
    ]
    return by_check if len(by_check) == len(failures) else []


def _reason(result: Any) -> str:
    """The first failed step's own words."""
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
