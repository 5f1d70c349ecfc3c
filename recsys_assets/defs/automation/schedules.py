"""Define the schedules, in the shop's time zone. Each is off until someone switches it on."""

from collections.abc import Callable
from datetime import datetime, timezone

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from recsys_assets import local_time, partitions
from recsys_assets.orchestration.resources import Platform
from recsys_assets.schedule_settings import cron
from recsys_assets.settings import get_settings

from . import due_catalogue, due_days, due_models, jobs

#: Tag of the schedules and their runs: how often they start.
EVERY = "recsys/every"


def _schedule(
    name: str,
    job: UnresolvedAssetJobDefinition,
    time: str,
    description: str,
    find: Callable[[due_days.Days], due_models.Found],
) -> dg.ScheduleDefinition:
    """Return a schedule that starts what is due at its tick, or says why nothing is.

    Dagster makes one tick per day also where the time is left out or repeated on a day when the
    clock changes.

    Args:
        name: of the schedule.
        job: that its runs belong to.
        time: of day or of week, as ``schedule_settings.cron`` reads it.
        description: one or more sentences for the UI.
        find: returns the runs to start, or the reason why there is none.
    """
    settings = get_settings()
    every = "week" if " " in time else "day"
    zone = partitions.time_zone(settings)

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron(time),
        execution_timezone=zone,
        description=f"{description} At {time}, {zone}.",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        tags={EVERY: every},
    )
    def scheduled(context: dg.ScheduleEvaluationContext, platform: Platform) -> due_models.Found:
        moment = context.scheduled_execution_time or datetime.now(timezone.utc)
        today = local_time.day_of(int(moment.timestamp()), zone)
        return find(due_days.Days(context, platform, today))

    return scheduled


def _ingest(days: due_days.Days) -> due_models.Found:
    """Return the runs that take all days that are due; see ``due_days.scheduled``."""
    yesterday = partitions.previous_day(days.today)
    requests = due_days.scheduled(days)
    ingested = days.platform.store.exists(due_models.MASKED_TRAIN, yesterday)
    reason = (
        f"{yesterday} and all days before it are ingested"
        if ingested
        else due_days.why_not(days, yesterday)
    )
    return due_models.started(days.context.instance, requests, [reason])


def _catalogue(days: due_days.Days) -> due_models.Found:
    """Return the run that imports a changed catalogue; see ``due_catalogue.due``."""
    return due_models.started(
        days.context.instance, due_catalogue.due(days), [due_catalogue.why_not(days)]
    )


catalogue_daily = _schedule(
    "catalogue_daily",
    jobs.catalogue,
    get_settings().schedule_catalogue,
    "Imports users and items if their files have changed. An ingest that starts meanwhile waits "
    "for it.",
    _catalogue,
)
ingest_daily = _schedule(
    "ingest_daily",
    jobs.daily_ingest,
    get_settings().schedule_ingest,
    "Ingests every past day that is due: new days, days that failed before, and corrected days "
    "with the days that read them. A day without files is taken once a later day has landed.",
    _ingest,
)
refresh_daily = _schedule(
    "refresh_daily",
    jobs.feature_store_refresh,
    get_settings().schedule_refresh,
    "Writes features and popularity of the newest ingested day to the online store.",
    due_models.refresh,
)
fine_tune_daily = _schedule(
    "fine_tune_daily",
    jobs.fine_tune,
    get_settings().schedule_fine_tune,
    "Fine-tunes the champion on the ingested days that it has not learned, one after the other.",
    due_models.fine_tunes,
)
train_weekly = _schedule(
    "train_weekly",
    jobs.full_training,
    get_settings().schedule_training,
    "Trains both models from nothing as of the newest ingested day, and builds their release.",
    due_models.training,
)
evaluate_weekly = _schedule(
    "evaluate_weekly",
    jobs.evaluation,
    get_settings().schedule_evaluation,
    "Writes the evaluation report of the newest full training.",
    due_models.report,
)
