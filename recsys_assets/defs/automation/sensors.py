"""Sensors: a new day in the landing zone is ingested; an ingested day fine-tunes the champion."""

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
def new_day(context: dg.SensorEvaluationContext, platform: Platform):
    """A day that is over starts `daily_ingest` where files have landed that its partition has not
    read; older days first.
    """
    from recsys_assets.lib.landing import days
    from recsys_assets.lib.raw import raw_tables

    landing, calendar = platform.settings.landing, partitions.daily()
    closed = [
        day
        for day in days.landed_days(landing)
        if day < partitions.today().isoformat() and calendar.has_partition_key(day)
    ]
    unread = raw_tables.unread_days(landing, platform.store, closed)
    if not unread:
        return dg.SkipReason(f"{len(closed)} closed days have landed, all of them ingested")
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
def ingested_day(context: dg.SensorEvaluationContext, platform: Platform):
    """Every new version of a masked day after the champion's newest one starts `fine_tune`, one day
    after the other.

    The cursor is the storage id of the last materialisation seen: several days at once are all seen
    (an asset sensor would see only the last of them), and a day is asked for once a content digest.
    """
    from recsys_assets.lib.fine_tune import fine_tuning

    after = int(context.cursor) if context.cursor else None
    records = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=MASKED, after_storage_id=after), limit=100, ascending=True
    ).records
    if not records:
        return dg.SkipReason("no new masked day")
    newest = fine_tuning.newest_day_of_champion(platform.settings, platform.store)
    if newest is None:
        return dg.SkipReason(
            "no champion yet: run full_training, then promote; the days seen so far stay to be done"
        )
    requests = []
    for day in sorted(
        {
            record.partition_key
            for record in records
            if record.partition_key and record.partition_key > newest
        }
    ):
        digest = platform.store.current("features/masked_train", day).digest[:12]
        requests.append(
            dg.RunRequest(
                run_key=f"refresh-{day}-{digest}",
                job_name=feature_store_refresh.name,
                partition_key=day,
            )
        )
        requests.append(
            dg.RunRequest(
                run_key=f"fine-tune-{day}-{digest}", job_name=fine_tune.name, partition_key=day
            )
        )
    return dg.SensorResult(run_requests=requests, cursor=str(records[-1].storage_id))
