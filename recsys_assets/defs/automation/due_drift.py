"""Find the days to monitor, and what an alarm of a monitored day asks for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg

from recsys_assets import local_time, partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.files import sha256_json
from recsys_assets.manifests import version_of
from recsys_assets.orchestration import work
from recsys_assets.orchestration.resources import Platform

from . import due_models
from .due_days import Days, runs_of
from .jobs import fine_tune, full_training, monitor

if TYPE_CHECKING:
    from recsys_assets.lib.monitor.alarms import Alarm, AlarmState, Decision
    from recsys_assets.lib.release.releases import Release

#: Past days that are monitored without being asked for; older ones by a backfill of the job.
WATCHED_DAYS = 14
RAW, FEATURES = "raw/interactions", "features/interactions"
SERVED, QUALITY, INPUTS, SKEW = (
    f"monitor/{name}" for name in ("served", "quality", "inputs", "skew")
)


def evaluate(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.SkipReason | dg.SensorResult:
    """Return the runs that monitor new days; else the run that the newest alarm asks for."""
    from recsys_assets.lib.fine_tune import fine_tuning
    from recsys_assets.lib.monitor.alarms import AlarmState

    days = Days(context, platform, partitions.today(platform.settings).isoformat())
    champion = fine_tuning.champion_release(platform.settings, platform.store)
    if champion is None:
        return dg.SkipReason(
            "no champion yet: nothing is served, so nothing can drift; run full_training, then "
            "promote"
        )
    state = AlarmState.read(context.cursor)
    watched = ingested_in_service(platform, days.today)
    unmeasured = {day: found for day in watched if (found := unmonitored(platform.store, day))}
    pending = work.pending_days(context.instance, monitor.name)
    wanted = work.never_started(
        context.instance,
        runs_of(
            monitor.name,
            "monitor",
            {day: digest for day, digest in unmeasured.items() if day not in pending},
        ),
    )
    if wanted:
        return dg.SensorResult(run_requests=wanted, cursor=state.text())
    new = [day for day in watched if day not in unmeasured and day > (state.judged or "")]
    if new:
        return answer(days, champion, new, state)
    return dg.SkipReason(_why_nothing(context, unmeasured, pending, watched, state))


def ingested_in_service(platform: Platform, today: str) -> list[str]:
    """Return the last past days that are ingested and on which a release was in service."""
    from recsys_assets.lib.release.champion import read_champion

    champion, store = read_champion(platform.settings), platform.store
    if champion is None:
        return []
    zone = partitions.time_zone(platform.settings)
    begun = min((int(one["at"]) for one in champion.history), default=champion.promoted_at)
    first = local_time.day_of(begun, zone)
    found = store.days_before(due_models.MASKED_TRAIN, today, WATCHED_DAYS)
    return [day for day in found if day >= first and store.exists(FEATURES, day)]


def unmonitored(store: ArtifactStore, day: str) -> str | None:
    """Return a digest of what is to be monitored; None if it was monitored as it is."""
    raw, features = store.version(RAW, day), store.version(FEATURES, day)
    served, inputs, quality, skew = (
        store.manifest(kind, day) for kind in (SERVED, INPUTS, QUALITY, SKEW)
    )
    read = [
        served and version_of(served["inputs"]["interactions"]),
        inputs and version_of(inputs["inputs"]["features"]),
        quality and version_of(quality["inputs"]["served"][-1]),
        *(skew and version_of(skew["inputs"][role]) for role in ("interactions", "features")),
    ]
    if read == [raw, features, store.version(SERVED, day), raw, features]:
        return None
    return sha256_json([raw, features])[:12]


def answer(
    days: Days, champion: "Release", new: Sequence[str], state: "AlarmState"
) -> dg.SkipReason | dg.SensorResult:
    """Return what the newest of these monitored days asks for.

    Args:
        days: of the sensor.
        champion: the release in force.
        new: monitored days that were not judged, oldest first.
        state: the cursor.
    """
    from recsys_assets.lib.drift.alarms import read_alarm
    from recsys_assets.lib.monitor.alarms import decide
    from recsys_assets.lib.release.rung import WITH_SOURCES

    store, settings = days.platform.store, days.platform.settings
    logged = settings.served_log == "on"
    for day in new[:-1]:  # only the newest day asks for a run
        earlier = read_alarm(store, day, logged=logged)
        fine = earlier.judged and not earlier.drifted
        state = replace(state, judged=day, recovered=state.recovered or fine)
    alarm = read_alarm(store, new[-1], logged=logged)
    tunable = champion.rung["name"] in WITH_SOURCES
    can_tune = tunable and champion.of_this_form and champion.fits(settings)
    decided = decide(alarm, state, cool_down_days=settings.drift_cool_down_days, can_tune=can_tune)
    if decided.job is None:
        return _skipped(decided.reason, decided.state)
    if running := work.unfinished(days.context.instance, fine_tune.name, full_training.name):
        return dg.SkipReason(
            f"{decided.reason}; {running[0].job_name} is pending "
            f"({work.shown(running[0].run_id)}): the alarm is looked at again when it has ended"
        )
    if answered := _answered(days.platform, champion, alarm, decided):
        return answered
    started = (
        due_models.fine_tunes(days) if decided.job == fine_tune.name else due_models.training(days)
    )
    if isinstance(started, dg.SkipReason):
        return dg.SkipReason(f"{decided.reason}; no {decided.job}: {started.skip_message}")
    days.context.log.warning(f"{decided.reason}: {decided.job} is asked for")
    return dg.SensorResult(run_requests=started, cursor=decided.state.text())


def _answered(
    platform: Platform, champion: "Release", alarm: "Alarm", decided: "Decision"
) -> dg.SensorResult | None:
    """Return the tick of an alarm whose day was learned since it was served; None otherwise."""
    if decided.job != fine_tune.name:
        return None
    if champion.day >= alarm.day:
        by = f"release {champion.number} has learned {champion.day} since"
    elif judged := due_models.judged_fine_tune(platform, champion, alarm.day):
        by = judged
    else:
        return None
    return _skipped(
        f"{decided.reason}; {by}, which counts as the fine-tune: the days after it are judged next",
        decided.state,
    )


def _skipped(reason: str, state: "AlarmState") -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=state.text())


def _why_nothing(
    context: dg.SensorEvaluationContext,
    unmeasured: dict[str, str],
    pending: dict[str, str],
    watched: Sequence[str],
    state: "AlarmState",
) -> str:
    if not watched:
        return "no ingested day on which a release was in service"
    waiting = [f"{day} in {work.shown(pending[day])}" for day in unmeasured if day in pending]
    if waiting:
        return f"monitor takes {', '.join(waiting)}"
    if unmeasured:
        return (
            f"{', '.join(unmeasured)} were not monitored: the run of monitor failed; see it, or "
            "materialise the assets of the group monitor of these days"
        )
    asked = f"; the last alarm, of {state.asked}, asked for {state.job}" if state.asked else ""
    return f"all days up to {state.judged} were judged{asked}"
