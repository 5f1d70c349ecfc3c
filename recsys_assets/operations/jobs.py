"""Runs the graph's jobs in this process, one after the other, each a run of its own in the Dagster UI."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from recsys_assets import partitions
from recsys_assets.artifacts import write_json
from recsys_assets.operations import usage
from recsys_assets.settings import Settings

console = Console(stderr=True)
#: The run's own log, in the UI, has every line; the terminal gets one a job.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class PipelineFailed(RuntimeError):
    """A job did not succeed; the message names the job, the partition, the step and the reason.

    ``blocked``: the steps whose asset is there and whose own blocking check ended the run; none where anything else failed.
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
        console.print(f"{self.seconds:6.1f}s  {message}", highlight=False, markup=False, soft_wrap=True)


def simulate(settings: Settings, clock: Clock | None = None) -> None:
    """Fill the landing zone with the simulated shop's history; one that was ingested stays as it is."""
    from recsys_assets.lib.own_data import report
    from recsys_assets.lib.simulator import shop

    clock = clock or Clock()
    if report.was_ingested(settings.landing):
        clock.say(f"landing zone: {settings.landing} was ingested (recsys ingest), so nothing is simulated")
        return
    summary = shop.simulate(
        Path(settings.landing), settings.scale, partitions.history_days(settings), settings.seed, settings.catalogue,
        progress=lambda what, done, total: clock.say(f"simulate {done}/{total}: {what}"))
    clock.say(f"landing zone: {len(summary['written'])} parts written, {len(summary['kept'])} kept")


def run_jobs(settings: Settings, jobs: Sequence[tuple[str, str | None]], clock: Clock | None = None,
             config: Mapping[str, Any] | None = None) -> None:
    """Run (job, partition) pairs in order; raises PipelineFailed at the first that does not succeed.

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
                instance=instance, partition_key=partition, raise_on_error=False,
                run_config={**QUIET, **(config or {})})
            if not result.success:
                raise PipelineFailed(f"{label} failed: {_reason(result)} (run {result.run_id}; "
                                     f"its log is in the Dagster UI or `dagster run`)", _blocked(result))
            materialized = [event for event in result.all_events if event.event_type_value == "ASSET_MATERIALIZATION"]
            reused = sum(bool(event.step_materialization_data.materialization.metadata.get("reused")
                              and event.step_materialization_data.materialization.metadata["reused"].value)
                         for event in materialized)
            clock.say(f"({number}/{len(jobs)}) {label}: {len(materialized)} assets, {reused} reused, "
                      f"{time.monotonic() - started:.1f} s")


def _warnings_into(path: Path) -> None:
    """Libraries' warnings to a log: a terminal of deprecations hides the one line that matters."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
             line: str | None = None) -> None:
        with open(path, "a") as log:
            log.write(warnings.formatwarning(message, category, filename, lineno))

    warnings.showwarning = show


def _blocked(result: Any) -> list[str]:
    failures = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    by_check = [event.step_key for event in failures if event.step_failure_data.error
                and event.step_failure_data.error.cls_name == "DagsterAssetCheckFailedError"]
    return by_check if len(by_check) == len(failures) else []


def _reason(result: Any) -> str:
    """The first failed step's own words."""
    for event in result.all_events:
        if event.event_type_value == "STEP_FAILURE":
            data = event.step_failure_data
            error = data.error
            while error is not None and error.cause is not None:
                error = error.cause
            text = (data.user_failure_data.description if data.user_failure_data else None) or (error.message if error else "")
            return f"{event.step_key}: {text.strip()}"
    return "no step failed; a blocking check did"


def history(settings: Settings) -> list[str]:
    """The days to materialise: the simulator's fortnight, or every closed day of an ingested log.

    Raises:
        PipelineFailed: an ingested log has no row on some day between its first and its last, or too few days.
    """
    from recsys_assets.lib.own_data import report
    from recsys_assets.lib.raw import raw_tables

    if not report.was_ingested(settings.landing):
        return partitions.history_days(settings)
    first, today = partitions.calendar_start(settings).isoformat(), partitions.today().isoformat()
    landed = [day for day in raw_tables.landed_days(settings.landing) if first <= day < today]
    if len(landed) < partitions.WINDOW_DAYS:
        raise PipelineFailed(f"the ingested log has {len(landed)} closed days from {first} on; a training window needs "
                             f"{partitions.WINDOW_DAYS} ({partitions.TRAIN_DAYS} to train, {partitions.VALIDATION_DAYS} to validate)")
    expected = partitions.days_between(date.fromisoformat(landed[0]), date.fromisoformat(landed[-1]))
    if missing := sorted(set(expected) - set(landed)):
        raise PipelineFailed(f"the ingested log has no row on {', '.join(missing)}; ingest what is missing, or start after "
                             "the gap with `recsys ingest --first-day`")
    return landed


def default_as_of(settings: Settings, days: Sequence[str]) -> str:
    """The reference's as-of day where there are two days more to fine-tune on, else the newest day."""
    first = partitions.first_as_of(settings)
    return first if len(days) <= partitions.HISTORY_DAYS and first in days else days[-1]


def full_graph(days: Sequence[str], as_of: str) -> list[tuple[str, str | None]]:
    """Every job of the full graph, in the order of the data flow."""
    return [("catalogue", None), *(("daily_ingest", day) for day in days),
            ("feature_store_refresh", days[-1]), ("full_training", as_of)]


def materialize(settings: Settings, as_of: str | None = None, clock: Clock | None = None) -> None:
    """Landing zone → daily partitions → feature store → full training → a release."""
    clock = clock or Clock()
    simulate(settings, clock)
    days = history(settings)
    run_jobs(settings, full_graph(days, as_of or default_as_of(settings, days)), clock)
    write_json(settings.home / "materialize.json", {"scale": settings.scale, "seconds": clock.seconds, "peak_gib": usage.peaks(settings)})


def demo(settings: Settings, setup_seconds: float = 0.0) -> dict[str, Any]:
    """Materialise, serve, promote, recommend; returns and writes what ``demo.json`` holds."""
    from recsys_assets.lib.release import releases
    from recsys_assets.operations import services
    from recsys_assets.orchestration.resources import Platform
    from recsys_assets.serving.gateway import client
    from recsys_assets.serving.promotion import promotion

    clock = Clock()
    services.require_free_ports(settings)
    services.up(settings, only=["valkey"], progress=clock.say)
    materialize(settings, clock=clock)
    materialized = clock.seconds
    services.up(settings, progress=clock.say)
    promotion.recover(settings, log=clock.say)
    number = releases.newest_passed(Platform().store)
    if promotion.champion_number(settings) != number:
        promotion.promote(settings, number, log=clock.say)
    visitors = {"known": _known_visitor(settings), "cold": "a-visitor-never-seen"}
    answers = {who: client.recommend(settings.gateway_url, user_id, device_type="mobile") for who, user_id in visitors.items()}
    served = clock.seconds
    summary = {
        **{who: {"user_id": visitors[who], "items": answer["items"], "degraded": answer["degraded"], "release": answer["release"]}
           for who, answer in answers.items()},
        "urls": {"dagster": f"http://{settings.dagster_host}:{settings.dagster_port}", "page": settings.gateway_url,
                 "api": f"{settings.gateway_url}/openapi.json"},
        "seconds": {"setup": setup_seconds, "materialize": materialized, "serve": round(served - materialized, 1),
                    "total": round(setup_seconds + served, 1)},
        "peak_gib": usage.peaks(settings), "scale": settings.scale, "release": number,
    }
    write_json(settings.home / "demo.json", summary)
    return summary


def _known_visitor(settings: Settings) -> str:
    """The visitor with the most clicks on the newest day of history."""
    import polars as pl

    from recsys_assets.orchestration.resources import Platform

    last = Platform().store.current("raw/interactions", history(settings)[-1])
    rows = pl.read_parquet(last.path("interactions.parquet"))
    clicks = rows.filter(pl.col("click") == 1).group_by("user_id").len().sort(["len", "user_id"], descending=[True, False])
    if clicks.is_empty():
        raise PipelineFailed("the newest day has no click, so no visitor is known; is the landing zone right?")
    return clicks["user_id"][0]
