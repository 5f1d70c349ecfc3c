"""Define the asset of daily interactions from the landing zone."""

import time
from typing import TYPE_CHECKING, Annotated, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, days, freshness_policies, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import Upstream, dependencies, open_inputs

if TYPE_CHECKING:
    from recsys_assets.lib.raw.raw_tables import Landed
    from recsys_assets.lib.raw.volume import Volume

KEY = ["raw", "interactions"]
CHECKS = {
    "contract": "All rows meet the contract: columns, types, nulls, values, items of the "
    "catalogue, timestamps within the day and not in the future, no duplicates. Otherwise nothing "
    "is materialised.",
    "volume": "The day has between a fifth and five times the median exposures of the same weekday "
    "of up to four weeks before (of up to seven days before in a short log), give or take chance; "
    "a day that is not over has no lower bound. Otherwise it warns. On the newest landed day it "
    "blocks if a release is being served, and nothing is materialised unless accept_volume names "
    "the day.",
}


class InteractionsInputs(TypedDict):
    """Inputs of ``raw/interactions``."""

    items: Annotated[Artifact, Upstream("raw/items")]


class InteractionsConfig(BuildConfig):
    """Config of ``raw/interactions``."""

    keep_arrivals: bool = Field(
        True,
        description="An event that was read before keeps its first arrival. Off: the landing files "
        "alone say when events arrived, for example after an ingest that maps another column.",
    )
    accept_volume: list[str] = Field(
        [],
        description="Days (2026-11-20) to accept although they have far more or fewer exposures "
        "than usual, for example a sale, an outage, or a day with live events only; all: every day "
        "of the run.",
    )

    def accepts(self, day: str) -> bool:
        """Return whether the volume of a day is accepted by hand."""
        return not {day, "all"}.isdisjoint(self.accept_volume)


@dg.asset(
    key=KEY,
    freshness_policy=freshness_policies.INGESTED,
    kinds={"polars", "parquet"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.daily(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="cpu",
    deps=dependencies(InteractionsInputs),
    check_specs=reporting.check_specs(KEY, CHECKS, partitions.daily()),
)
def interactions(
    context: dg.AssetExecutionContext, config: InteractionsConfig, platform: Platform
) -> days.DayEvents:
    """Imports the events of a day from the landing zone.

    Reads all Parquet files of the day's landing folder, the log of answers, and the catalogue.
    Writes one row per event, without duplicates, with the time of its first arrival. A shown item
    of the log without an event is an Impression. A day without a file has no rows.
    """
    items = open_inputs(InteractionsInputs, platform)["items"]
    yield from days.each_day(context, lambda day: _one_day(context, config, platform, items, day))


def _one_day(
    context: dg.AssetExecutionContext,
    config: InteractionsConfig,
    platform: Platform,
    items: Artifact,
    day: str,
) -> reporting.Events:
    from recsys_assets.lib.features import daily_checks
    from recsys_assets.lib.raw import raw_tables
    from recsys_assets.lib.raw.volume import volume_against_history

    store, settings = platform.store, platform.settings
    landing, zone = settings.landing, partitions.time_zone(settings)
    before = (
        store.current("raw/interactions", day)
        if config.keep_arrivals and store.exists("raw/interactions", day)
        else None
    )
    landed = yield from reporting.read_under_contract(
        lambda: raw_tables.landed_interactions(
            landing,
            day,
            items=items,
            now=int(time.time()),
            zone=zone,
            before=before,
            served=settings.served_impressions,
        )
    )
    contract = reporting.contract_kept(landed.files, landed.extra_columns)
    volume = volume_against_history(landed, store, day, partitions.today(settings).isoformat())
    within = _volume_check(volume, landed, config, platform)
    if not within.passed and within.severity == dg.AssetCheckSeverity.ERROR:
        yield from (contract, within)
        raise dg.Failure(str(volume), allow_retries=False)
    built = platform.build(
        context,
        "raw/interactions",
        partition=day,
        inputs={
            "landing": landed.digest,
            "items": items,
            # not the version before itself: reading the same files again builds nothing
            **({"arrivals": landed.kept_arrivals} if landed.kept_arrivals else {}),
        },
        params={
            "time_zone": zone,
            # only where it counts: a day without a log of answers stays as it was built
            **({"served": settings.served_impressions} if landed.served else {}),
        },
        force=config.force,
        write=lambda staged: raw_tables.write_interactions(landed, items, staged.path, zone),
    )
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        columns=c.ARRIVED_INTERACTIONS,
        extra=daily_checks.around_the_day(built.artifact, store, landing),
    )
    yield from (contract, within)


def _volume_check(
    volume: "Volume", landed: "Landed", config: InteractionsConfig, platform: Platform
) -> dg.AssetCheckResult:
    """Return the check ``volume``; it blocks only the newest day of a shop that is served."""
    from recsys_assets.lib.raw.volume import is_newest, was_published
    from recsys_assets.lib.release.champion import read_champion

    day, today = volume.day, partitions.today(platform.settings).isoformat()
    accepted = not volume.within and config.accepts(day)
    blocks = not volume.within and (
        # a first release is never kept back, and a day that was published once is accepted
        read_champion(platform.settings) is not None
        and is_newest(platform.settings.landing, day, today)
        and not was_published(landed, platform.store, day)
    )
    return reporting.check(
        "volume",
        volume.within or accepted,
        value=volume.exposures,
        threshold=list(volume.bounds or ()),
        blocking=blocks,
        verdict=volume.verdict,
        ratio=volume.ratio,
        compared_with=list(volume.days),
        accepted_by_hand=accepted,
    )
