"""Refuse to train on days that changed in the landing zone after they were read."""

from __future__ import annotations

from collections.abc import Sequence

from recsys_assets import partitions
from recsys_assets.lib.landing.content import LandingContent
from recsys_assets.lib.raw import changes
from recsys_assets.lib.raw.rows import RAW_INTERACTIONS
from recsys_assets.orchestration.resources import Platform, StepContext


class DayCorrected(RuntimeError):
    """Files of a day changed after the day was read; names days, files and the remedy."""


def landing_content(platform: Platform) -> LandingContent:
    """Return the landing zone's files, with the digests that this home has kept."""
    settings = platform.settings
    return LandingContent(settings.landing, settings.home / "cache" / "landing")


def corrected(platform: Platform, days: Sequence[str]) -> dict[str, changes.DayChange]:
    """Return day → change of the closed days that were read and have other files since."""
    today = partitions.today(platform.settings).isoformat()
    found = changes.changed_days(
        landing_content(platform),
        platform.store,
        [day for day in days if day < today and platform.store.exists(RAW_INTERACTIONS, day)],
        partitions.time_zone(platform.settings),
    )
    return {day: change for day, change in found.items() if not change.emptied}


def require_read(context: StepContext, platform: Platform, days: Sequence[str]) -> None:
    """Refuse to train while files of the days, or of their look-back, were changed and not read.

    Late events of visitors alone are a warning: they come at any time, and what was read stays
    right without them.

    Args:
        context: of the step, for its log.
        platform: settings and artifact store.
        days: ISO, whose features are to be learned.

    Raises:
        DayCorrected: a file was written again, removed, or added by other means than the stream.
    """
    reads = {one for day in days for one in partitions.LOOK_BACK.days(platform.settings, day)}
    found = corrected(platform, sorted(reads))
    for change in found.values():
        if change.only_late_events:
            context.log.warning(f"late events are not read yet: {change}")
    wrong = {day: one for day, one in found.items() if not one.only_late_events}
    if not wrong:
        return
    commands = ", ".join(f"`recsys ingest-day {day}`" for day in wrong)
    raise DayCorrected(
        f"the landing files of {', '.join(wrong)} differ from those that {RAW_INTERACTIONS} has "
        f"read ({'; '.join(map(str, wrong.values()))}): repair or remove a file that is wrong, run "
        f"{commands} (with RECSYS_AUTOMATION=true the sensor new_day starts it), then this step "
        "again"
    )
