"""Define the sensors that ingest new days, fine-tune the champion and promote releases."""

import inspect
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from recsys_assets import partitions
from recsys_assets.orchestration import work
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import get_settings

from . import due_catalogue, due_days, due_drift, due_models
from .due_days import CHANGED as CHANGED
from .jobs import (
    catalogue,
    daily_features,
    daily_ingest,
    feature_store_refresh,
    fine_tune,
    full_training,
    monitor,
    promote,
)

if TYPE_CHECKING:
    from recsys_assets.lib.release.releases import Release

DEFAULT_STATUS = (
    dg.DefaultSensorStatus.RUNNING if get_settings().automation else dg.DefaultSensorStatus.STOPPED
)
MASKED, CHAMPION = due_models.MASKED, due_models.CHAMPION


def _sensor(
    *jobs: UnresolvedAssetJobDefinition,
) -> Callable[[Callable[..., Any]], dg.SensorDefinition]:
    """Return a decorator that makes a sensor of a function, described by its docstring.

    Dagster shows the docstring of an asset in the UI, and not that of a sensor.
    """

    def made(evaluate: Callable[..., Any]) -> dg.SensorDefinition:
        return dg.sensor(
            jobs=[*jobs],
            description=inspect.getdoc(evaluate),
            default_status=DEFAULT_STATUS,
            minimum_interval_seconds=60,
        )(evaluate)

    return made


@_sensor(catalogue, daily_ingest, daily_features)
def new_day(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.SkipReason | list[dg.RunRequest]:
    """Starts `catalogue` for a changed catalogue, and `daily_ingest` for past days of unread files.

    The days wait until the catalogue is imported, because they may name its new items. If that
    import fails, they are ingested with the catalogue before it.

    One run takes consecutive days. Older days start first. A day without files is taken too, once
    a later day has landed. A day that has no features after a failed run is tried again, and once
    more whenever the raw days that it reads, or the files of the catalogue, have changed.

    A day that was read is taken again once the content of its files differs: a file was added,
    written again or removed. The tag recsys/changed of the run names the files. Later days whose
    features read a corrected day follow in a run of `daily_features`.

    Work that a run of the schedule `ingest_daily` does or has done is not started again.
    """
    days = due_days.Days(context, platform, partitions.today(platform.settings).isoformat())
    unread, waits = days.unread, days.in_progress()
    days.tell_emptied()
    # in one group, so that a day that an earlier failure left out keeps its place between others
    left = {} if waits else days.left_out(unread)
    gone = {day: left.pop(day) for day in days.emptied if day in left}
    requests = due_catalogue.due(days)
    requests += due_days.runs_of(daily_ingest.name, "ingest", {**left, **days.digests(unread)})
    if not waits:
        corrected = days.corrected
        for change in corrected.values():
            context.log.info(f"corrected: {change}")
        requests += due_days.runs_of(
            daily_ingest.name, "correct", days.digests(corrected), due_days.told(corrected)
        )
        requests += due_days.runs_of(daily_features.name, "features", {**gone, **days.outdated()})
    if not requests:
        taking = {run: day for day, run in days.pending.items()}
        if taking:
            return dg.SkipReason(
                "; ".join(f"{work.shown(run)} takes days up to {taking[run]}" for run in taking)
            )
        return dg.SkipReason(
            f"all {len(days.closed)} past days up to the last landed one are ingested"
        )
    wanted = work.never_started(context.instance, requests)
    if not wanted:
        return dg.SkipReason(
            f"{', '.join(str(one.run_key) for one in requests)} was started before: see its run; "
            "this sensor tries again when the files change, the schedule ingest_daily at its time"
        )
    return wanted


@_sensor(fine_tune, feature_store_refresh)
def ingested_day(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.SkipReason | dg.SensorResult:
    """Starts `feature_store_refresh` and `fine_tune` for each new day.

    A champion of popularity or item-to-item has neither a model nor sources to fine-tune, so only
    the refresh starts. A day is new if it is later than the champion's newest day and
    `features/masked_train` has new content. Each content starts one run per job. The cursor is the
    storage id of the last processed materialisation. So several days at once are all processed; an
    asset sensor would process only the last one.

    A day that was ingested by hand before its end is processed when it is over, because its other
    events would never be learned. What was ingested after it waits too.

    Both jobs wait while a day before is not ingested, and while features of the days that they read
    follow a correction. A corrected day that the champion has learned starts nothing, because its
    events would be learned twice: the check `learned_days` of `serving/champion` warns, and the
    next full training learns the day.

    Work that a run of the schedules `refresh_daily` and `fine_tune_daily` does or has done is not
    started again.
    """
    from recsys_assets.lib.features import freshness
    from recsys_assets.lib.fine_tune import fine_tuning
    from recsys_assets.lib.release.rung import WITH_SOURCES

    after = int(context.cursor) if context.cursor else None
    records = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=MASKED, after_storage_id=after), limit=100, ascending=True
    ).records
    if not records:
        return dg.SkipReason("no new version of features/masked_train")
    today = partitions.today(platform.settings).isoformat()
    records = list(takewhile(lambda record: (record.partition_key or "") < today, records))
    if not records:
        return dg.SkipReason(
            f"{today} was ingested before its end; it is processed when the day is over"
        )
    champion = fine_tuning.champion_release(platform.settings, platform.store)
    if champion is None:
        return dg.SkipReason(
            "no champion yet: run full_training, then promote; the new days are processed then"
        )
    changed = sorted({record.partition_key for record in records if record.partition_key})
    new = [day for day in changed if day > champion.day]
    if missing := due_models.not_ingested(platform, champion.day, new):
        return dg.SkipReason(
            f"{', '.join(new)} wait until {', '.join(missing)} is ingested (job "
            f"{daily_ingest.name}, which the sensor new_day starts)"
        )
    waiting = freshness.outdated_days(platform.store, _read_with(platform, new))
    if waiting:
        return dg.SkipReason(
            f"{', '.join(new)} wait until the features of {', '.join(waiting)} follow a correction "
            f"(job {daily_features.name}, which the sensor new_day starts)"
        )
    requests = []
    for day in new:
        requests.append(due_models.refresh_of(platform, day))
        if champion.rung["name"] in WITH_SOURCES:
            tuned = due_models.fine_tune_of(context.instance, platform, champion, day)
            if isinstance(tuned, dg.RunRequest):
                requests.append(tuned)
            else:
                context.log.info(tuned)
    wanted = work.never_started(context.instance, requests)
    reason = (
        f"the work of {', '.join(new)} was started before"
        if new
        else f"release {champion.number} has learned up to {champion.day} already"
    )
    return dg.SensorResult(
        run_requests=wanted or None,
        skip_reason=None if wanted else reason,
        cursor=str(records[-1].storage_id),
        asset_events=[_learned_days(platform, champion)] if len(new) < len(changed) else [],
    )


def _read_with(platform: Platform, new: Sequence[str]) -> list[str]:
    """Return the days that the jobs of new days read."""
    settings, windows = platform.settings, (partitions.REPLAY, partitions.CLICK_HISTORY)
    return sorted({one for day in new for window in windows for one in window.days(settings, day)})


def _learned_days(platform: Platform, champion: "Release") -> dg.AssetCheckEvaluation:
    """Return the check ``learned_days`` of the release in force."""
    from recsys_assets.lib.release.corrected import corrected_since

    corrected = corrected_since(platform.store, champion.artifact)
    return dg.AssetCheckEvaluation(
        check_name="learned_days",
        asset_key=CHAMPION,
        passed=not corrected,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "value": dg.MetadataValue.json(corrected),
            "threshold": "none corrected",
            "release": champion.number,
        },
    )


@_sensor(promote)
def passed_release(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.SkipReason | list[dg.RunRequest]:
    """Starts `promote` for the best release that passed its gate and was never in service.

    It is of a newer day than the champion, or of the same day and better. It takes releases of full
    trainings, and of fine-tunes whose own promotion failed. A release that a rollback set aside is
    not promoted again. A promotion that failed is not repeated: the reason of the tick names its
    run.

    With `RECSYS_PROMOTION=manual` nothing is promoted. The reason of each tick then names the
    release that waits; to promote it, materialise `serving/champion`.
    """
    return due_models.promotion(context, platform)


@_sensor(monitor, fine_tune, full_training)
def drift(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.SkipReason | dg.SensorResult:
    """Starts `monitor` for ingested days, and a `fine_tune` or `full_training` where one drifted.

    An alarm is a drifted measure of the served answers, a drifted feature, or too many unknown
    items (see the checks of `monitor/quality` and `monitor/inputs`). It asks for a fine-tune first.
    It asks for a full training if the fine-tune after the last alarm did not help, if a vocabulary
    has drifted, or if the champion is popularity or item-to-item.

    Nothing is started while a fine-tune or a full training is pending, or in the
    `RECSYS_DRIFT_COOL_DOWN_DAYS` after an answered alarm. A release that has learned the day of the
    alarm answers it: its own days are judged next. The cursor holds the last judged day and the
    last answered alarm.
    """
    return due_drift.evaluate(context, platform)
