"""Run the whole graph on this machine, from the simulated shop to a release."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.operations import usage
from recsys_assets.operations.jobs import Clock, Partition, PipelineFailed, accepting, run_jobs
from recsys_assets.settings import Settings

#: Step of the release of the full models, whose gate may say no.
FULL_RELEASE = "serving__release"


def simulate(settings: Settings, clock: Clock | None = None) -> None:
    """Fill the landing zone with the simulated shop's history.

    An ingested landing zone is left unchanged.
    """
    from recsys_assets.lib.landing import zone
    from recsys_assets.lib.simulator import shop

    clock = clock or Clock()
    if zone.was_ingested(settings.landing):
        clock.say(
            f"landing zone: {settings.landing} was ingested (recsys ingest), so it is not simulated"
        )
        return
    summary = shop.simulate(
        Path(settings.landing),
        settings.scale,
        partitions.history_days(settings),
        settings.seed,
        settings.catalogue,
        progress=lambda what, done, total: clock.say(f"simulate {done}/{total}: {what}"),
        zone=partitions.time_zone(settings),
    )
    clock.say(f"landing zone: {len(summary['written'])} parts written, {len(summary['kept'])} kept")


def history(settings: Settings) -> list[str]:
    """Return the days to materialise.

    They are the simulator's fortnight, or every closed day of an ingested log, those without rows
    included.

    Raises:
        PipelineFailed: an ingested log has no closed day.
    """
    from recsys_assets.lib.landing import zone
    from recsys_assets.lib.landing.days import landed_days

    if not zone.was_ingested(settings.landing):
        return partitions.history_days(settings)
    first = partitions.calendar_start(settings).isoformat()
    today = partitions.today(settings).isoformat()
    landed = [day for day in landed_days(settings.landing) if first <= day < today]
    if not landed:
        raise PipelineFailed(
            f"the ingested log has no closed day from {first} on: ingest a log with `recsys ingest`"
        )
    return partitions.days_between(date.fromisoformat(first), date.fromisoformat(landed[-1]))


def default_as_of(settings: Settings, days: Sequence[str]) -> str:
    """Return the default as-of day.

    For the simulated history it is the first one with a whole window, so that two more days follow
    to fine-tune on. For an ingested log it is the newest day.
    """
    from recsys_assets.lib.landing import zone

    first = partitions.first_as_of(settings)
    simulated = not zone.was_ingested(settings.landing)
    return first if simulated and first in days else days[-1]


def full_graph(days: Sequence[str], as_of: str) -> list[tuple[str, Partition]]:
    """Return every (job, partition) of the full graph, in the order of the data flow."""
    return [
        ("catalogue", None),
        ("daily_ingest", (days[0], days[-1])),
        ("feature_store_refresh", days[-1]),
        ("full_training", as_of),
    ]


def say_releases(
    store: ArtifactStore, settings: Settings, clock: Clock, before: Collection[str]
) -> None:
    """Print which release to promote, and why the gate kept back those that a run has built.

    Args:
        store: of the releases.
        settings: of the home.
        clock: prints the lines.
        before: partitions of the releases that were there before the run.

    Raises:
        ReleaseError: no release has passed its gate.
    """
    from recsys_assets.lib.release import releases
    from recsys_assets.lib.release.rung import described

    for name in store.partitions(releases.RELEASE):
        built = releases.open_release(store, int(name))
        named = f"release {built.number} of {built.day} (rung {built.rung['name']})"
        if name in before:
            continue
        if built.failed_checks:
            clock.say(f"{named} did not pass its gate: {'; '.join(built.failed_checks)}")
        elif releases.lists_differ(store, built.number):
            clock.say(
                f"{named} serves other lists than those that were evaluated; "
                f"`recsys check-served {built.number}` shows one"
            )
    best = releases.open_release(store, releases.newest_passed(store, settings))
    clock.say(f"release {best.number} of {best.day} passed its gate; rung: {described(best.rung)}")
    for unusual in best.warnings:
        clock.say(f"unusual, but no reason to keep it back: {unusual}")


def materialize(
    settings: Settings,
    as_of: str | None = None,
    clock: Clock | None = None,
    accept_volume: Sequence[str] = (),
) -> None:
    """Materialise landing zone, daily partitions, feature store, models and release.

    Args:
        settings: of the home.
        as_of: ISO day; None: ``default_as_of``.
        clock: prints one line per job.
        accept_volume: days to take whatever their volume; "all": every day.
    """
    from recsys_assets.lib.release.releases import RELEASE
    from recsys_assets.orchestration.resources import Platform

    clock, store = clock or Clock(), Platform().store
    simulate(settings, clock)
    days, before = history(settings), store.partitions(RELEASE)
    jobs = full_graph(days, as_of or default_as_of(settings, days))
    try:
        run_jobs(settings, jobs, clock, accepting(accept_volume))
    except PipelineFailed as failed:
        if failed.blocked != {FULL_RELEASE}:
            raise
        clock.say(f"{failed}: what serves stays, or the release of the simple rung takes its place")
    say_releases(store, settings, clock, before)
    write_json(
        settings.home / "materialize.json",
        {"scale": settings.scale, "seconds": clock.seconds, "peak_gib": usage.peaks(settings)},
    )
