"""Run the whole graph on this machine, from the simulated shop to a release."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from recsys_assets import partitions
from recsys_assets.files import write_json
from recsys_assets.operations import usage
from recsys_assets.operations.jobs import (
    Clock,
    Partition,
    PipelineFailed,
    accepting_volume,
    run_jobs,
)
from recsys_assets.settings import Settings


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
    )
    clock.say(f"landing zone: {len(summary['written'])} parts written, {len(summary['kept'])} kept")


def history(settings: Settings) -> list[str]:
    """Return the days to materialise.

    They are the simulator's fortnight, or every closed day of an ingested log.

    Raises:
        PipelineFailed: an ingested log has too few days, or no row on a day between its first and
            its last.
    """
    from recsys_assets.lib.landing import zone
    from recsys_assets.lib.landing.days import landed_days

    if not zone.was_ingested(settings.landing):
        return partitions.history_days(settings)
    first, today = partitions.calendar_start(settings).isoformat(), partitions.today().isoformat()
    landed = [day for day in landed_days(settings.landing) if first <= day < today]
    if len(landed) < partitions.WINDOW_DAYS:
        raise PipelineFailed(
            f"the ingested log has {len(landed)} closed days from {first} on; a training window "
            f"needs {partitions.WINDOW_DAYS} ({partitions.TRAIN_DAYS} to train, "
            f"{partitions.VALIDATION_DAYS} to validate)"
        )
    expected = partitions.days_between(
        date.fromisoformat(landed[0]), date.fromisoformat(landed[-1])
    )
    if missing := sorted(set(expected) - set(landed)):
        raise PipelineFailed(
            f"the ingested log has no row on {', '.join(missing)}; ingest what is missing, or "
            "start after the gap with `recsys ingest --first-day`"
        )
    return landed


def default_as_of(settings: Settings, days: Sequence[str]) -> str:
    """Return the default as-of day.

    It is the first possible one where two more days follow to fine-tune on (the simulated history),
    else the newest day.
    """
    first = partitions.first_as_of(settings)
    return first if len(days) <= partitions.SIMULATED_DAYS and first in days else days[-1]


def full_graph(days: Sequence[str], as_of: str) -> list[tuple[str, Partition]]:
    """Return every (job, partition) of the full graph, in the order of the data flow.

    One run ingests all days.
    """
    return [
        ("catalogue", None),
        ("daily_ingest", (days[0], days[-1])),
        ("feature_store_refresh", days[-1]),
        ("full_training", as_of),
    ]


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
        clock: prints the progress.
        accept_volume: days to accept with an unusual volume, or "all".
    """
    clock = clock or Clock()
    simulate(settings, clock)
    days = history(settings)
    run_jobs(
        settings,
        full_graph(days, as_of or default_as_of(settings, days)),
        clock,
        accepting_volume(accept_volume),
    )
    write_json(
        settings.home / "materialize.json",
        {"scale": settings.scale, "seconds": clock.seconds, "peak_gib": usage.peaks(settings)},
    )
