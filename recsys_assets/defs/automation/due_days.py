"""Find the days to ingest; shared by the sensor ``new_day`` and the schedule ``ingest_daily``."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg

from recsys_assets import partitions
from recsys_assets.files import sha256_json
from recsys_assets.orchestration import work
from recsys_assets.orchestration.corrections import landing_content
from recsys_assets.orchestration.resources import Platform

from .jobs import daily_features, daily_ingest

if TYPE_CHECKING:
    from recsys_assets.lib.raw.changed_catalogue import LandedCatalogue
    from recsys_assets.lib.raw.changes import DayChange

RAW = dg.AssetKey(["raw", "interactions"])
FEATURES = dg.AssetKey(["features", "interactions"])
#: Tag of a run that takes corrected days: what changed in their landing files.
CHANGED, LONGEST_TAG = "recsys/changed", 500
#: Runs among which the last one on a day is looked for.
RUNS_LOOKED_AT = 100


@dataclass(frozen=True)
class Days:
    """Compares the landing zone with the days that were read.

    Attributes:
        context: of a sensor or a schedule.
        platform: settings and artifact store.
        today: ISO, in the shop's time zone; days before it are over.
    """

    context: work.Context
    platform: Platform
    today: str

    @cached_property
    def pending(self) -> dict[str, str]:
        """Return day → id of the run that reads it now, or waits to."""
        return work.pending_days(self.context.instance, daily_ingest.name, asset=RAW)

    @cached_property
    def landed(self) -> list[str]:
        """Return the days of the calendar that are over and have a landing folder, sorted."""
        from recsys_assets.lib.landing import days

        landed, calendar = days.landed_days(self.platform.settings.landing), partitions.daily()
        return [day for day in landed if day < self.today and calendar.has_partition_key(day)]

    @cached_property
    def closed(self) -> list[str]:
        """Return the days from the calendar's first to the last landed one."""
        first = partitions.calendar_start(self.platform.settings)
        if not self.landed:
            return []
        return partitions.days_between(first, date.fromisoformat(self.landed[-1]))

    @cached_property
    def changed(self) -> dict[str, "DayChange"]:
        """Return day → change of the closed days whose files differ from those that were read."""
        from recsys_assets.lib.raw import changes

        settings = self.platform.settings
        return changes.changed_days(
            landing_content(self.platform),
            self.platform.store,
            self.closed,
            partitions.time_zone(settings),
        )

    @cached_property
    def catalogue(self) -> "LandedCatalogue":
        """Return the landed catalogue, compared with what was imported."""
        from recsys_assets.lib.raw import changed_catalogue

        return changed_catalogue.landed_catalogue(
            landing_content(self.platform), self.platform.store
        )

    @property
    def unread(self) -> dict[str, "DayChange"]:
        """Return day → change of the days that no run has read, nor takes now."""
        return {
            day: change
            for day, change in self.changed.items()
            if not change.read and day not in self.pending
        }

    def read_in_part(self, day: str) -> bool:
        """Return whether a past day was read before its end, and has other files since."""
        return day in self.changed and not self.changed[day].read

    @property
    def corrected(self) -> dict[str, "DayChange"]:
        """Return day → change of the days that were read and have other files since."""
        return {
            day: change
            for day, change in self.changed.items()
            if change.read and not change.emptied and day not in self.pending
        }

    @property
    def emptied(self) -> list[str]:
        """Return the days that were read and whose files are gone.

        A run of ``daily_ingest`` would read them as empty days.
        """
        return [day for day, change in self.changed.items() if change.emptied]

    def tell_emptied(self) -> None:
        """Log the days whose files are gone."""
        emptied = self.emptied
        if emptied:
            self.context.log.info(
                f"the files of {', '.join(emptied)} are gone; these days stay as they were read "
                "(to read them as empty days: `recsys ingest-day DAY`)"
            )

    def in_progress(self) -> bool:
        """Return whether a run that reads days or computes their features has not ended."""
        instance = self.context.instance
        return bool(
            work.unfinished(instance, daily_ingest.name, asset=RAW)
            or work.unfinished(instance, daily_features.name, asset=FEATURES)
        )

    def digests(self, changed: Mapping[str, "DayChange"]) -> dict[str, str]:
        """Return day → digest of its files now, and of the catalogue's.

        A day that named items of no catalogue is tried again with another one. The last
        materialisation is part of it too: content that comes back after another correction is one
        more correction.
        """
        made = self._materialisations(RAW, changed)
        return {
            day: sha256_json([change.digest, made.get(day), self.catalogue.digest])[:12]
            for day, change in changed.items()
        }

    def outdated(self) -> dict[str, str]:
        """Return the days whose features read a day that changed since.

        Returns:
            Day → a digest of what has changed, and when the day was last computed.
        """
        from recsys_assets.lib.features import freshness

        found = freshness.outdated_days(self.platform.store, self.closed)
        read = self._materialisations(
            RAW, {one for changed in found.values() for kind, one in changed}
        )
        made = self._materialisations(FEATURES, found)
        for day, changed in found.items():
            self.context.log.info(
                f"features of {day} follow a correction of "
                + ", ".join(f"{kind} of {one}" for kind, one in changed)
            )
        return {
            day: sha256_json([[*changed], [read.get(one) for _, one in changed], made.get(day)])[
                :12
            ]
            for day, changed in found.items()
        }

    def left_out(self, unread: Collection[str]) -> dict[str, str]:
        """Return the days that were read and have no masked train set.

        Returns:
            Day → a digest of the raw days that its features read, and of the catalogue's files.
        """
        store, found = self.platform.store, {}
        for day in self.closed:
            if day in unread or day in self.pending or store.exists("features/masked_train", day):
                continue
            around = partitions.LOOK_BACK.days(self.platform.settings, day)
            versions = [store.version("raw/interactions", one) for one in around]
            read = [one for one in versions if one]
            found[day] = sha256_json([read, self.catalogue.digest])[:12]
        return found

    def _materialisations(self, key: dg.AssetKey, days: Iterable[str]) -> dict[str, int]:
        """Return day → storage id of its last materialisation; a day without one is absent."""
        wanted = set(days)
        if not wanted:
            return {}
        return dict(
            self.context.instance.event_log_storage.get_latest_storage_id_by_partition(
                key, dg.DagsterEventType.ASSET_MATERIALIZATION, wanted
            )
        )


def consecutive(days: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the days, each with its digest, in groups without a gap, oldest first."""
    groups: list[dict[str, str]] = []
    for day, digest in sorted(days.items()):
        if not groups or partitions.previous_day(day) not in groups[-1]:
            groups.append({})
        groups[-1][day] = digest
    return groups


def run_of(
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
    key = (
        f"{name}-{first}-{days[first]}"
        if first == last
        else f"{name}-{first}-{last}-{sha256_json(days)[:12]}"
    )
    return work.request(
        key, job, (first, last), tags={CHANGED: changed[:LONGEST_TAG]} if changed else None
    )


def runs_of(
    job: str, name: str, days: Mapping[str, str], tell: Mapping[str, str] | None = None
) -> list[dg.RunRequest]:
    """Return one request per group of consecutive days, oldest first; see ``run_of``."""
    return [run_of(job, name, group, tell) for group in consecutive(days)]


def told(changed: Mapping[str, "DayChange"]) -> dict[str, str]:
    """Return day → what changed in words, of corrected days."""
    return {day: str(change) for day, change in changed.items() if change.read}


def scheduled(days: Days) -> list[dg.RunRequest]:
    """Return the runs by which a schedule takes every day that is due, in their order.

    First come corrected days, together with the days whose features read them. Then come unread
    days and days that a failed run left out. All are runs of ``daily_ingest``, which reuses what
    has not changed. Days whose files are gone are left out, because they would be read as empty.
    """
    days.tell_emptied()
    unread, again, gone = days.unread, dict[str, str](), set(days.emptied)
    new = {**days.left_out(unread), **days.digests(unread)}
    corrected = days.corrected
    if not days.in_progress():
        again = {**days.outdated(), **days.digests(corrected)}
        again |= {day: "follows" for day in _followers(days, corrected) if day not in again}
    for change in corrected.values():
        days.context.log.info(f"corrected: {change}")
    again = {day: digest for day, digest in again.items() if day not in new}
    return [
        *runs_of(daily_ingest.name, "correct", _without(again, gone), told(corrected)),
        *runs_of(daily_ingest.name, "ingest", _without(new, gone)),
    ]


def _without(days: Mapping[str, str], gone: Collection[str]) -> dict[str, str]:
    return {day: digest for day, digest in days.items() if day not in gone}


def _followers(days: Days, corrected: Iterable[str]) -> set[str]:
    """Return the read days whose features read a corrected day."""
    wanted = set(corrected)
    if not wanted:
        return set()
    return {
        day
        for day in days.closed
        if day not in days.changed
        and not wanted.isdisjoint(partitions.LOOK_BACK.days(days.platform.settings, day))
    }


def why_not(days: Days, day: str) -> str:
    """Return why a day is not ingested, and what happens next."""
    if day in days.pending:
        return f"{day} is being ingested ({work.shown(days.pending[day])})"
    if not days.landed or day > days.landed[-1]:
        newest = f"the newest landed day is {days.landed[-1]}" if days.landed else "no day landed"
        return (
            f"{day} has not landed ({newest}); once it or a later day lands, the next tick takes it"
        )
    failed = _failed(days, day)
    if failed:
        return (
            f"the ingest of {day} failed ({work.shown(failed)}): repair what its message names; "
            "the schedule ingest_daily tries again"
        )
    return f"{day} is not ingested yet (job {daily_ingest.name})"


def _failed(days: Days, day: str) -> str | None:
    """Return the id of the newest run of ``daily_ingest`` on a day, if it failed."""
    runs = days.context.instance.get_runs(
        dg.RunsFilter(job_name=daily_ingest.name), limit=RUNS_LOOKED_AT
    )
    of_day = [run for run in runs if day in work.days_of(run)]
    return of_day[0].run_id if of_day and of_day[0].is_failure else None
