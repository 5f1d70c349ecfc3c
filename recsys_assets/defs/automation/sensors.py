"""Define the sensors that ingest new days and fine-tune the champion on them."""

from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from recsys_assets import partitions
from recsys_assets.files import sha256_json
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
    """Starts `daily_ingest` for the past days that have unread files.

    One run takes consecutive days. Older days start first. A day without files is taken too, once
    a later day has landed. A day that has no features after a failed run is tried again, and once
    more whenever the raw days that it reads have changed.
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
    left_out = {} if _in_progress(context) else _left_out(platform, closed, unread)
    if not unread and not left_out:
        return dg.SkipReason(f"all {len(closed)} past days up to the last landed one are ingested")
    return [_ingest(group) for days in (unread, left_out) for group in _consecutive(days)]


def _in_progress(context: dg.SensorEvaluationContext) -> bool:
    """Return whether a run of ``daily_ingest`` has not ended."""
    waiting = dg.RunsFilter(job_name=daily_ingest.name, statuses=NOT_FINISHED_STATUSES)
    return context.instance.get_runs_count(waiting) > 0


def _left_out(
    platform: Platform, closed: Sequence[str], unread: Mapping[str, str]
) -> dict[str, str]:
    """Return the days that were read and have no masked train set.

    Returns:
        Day → a digest of the raw days that its features read.
    """
    store = platform.store
    found = {}
    for day in closed:
        if day in unread or store.exists("features/masked_train", day):
            continue
        around = partitions.LOOK_BACK.days(platform.settings, day)
        read = [one for one in around if store.exists("raw/interactions", one)]
        digests = [one.digest for one in store.require("raw/interactions", read)]
        found[day] = sha256_json(digests)[:12]
    return found


def _consecutive(days: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the days, each with its digest, in groups without a gap, oldest first."""
    groups: list[dict[str, str]] = []
    for day, digest in sorted(days.items()):
        if not groups or partitions.previous_day(day) not in groups[-1]:
            groups.append({})
        groups[-1][day] = digest
    return groups


def _ingest(days: Mapping[str, str]) -> dg.RunRequest:
    """Return the request of the run that takes consecutive days."""
    first, last = min(days), max(days)
    if first == last:
        return dg.RunRequest(
            run_key=f"ingest-{first}-{days[first]}", job_name=daily_ingest.name, partition_key=first
        )
    return dg.RunRequest(
        run_key=f"ingest-{first}-{last}-{sha256_json(days)[:12]}",
        job_name=daily_ingest.name,
        tags={ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last},
    )


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
