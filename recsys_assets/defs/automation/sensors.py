"""Define the sensors that ingest new days and fine-tune the champion on them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from recsys_assets import partitions
from recsys_assets.files import sha256_json
from recsys_assets.orchestration.corrections import landing_content
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import get_settings

from .jobs import daily_features, daily_ingest, feature_store_refresh, fine_tune

if TYPE_CHECKING:
    from recsys_assets.lib.raw.changes import DayChange
    from recsys_assets.lib.release.releases import Release

DEFAULT_STATUS = (
    dg.DefaultSensorStatus.RUNNING if get_settings().automation else dg.DefaultSensorStatus.STOPPED
)
RAW = dg.AssetKey(["raw", "interactions"])
FEATURES = dg.AssetKey(["features", "interactions"])
MASKED = dg.AssetKey(["features", "masked_train"])
CHAMPION = dg.AssetKey(["serving", "champion"])
#: Tag of a run that takes corrected days: what changed in their landing files.
CHANGED, LONGEST_TAG = "recsys/changed", 500


@dg.sensor(
    jobs=[daily_ingest, daily_features], default_status=DEFAULT_STATUS, minimum_interval_seconds=60
)
def new_day(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.SkipReason | list[dg.RunRequest]:
    """Starts `daily_ingest` for the past days that have unread files.

    One run takes consecutive days. Older days start first. A day without files is taken too, once
    a later day has landed. A day that has no features after a failed run is tried again, and once
    more whenever the raw days that it reads have changed.

    A day that was read is taken again once the content of its files differs: a file was added,
    written again or removed. The tag recsys/changed of the run names the files. Later days whose
    features read a corrected day follow in a run of `daily_features`.
    """
    from recsys_assets.lib.landing import days
    from recsys_assets.lib.raw import changes

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
    changed = changes.changed_days(
        landing_content(platform), platform.store, closed, partitions.time_zone(settings)
    )
    unread = {day: change for day, change in changed.items() if not change.read}
    requests = _requests(context, daily_ingest.name, unread, "ingest")
    emptied = [day for day, change in changed.items() if change.emptied]
    if emptied:
        context.log.info(
            f"the files of {', '.join(emptied)} are gone; these days stay as they were read "
            "(to read them as empty days: `recsys ingest-day DAY`)"
        )
    if not _in_progress(context):
        corrected = {
            day: change for day, change in changed.items() if change.read and not change.emptied
        }
        for change in corrected.values():
            context.log.info(f"corrected: {change}")
        requests += _requests(context, daily_ingest.name, corrected, "correct")
        requests += [
            _run(daily_ingest.name, "ingest", group)
            for group in _consecutive(_left_out(platform, closed, unread))
        ]
        outdated = _outdated(context, platform, closed)
        requests += [
            _run(daily_features.name, "features", group) for group in _consecutive(outdated)
        ]
    if not requests:
        return dg.SkipReason(f"all {len(closed)} past days up to the last landed one are ingested")
    return requests


def _requests(
    context: dg.SensorEvaluationContext, job: str, changed: Mapping[str, "DayChange"], name: str
) -> list[dg.RunRequest]:
    """Return the runs of changed days; each change of a day starts one run.

    The last materialisation is part of the key: content that comes back after another correction is
    one more correction.
    """
    made = _materialisations(context, RAW, changed)
    digests = {
        day: change.digest if day not in made else sha256_json([change.digest, made[day]])[:12]
        for day, change in changed.items()
    }
    tell = {day: str(change) for day, change in changed.items() if change.read}
    return [_run(job, name, group, tell) for group in _consecutive(digests)]


def _materialisations(
    context: dg.SensorEvaluationContext, key: dg.AssetKey, days: Iterable[str]
) -> dict[str, int]:
    """Return day → storage id of its last materialisation; a day without one is absent."""
    wanted = set(days)
    if not wanted:
        return {}
    return dict(
        context.instance.event_log_storage.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION, wanted
        )
    )


def _in_progress(context: dg.SensorEvaluationContext) -> bool:
    """Return whether a run that reads days or computes their features has not ended."""
    return any(
        context.instance.get_runs_count(
            dg.RunsFilter(job_name=job.name, statuses=NOT_FINISHED_STATUSES)
        )
        for job in (daily_ingest, daily_features)
    )


def _outdated(
    context: dg.SensorEvaluationContext, platform: Platform, days: Sequence[str]
) -> dict[str, str]:
    """Return the days whose features read a day that changed since.

    Returns:
        Day → a digest of what has changed, and when the day was last computed.
    """
    from recsys_assets.lib.features import freshness

    found = freshness.outdated_days(platform.store, days)
    read = _materialisations(
        context, RAW, {one for changed in found.values() for kind, one in changed}
    )
    made = _materialisations(context, FEATURES, found)
    for day, changed in found.items():
        context.log.info(
            f"features of {day} follow a correction of "
            + ", ".join(f"{kind} of {one}" for kind, one in changed)
        )
    return {
        day: sha256_json([[*changed], [read.get(one) for _, one in changed], made.get(day)])[:12]
        for day, changed in found.items()
    }


def _left_out(platform: Platform, closed: Sequence[str], unread: Collection[str]) -> dict[str, str]:
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
        versions = [store.version("raw/interactions", one) for one in around]
        found[day] = sha256_json([one for one in versions if one])[:12]
    return found


def _consecutive(days: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the days, each with its digest, in groups without a gap, oldest first."""
    groups: list[dict[str, str]] = []
    for day, digest in sorted(days.items()):
        if not groups or partitions.previous_day(day) not in groups[-1]:
            groups.append({})
        groups[-1][day] = digest
    return groups


def _run(
    job: str, name: str, days: Mapping[str, str], tell: Mapping[str, str] | None = None
) -> dg.RunRequest:
    """Return the request of the run that takes consecutive days.

    Args:
        job: name of a job of daily partitions.
        name: first part of the run key.
        days: day → digest of the reason to take it.
        tell: day → what changed, in words.
    """
    first, last = min(days), max(days)
    changed = "; ".join(text for day, text in (tell or {}).items() if day in days)
    tags = {CHANGED: changed[:LONGEST_TAG]} if changed else {}
    if first == last:
        return dg.RunRequest(
            run_key=f"{name}-{first}-{days[first]}", job_name=job, partition_key=first, tags=tags
        )
    return dg.RunRequest(
        run_key=f"{name}-{first}-{last}-{sha256_json(days)[:12]}",
        job_name=job,
        tags={**tags, ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last},
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

    Both jobs wait while features of the days that they read follow a correction. A corrected day
    that the champion has learned starts nothing, because its events would be learned twice: the
    check `learned_days` of `serving/champion` warns, and the next full training learns the day.
    """
    from recsys_assets.lib.features import freshness
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
    changed = sorted({record.partition_key for record in records if record.partition_key})
    new = [day for day in changed if day > champion.day]
    waiting = freshness.outdated_days(platform.store, _read_with(platform, new))
    if waiting:
        return dg.SkipReason(
            f"{', '.join(new)} wait until the features of {', '.join(waiting)} follow a correction "
            f"(job {daily_features.name}, which the sensor new_day starts)"
        )
    requests = []
    for day in new:
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
    learned = [_learned_days(platform, champion)] if len(new) < len(changed) else []
    return dg.SensorResult(
        run_requests=requests, cursor=str(records[-1].storage_id), asset_events=learned
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
