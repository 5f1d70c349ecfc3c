"""Runs a daily asset for every day of its run, one or many, and reports each day by itself.

An asset yields ``dg.MaterializeResult`` and ``dg.AssetCheckResult`` of one day. In a run of one day
they go to Dagster unchanged. In a run of a range (a backfill by one run) they cannot: Dagster
records one ``MaterializeResult`` once per partition of the range, each time with the same data
version, and it gives an ``AssetCheckResult`` no partition. So they become the events that Dagster
makes of them in a run of one day: ``AssetMaterialization`` and ``AssetCheckEvaluation``, each with
its partition.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextvars import ContextVar
from typing import TypeAlias

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.data_version import (
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
)
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from recsys_assets.orchestration.reporting import Events, Materialized

#: What an asset yields in a run of one day or of a range.
DayEvents: TypeAlias = Generator[
    Materialized
    | dg.AssetCheckResult
    | dg.AssetMaterialization
    | dg.AssetCheckEvaluation
    | dg.Output[None],
    None,
    None,
]
#: Seconds between two lines of progress; a run of one day prints none.
PROGRESS_SECONDS = 5.0
#: Failed days whose whole message the run shows. The log of the run has the others.
SHOWN_FAILURES = 5

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("progress", default=None)


@contextlib.contextmanager
def progress_to(say: Callable[[str], None]) -> Iterator[None]:
    """Pass the lines of progress of steps of this process to ``say``, beside the run's log."""
    token = _listener.set(say)
    try:
        yield
    finally:
        _listener.reset(token)


def each_day(context: dg.AssetExecutionContext, one_day: Callable[[str], Events]) -> DayEvents:
    """Run ``one_day`` for each partition of the run, oldest first.

    In a range, a day that fails does not stop the others: every other day is built and kept, and
    the step then fails with one message about all failed days, so that they are repaired in one
    round. Assets downstream wait for the repaired run, because a day reads earlier ones. It reuses
    what was kept.

    Raises:
        dagster.Failure: days failed; the message names each of them.
    """
    days = context.partition_keys
    if len(days) == 1:
        yield from one_day(days[0])
        return
    name, failed = context.asset_key.to_user_string(), dict[str, str]()
    shown = time.monotonic()
    for number, day in enumerate(days, 1):
        try:
            broken = yield from _one_of_many(context, day, one_day)
            if broken:
                failed[day] = f"checks failed: {', '.join(broken)}"
        except dg.Failure as failure:
            failed[day] = str(failure.description)
            context.log.error(f"{name} [{day}]: {failure.description}")
        except Exception as error:
            error.add_note(f"while {name} built {day}")
            raise
        if time.monotonic() - shown >= PROGRESS_SECONDS or number == len(days):
            shown = time.monotonic()
            _report(context, f"{name}: {number} of {len(days)} days ({day})")
    if failed:
        raise dg.Failure(_summary(failed, len(days)), allow_retries=False)
    # Downstream steps start after these results. Without the key, Dagster would record the last one
    # as one more materialisation per day, all with the same data version.
    for key in context.selected_asset_check_keys:
        output = context.assets_def.get_output_name_for_asset_check_key(key)
        yield dg.Output(None, output_name=output)
    yield dg.MaterializeResult(metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})


def _report(context: dg.AssetExecutionContext, line: str) -> None:
    context.log.info(line)
    listener = _listener.get()
    if listener is not None:
        listener(line)


def _summary(failed: dict[str, str], days: int) -> str:
    lines = [f"{day}: {reason}" for day, reason in failed.items()]
    more = len(lines) - SHOWN_FAILURES
    return "\n".join(
        [
            f"{len(failed)} of {days} days failed, the others are kept: {', '.join(failed)}",
            *lines[:SHOWN_FAILURES],
            *([f"and {more} more; the run's log has them all"] if more > 0 else []),
        ]
    )


def _one_of_many(
    context: dg.AssetExecutionContext, day: str, one_day: Callable[[str], Events]
) -> Generator[dg.AssetMaterialization | dg.AssetCheckEvaluation, None, list[str]]:
    """Yield the events of a day with its partition; return the blocking checks that failed."""
    target: AssetCheckEvaluationTargetMaterializationData | None = None
    broken = []
    for event in one_day(day):
        if isinstance(event, dg.MaterializeResult):
            yield _materialization(context, day, event)
            target = _just_made(context, day)
            checks: Sequence[dg.AssetCheckResult] = event.check_results
        else:
            checks = [event]
        for check in checks:
            evaluation = _evaluation(context, day, check, target)
            if (
                evaluation.blocking
                and not evaluation.passed
                and evaluation.severity == dg.AssetCheckSeverity.ERROR
            ):
                broken.append(evaluation.check_name)
            yield evaluation
    return broken


def _materialization(
    context: dg.AssetExecutionContext, day: str, result: Materialized
) -> dg.AssetMaterialization:
    assert result.data_version is not None
    return dg.AssetMaterialization(
        context.asset_key,
        partition=day,
        metadata=result.metadata,
        tags={
            DATA_VERSION_TAG: result.data_version.value,
            DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
        },
    )


def _just_made(
    context: dg.AssetExecutionContext, day: str
) -> AssetCheckEvaluationTargetMaterializationData:
    """Return the reference by which the UI attaches checks to the materialisation of a day."""
    # the id alone: the whole event holds its figures
    storage_id = context.instance.event_log_storage.get_latest_storage_id_by_partition(
        context.asset_key, dg.DagsterEventType.ASSET_MATERIALIZATION, {day}
    )[day]
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=storage_id, run_id=context.run_id, timestamp=time.time()
    )


def _evaluation(
    context: dg.AssetExecutionContext,
    day: str,
    result: dg.AssetCheckResult,
    target: AssetCheckEvaluationTargetMaterializationData | None,
) -> dg.AssetCheckEvaluation:
    assert result.check_name is not None
    spec = context.assets_def.get_spec_for_check_key(
        dg.AssetCheckKey(context.asset_key, result.check_name)
    )
    return dg.AssetCheckEvaluation(
        check_name=result.check_name,
        asset_key=context.asset_key,
        passed=result.passed,
        metadata=result.metadata,
        target_materialization_data=target,
        severity=result.severity,
        description=result.description,
        blocking=spec.blocking,
        partition=day,
    )
