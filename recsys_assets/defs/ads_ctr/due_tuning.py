"""Find the labelled predictions to watch, and what an alarm asks for."""

from time import time
from typing import TYPE_CHECKING

import dagster as dg

from recsys_assets import partitions
from recsys_assets.orchestration import work
from recsys_assets.orchestration.resources import Platform

from .jobs import ads_incremental, ads_training

if TYPE_CHECKING:
    from recsys_assets.lib.ads_ctr.ads_watch import AdsWatch, PendingAlarm
    from recsys_assets.lib.ads_ctr.incremental import TuneStart

#: Seconds before the first tick whose settled predictions are watched.
FIRST_LOOK = 24 * 3_600.0


def evaluate(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult:
    """Return the run that a pending alarm asks for, or why there is none."""
    from recsys_assets.lib.ads_ctr import ads_monitor, incremental
    from recsys_assets.lib.ads_ctr.ads_watch import AdsWatch, WatchRules

    settings, now = platform.settings, time()
    watch = AdsWatch.read(context.cursor)
    try:
        begin = incremental.start(platform.store, platform.home_settings)
    except incremental.IncrementalError as error:
        return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
    base = begin.base
    rules = WatchRules.of(settings, base.metrics.get("auc"), base.metrics.get("click_rate"))
    if watch is None:
        watch = AdsWatch(base.number, rules)
    elif reason := watch.follow(base.number, rules):
        context.log.info(f"{reason}: the watch begins with an empty window")
    after = watch.to[0] if watch.to else now - FIRST_LOOK
    today = partitions.today(settings).isoformat()
    days = incremental.days_since(settings, after, today)
    # rows of the cursor's moment too: those with a later id were not read
    rows, waiting = incremental.settled_rows(settings, days, now, after - 1)
    for alarm in watch.update(rows):
        context.log.warning(f"release {base.number}: {alarm}")
    if lost := ads_monitor.publish(settings, ads_monitor.monitor_state(watch, waiting, now)):
        context.log.warning(lost)
    return _answer(context, platform, begin, watch, today, now, waiting)


def _answer(
    context: dg.SensorEvaluationContext,
    platform: Platform,
    begin: "TuneStart",
    watch: "AdsWatch",
    today: str,
    now: float,
    waiting: int,
) -> dg.SensorResult:
    known = described(watch, waiting)
    alarm = watch.pending
    if alarm is None:
        return dg.SensorResult(skip_reason=f"no alarm; {known}", cursor=watch.text())
    said = f"alarm {alarm.number} of release {watch.release}: {alarm.text}"
    if why := _waits(context, platform, begin, watch, alarm, today, now):
        return dg.SensorResult(skip_reason=f"{said}; {why}; {known}", cursor=watch.text())
    key = f"ads-drift-{watch.release}-{alarm.number}-{int(alarm.at)}"
    wanted = work.request(
        key,
        ads_incremental.name,
        (today, today),
        config={"ops": {"ads_ctr__feedback_rows": {"config": {"since": alarm.since}}}},
    )
    watch.answered()
    if not work.never_started(context.instance, [wanted]):
        return dg.SensorResult(
            skip_reason=f"{said}; {key} was started before: see its run; {known}",
            cursor=watch.text(),
        )
    context.log.warning(f"{said}: {ads_incremental.name} is asked for")
    return dg.SensorResult(run_requests=[wanted], cursor=watch.text())


def _waits(
    context: dg.SensorEvaluationContext,
    platform: Platform,
    begin: "TuneStart",
    watch: "AdsWatch",
    alarm: "PendingAlarm",
    today: str,
    now: float,
) -> str | None:
    """Return why an alarm waits; None: it is answered now."""
    from recsys_assets.lib.ads_ctr import incremental

    if watch.cooling:
        return (
            f"alarm {watch.asked} was answered, and {watch.cooling:,} labelled predictions of the "
            f"cool-down of {watch.rules.cool_down:,} are to come"
        )
    if running := work.unfinished(context.instance, ads_incremental.name, ads_training.name):
        return f"{running[0].job_name} is pending ({work.shown(running[0].run_id)})"
    rows = incremental.unlearnt(platform.settings, begin, today, now, alarm.since)
    try:
        incremental.require_enough(rows, platform.settings.ads_tune_rows)
    except incremental.IncrementalError as error:
        return f"since its window began: {error}"
    return None


def described(watch: "AdsWatch", waiting: int) -> str:
    """Return what is known of the release in service, in words."""
    rules, auc = watch.rules, watch.rolling_auc
    if rules.threshold is None:
        shown = f"the rolling AUC is not watched: {rules.reason}"
    else:
        value = f"known from {rules.least} on" if auc is None else f"{auc:.4f}"
        shown = f"rolling AUC {value}, threshold {rules.threshold:.4f}"
    return (
        f"release {watch.release} has {watch.labelled:,} labelled predictions, {waiting:,} wait "
        f"for a label; {shown}"
    )
