"""Find what is to be refreshed, fine-tuned, trained, evaluated and promoted.

Each function returns the runs to start, or the reason why nothing starts.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

from recsys_assets import partitions
from recsys_assets.files import sha256_json
from recsys_assets.orchestration import work
from recsys_assets.orchestration.resources import Platform

from .due_days import Days, why_not
from .jobs import evaluation, feature_store_refresh, fine_tune, full_training, promote

if TYPE_CHECKING:
    from recsys_assets.lib.release.releases import Release

MASKED = dg.AssetKey(["features", "masked_train"])
ONLINE = dg.AssetKey(["feature_store", "online"])
CHAMPION = dg.AssetKey(["serving", "champion"])
FULL_RELEASE = dg.AssetKey(["serving", "release"])
TUNED_RELEASE = dg.AssetKey(["fine_tune", "release"])
MASKED_TRAIN, OFFLINE, REPORT = "features/masked_train", "evaluation/offline", "evaluation/report"

#: What a sensor or a schedule returns.
Found: TypeAlias = dg.SkipReason | list[dg.RunRequest]


def refresh(days: Days) -> Found:
    """Return the refresh of the online store as of the newest ingested day."""
    platform, instance = days.platform, days.context.instance
    if _champion(platform) is None:
        return dg.SkipReason(
            "no champion yet: nothing is served, so the online store is not refreshed; run "
            "full_training, then promote"
        )
    day = newest_ingested(days)
    if day is None:
        return dg.SkipReason(why_not(days, partitions.previous_day(days.today)))
    if late := not_followed(days, partitions.CLICK_HISTORY.days(platform.settings, day)):
        return dg.SkipReason(late)
    if _made_since(instance, ONLINE, MASKED, day):
        return dg.SkipReason(
            f"the online store has the features of {day} already{_and_yesterday(days, day)}"
        )
    return started(instance, [refresh_of(platform, day)])


def refresh_of(platform: Platform, day: str) -> dg.RunRequest:
    """Return the request that writes the features of a day to the online store."""
    digest = platform.store.current(MASKED_TRAIN, day).digest[:12]
    return work.request(f"refresh-{day}-{digest}", feature_store_refresh.name, (day, day))


def fine_tune_of(
    instance: dg.DagsterInstance, platform: Platform, champion: "Release", day: str
) -> dg.RunRequest | str:
    """Return the request that fine-tunes the champion on a day, or why there is none.

    The key names the champion, because the same day is learned again from another one, for example
    after a full training as of an earlier day.
    """
    masked = platform.store.current(MASKED_TRAIN, day)
    if not masked.metrics["rows"]:
        return f"{day} has no rows to learn"
    if run := work.pending_days(instance, fine_tune.name).get(day):
        return f"the fine-tune on {day} is pending in {work.shown(run)}"
    judged = _judged(platform, champion, day)
    if judged is not None:
        return _of_judged(judged)
    key = f"fine-tune-{day}-{masked.digest[:12]}-of-{champion.number}"
    return work.request(key, fine_tune.name, (day, day))


def fine_tunes(days: Days) -> Found:
    """Return the fine-tunes of all ingested days that the champion has not learned, oldest first.

    A day after one that is not ingested waits, because a fine-tune replays the days before it.
    """
    from recsys_assets.lib.fine_tune import fine_tuning

    platform, instance = days.platform, days.context.instance
    yesterday = partitions.previous_day(days.today)
    champion = _champion(platform)
    if champion is not None and champion.day >= yesterday:
        return dg.SkipReason(
            f"the champion (release {champion.number}) has learned up to {champion.day} already"
        )
    try:
        fine_tuning.plan(platform.settings, platform.store, yesterday)
    except fine_tuning.FineTuneError as error:
        return dg.SkipReason(f"no champion to fine-tune: {error}")
    assert champion is not None  # plan() raises without one
    if running := work.unfinished(instance, full_training.name):
        return dg.SkipReason(
            f"a full training is pending ({work.shown(running[0].run_id)}): the days after it are "
            "fine-tuned on its release"
        )
    requests, reasons = [], []
    for day in _days_after(champion.day, yesterday):
        if not platform.store.exists(MASKED_TRAIN, day) or days.read_in_part(day):
            reasons.append(why_not(days, day))
            break
        if late := not_followed(days, read_by_fine_tune(platform, day)):
            reasons.append(f"{day} waits: {late}")
            break
        one = fine_tune_of(instance, platform, champion, day)
        if isinstance(one, str):
            reasons.append(one)
        else:
            requests.append(one)
    return started(instance, requests, reasons)


def training(days: Days) -> Found:
    """Return the full training as of the newest ingested day."""
    from recsys_assets.lib.release.corrected import corrected_since

    platform, instance = days.platform, days.context.instance
    store, settings = platform.store, platform.settings
    if running := work.unfinished(instance, full_training.name):
        return dg.SkipReason(f"a full training is pending ({work.shown(running[0].run_id)})")
    day = newest_ingested(days)
    if day is None:
        return dg.SkipReason(why_not(days, partitions.previous_day(days.today)))
    window = partitions.window_days(day, settings)
    if missing := [one for one in window if not store.exists(MASKED_TRAIN, one)]:
        return dg.SkipReason(
            f"the window of {day} lacks {', '.join(missing)}: {why_not(days, missing[0])}"
        )
    if late := not_followed(days, window):
        return dg.SkipReason(f"the training as of {day} waits: {late}")
    digest = sha256_json([store.version(MASKED_TRAIN, one) for one in window])[:12]
    wanted = work.request(f"train-{day}-{digest}", full_training.name, (day, day))
    runs = work.runs_of(instance, str(wanted.run_key))
    made = _newest_training(platform)
    again = bool(runs) and not runs[0].is_success
    if (
        made is not None
        and made.day >= day
        and not again
        and not corrected_since(store, made.artifact)
    ):
        return dg.SkipReason(
            f"release {made.number} was trained as of {made.day} already{_and_yesterday(days, day)}"
        )
    return started(instance, [wanted])


def report(days: Days) -> Found:
    """Return the evaluation of the newest full training that has no report yet."""
    platform, instance = days.platform, days.context.instance
    store = platform.store
    if running := work.unfinished(instance, full_training.name):
        return dg.SkipReason(
            f"a full training is pending ({work.shown(running[0].run_id)}): its release is "
            "evaluated at the next tick"
        )
    trained = store.days_before(OFFLINE, days.today, 1)
    if not trained:
        return dg.SkipReason(
            "no full training to evaluate: run full_training (the full models need enough clicks; "
            "`recsys status` names what they lack)"
        )
    [day] = trained
    offline, written = store.current(OFFLINE, day), store.manifest(REPORT, day)
    if written is not None and written["created"] >= offline.manifest["created"]:
        return dg.SkipReason(f"the report of {day}, the newest full training, is written already")
    key = f"evaluate-{day}-{offline.digest[:12]}"
    return started(instance, [work.request(key, evaluation.name, (day, day))])


def promotion(context: work.Context, platform: Platform) -> Found:
    """Return the promotion of the best release that waits, or who must promote it."""
    from recsys_assets.lib.release.waiting import waiting_releases

    instance, settings = context.instance, platform.home_settings
    waiting = waiting_releases(platform.store, settings)
    champion = _champion(platform)
    if not waiting:
        now = f"release {champion.number} serves" if champion else "no release serves"
        return dg.SkipReason(f"{now}, and no newer release has passed its gate")
    best = waiting[0]
    named = f"release {best.number} ({best.kind}, {best.day}, rung {best.rung['name']})"
    by_hand = f"materialise serving/champion, or run `recsys promote {best.number}`"
    # its lists are checked, and a fine-tune promotes it, after it is built
    built_by = {
        **work.pending_days(instance, full_training.name, asset=FULL_RELEASE),
        **work.pending_days(instance, fine_tune.name, asset=TUNED_RELEASE),
    }
    if best.day in built_by:
        return dg.SkipReason(
            f"{named} passed its gate; {work.shown(built_by[best.day])}, which builds it, has not "
            "ended"
        )
    if settings.promotion == "manual":
        return dg.SkipReason(
            f"{named} passed its gate and waits for a person (RECSYS_PROMOTION=manual): {by_hand}"
        )
    if running := work.unfinished(instance, promote.name, asset=CHAMPION):
        return dg.SkipReason(f"a promotion is pending ({work.shown(running[0].run_id)})")
    wanted = work.request(
        f"promote-{best.number}-{best.artifact.digest[:12]}",
        promote.name,
        config={"ops": {"serving__champion": {"config": {"release": best.number}}}},
    )
    if runs := work.runs_of(instance, str(wanted.run_key)):
        return dg.SkipReason(
            f"{named} passed its gate; its promotion did not succeed "
            f"({work.shown(runs[0].run_id)} says why). Once that is mended: {by_hand}"
        )
    return [wanted]


def newest_ingested(days: Days) -> str | None:
    """Return the newest day that is over and has a masked train set."""
    found = days.platform.store.days_before(MASKED_TRAIN, days.today, 1)
    return found[0] if found else None


def _champion(platform: Platform) -> "Release | None":
    from recsys_assets.lib.fine_tune import fine_tuning

    return fine_tuning.champion_release(platform.settings, platform.store)


def _days_after(day: str, last: str) -> list[str]:
    """Return the days after a day, up to the last one."""
    first = date.fromisoformat(day) + timedelta(days=1)
    return partitions.days_between(first, date.fromisoformat(last))


def not_ingested(platform: Platform, after: str, new: Sequence[str]) -> list[str]:
    """Return the days after a day, up to the last new one, that have no masked train set."""
    days = _days_after(after, max(new)) if new else []
    return [day for day in days if not platform.store.exists(MASKED_TRAIN, day)]


def read_by_fine_tune(platform: Platform, day: str) -> list[str]:
    """Return the days that a fine-tune may read."""
    return partitions.REPLAY.days(platform.settings, day)


def not_followed(days: Days, wanted: Sequence[str]) -> str | None:
    """Return which of the days wait for a correction; None if none does."""
    from recsys_assets.lib.features import freshness

    changed = [
        day for day, one in days.corrected.items() if day in wanted and not one.only_late_events
    ]
    if changed:
        return (
            f"the files of {', '.join(changed)} changed after they were read; the schedule "
            "ingest_daily or the sensor new_day reads them again"
        )
    outdated = freshness.outdated_days(days.platform.store, wanted)
    if outdated:
        gone = [day for day in outdated if day in days.emptied]
        return (
            f"the features of {', '.join(outdated)} must follow a correction; the schedule "
            "ingest_daily or the sensor new_day computes them"
            + (
                f" (but the schedule leaves out {', '.join(gone)}, whose files are gone: run the "
                "job daily_features)"
                if gone
                else ""
            )
        )
    return None


def _made_since(
    instance: dg.DagsterInstance, made: dg.AssetKey, source: dg.AssetKey, day: str
) -> bool:
    """Return whether a day of an asset was materialised after the same day of its source."""

    def last(key: dg.AssetKey) -> int | None:
        found = instance.event_log_storage.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION, {day}
        )
        return found.get(day)

    at, since = last(made), last(source)
    return at is not None and (since is None or at > since)


def _newest_training(platform: Platform) -> "Release | None":
    """Return the newest release that a full training built, whatever its verdict."""
    from recsys_assets.lib.release import releases

    for name in sorted(platform.store.partitions(releases.RELEASE), reverse=True):
        one = releases.open_release(platform.store, int(name))
        if one.kind != "fine_tune":
            return one
    return None


def _judged(platform: Platform, champion: "Release", day: str) -> "Release | None":
    """Return the release of a fine-tune of this champion on a day, from its present rows."""
    from recsys_assets.lib.release import releases
    from recsys_assets.lib.release.corrected import corrected_since

    store = platform.store
    for name in sorted(store.partitions(releases.RELEASE), reverse=True):
        if int(name) <= champion.number:
            return None
        one = releases.open_release(store, int(name))
        base = one.artifact.manifest["inputs"].get("base") or {}
        if (one.kind, one.day, base.get("digest")) == ("fine_tune", day, champion.artifact.digest):
            return None if day in corrected_since(store, one.artifact) else one
    return None


def judged_fine_tune(platform: Platform, champion: "Release", day: str) -> str | None:
    """Return what became of the fine-tune of this champion on a day; None: there was none."""
    judged = _judged(platform, champion, day)
    return None if judged is None else _of_judged(judged)


def _of_judged(judged: "Release") -> str:
    if judged.failed_checks:
        return (
            f"the fine-tune on {judged.day} (release {judged.number}) is blocked by its gate: "
            f"{'; '.join(judged.failed_checks)}"
        )
    return f"the fine-tune on {judged.day} is release {judged.number}, which is not in service"


def _and_yesterday(days: Days, day: str) -> str:
    """Return why the day before today is not ingested, as the end of a sentence."""
    yesterday = partitions.previous_day(days.today)
    return f"; {why_not(days, yesterday)}" if day < yesterday else ""


def started(
    instance: dg.DagsterInstance, requests: Sequence[dg.RunRequest], reasons: Sequence[str] = ()
) -> Found:
    """Return the requests that are to be started, or all reasons why there is none."""
    wanted, known = work.due(instance, requests)
    return wanted or dg.SkipReason("; ".join([*reasons, *known]) or "nothing is due")
