"""Define the sensors that ingest new days and fine-tune the champion on them."""

from datetime import date

import dagster as dg

from recsys_assets import partitions
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import get_settings

from .jobs import daily_ingest, feature_store_refresh, fine_tune

DEFAULT_STATUS = (
    dg.DefaultSensorStatus.RUNNING if get_settings().automation else dg.DefaultSensorStatus.STOPPED
)
MASKED = dg.AssetKey(["features", "masked_train"])


@dg.sensor(jobs=[daily_ingest], default_status=DEFAULT_STATUS, minimum_interval_seconds=60)
def new_day(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.SkipReason | list[dg.RunRequest]:
    """Starts `daily_ingest` for each past day that has unread files.

    A day without files is taken too, once a later day has landed. Older days start first.
    """
    from recsys_assets.lib.landing import days
    from recsys_assets.lib.raw import raw_tables

    settings, calendar = platform.settings, partitions.daily()
    landing, today = settings.landing, partitions.today(settings).isoformat()
    landed = [
        day for day in days.landed_days(landing) if day < today and calendar.has_partition_key(day)
    ]
    closed = (
        partitions.days_between(partitions.calendar_start(settings), date.fromisoformat(landed[-1]))
        if landed
        else []
    )
    unread = raw_tables.unread_days(landing, platform.store, closed)
    if not unread:
        return dg.SkipReason(f"all {len(closed)} past days up to the last landed one are ingested")
    return [
        dg.RunRequest(
            run_key=f"ingest-{day}-{files}", job_name=daily_ingest.name, partition_key=day
        )
        for day, files in unread.items()
    ]


@dg.sensor(
    jobs=[fine_tune, feature_store_refresh],
    default_status=DEFAULT_STATUS,
    minimum_interval_seconds=60,
)
def ingested_day(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.SkipReason | dg.SensorResult:
    """Starts `feature_store_refresh` and `fine_tune` for each new day.

    A champion of a simple rung has no model to fine-tune, so only the refresh starts. A day is new
    if it is later than the champion's newest day and `features/masked_train` has new
    content. Each content starts one run per job. The cursor is the storage id of the last processed
    materialisation. So several days at once are all processed; an asset sensor would process only
    the last one.
    """
    from recsys_assets.lib.fine_tune import fine_tuning
    from recsys_assets.lib.release.rung import FULL

    after = int(context.cursor) if context.cursor else None
    records = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=MASKED, after_storage_id=after), limit=100, ascending=True
    ).records
    if not records:
        return dg.SkipReason("no new version of features/masked_train")
    champion = fine_tuning.champion_release(platform.settings, platform.store)
    if champion is None:
        return dg.SkipReason(
            "no champion yet: run full_training, then promote; the new days are processed then"
        )
    requests = []
    for day in sorted(
        {
            record.partition_key
            for record in records
            if record.partition_key and record.partition_key > champion.day
        }
    ):
        masked = platform.store.current("features/masked_train", day)
        digest = masked.digest[:12]
        requests.append(
            dg.RunRequest(
                run_key=f"refresh-{day}-{digest}",
                job_name=feature_store_refresh.name,
                partition_key=day,
            )
        )
        # a simple rung has no model to tune, and a day without rows has nothing to learn
        if champion.rung["name"] == FULL and masked.metrics["rows"]:
            requests.append(
                dg.RunRequest(
                    run_key=f"fine-tune-{day}-{digest}", job_name=fine_tune.name, partition_key=day
                )
            )
    return dg.SensorResult(run_requests=requests, cursor=str(records[-1].storage_id))
