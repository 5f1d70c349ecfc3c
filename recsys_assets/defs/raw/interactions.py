"""Define the asset of daily interactions from the landing zone."""

import time
from typing import TYPE_CHECKING, Annotated, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import Upstream, dependencies, open_inputs

if TYPE_CHECKING:
    from recsys_assets.lib.raw.volume import Volume

KEY = ["raw", "interactions"]
CHECKS = {
    "contract": "All rows meet the contract: columns, types, nulls, values, items of the "
    "catalogue, timestamps within the day and not in the future, no duplicates. Otherwise nothing "
    "is materialised.",
    "volume": "The day has between a fifth and five times the median exposures of up to seven days "
    "before; a day that is not over has no lower bound. Otherwise nothing is materialised, unless "
    "accept_volume is set.",
}


class InteractionsInputs(TypedDict):
    """Inputs of ``raw/interactions``."""

    items: Annotated[Artifact, Upstream("raw/items")]


class InteractionsConfig(BuildConfig):
    """Config of ``raw/interactions``."""

    accept_volume: bool = Field(
        False,
        description="Accept a day with far more or fewer exposures than the days before, for "
        "example a sale, an outage, or a day with live events only.",
    )


@dg.asset(
    key=KEY,
    kinds={"polars", "parquet"},
    partitions_def=partitions.daily(),
    pool="cpu",
    deps=dependencies(InteractionsInputs),
    check_specs=reporting.check_specs(KEY, CHECKS, partitions.daily()),
)
def interactions(
    context: dg.AssetExecutionContext, config: InteractionsConfig, platform: Platform
) -> reporting.Events:
    """Imports the events of a day from the landing zone.

    Reads all Parquet files of the day's landing folder, and the catalogue. Writes one row per
    event, without duplicates. A day without files has no rows.
    """
    from recsys_assets.lib.features import daily_checks
    from recsys_assets.lib.raw import raw_tables
    from recsys_assets.lib.raw.volume import volume_against_history

    day, store, landing = context.partition_key, platform.store, platform.settings.landing
    zone, today = (
        partitions.time_zone(platform.settings),
        partitions.today(platform.settings).isoformat(),
    )
    items = open_inputs(InteractionsInputs, platform)["items"]
    landed = yield from reporting.read_under_contract(
        lambda: raw_tables.landed_interactions(
            landing, day, items=items, now=int(time.time()), zone=zone
        )
    )
    contract = reporting.check(
        "contract",
        True,
        value=0,
        threshold="no failure",
        files=landed.files,
        extra_columns=landed.extra_columns,
    )
    volume = volume_against_history(landed, store, day, today)
    within = _volume_check(volume, config.accept_volume)
    if not within.passed:
        yield from (contract, within)
        raise dg.Failure(str(volume), allow_retries=False)
    built = platform.build(
        context,
        "raw/interactions",
        partition=day,
        inputs={"landing": landed.digest, "items": items},
        params={"time_zone": zone},
        force=config.force,
        write=lambda staged: raw_tables.write_interactions(landed, items, staged.path, zone),
    )
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        columns=c.RAW_INTERACTIONS,
        extra=daily_checks.around_the_day(built.artifact, store, landing),
    )
    yield from (contract, within)


def _volume_check(volume: "Volume", accepted: bool) -> dg.AssetCheckResult:
    return reporting.check(
        "volume",
        volume.within or accepted,
        value=volume.ratio,
        threshold=list(volume.bounds),
        exposures=volume.exposures,
        median_of_days_before=volume.median,
        days_before=list(volume.days),
        accepted_by_hand=accepted and not volume.within,
    )
