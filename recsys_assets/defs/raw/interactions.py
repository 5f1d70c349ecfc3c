"""Define the asset of daily interactions from the landing zone."""

import math
import time
from collections.abc import Generator
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
    "volume": "The day has between a fifth and five times the median exposures of the same weekday "
    "in up to four weeks before, or differs by chance only; a day that is not over has no lower "
    "bound. Otherwise it warns. The newest day of a shop that is served is not materialised "
    "then, unless accept_volume is set.",
}


class InteractionsInputs(TypedDict):
    """Inputs of ``raw/interactions``."""

    items: Annotated[Artifact, Upstream("raw/items")]


class InteractionsConfig(BuildConfig):
    """Config of ``raw/interactions``."""

    accept_volume: bool = Field(
        False,
        description="Accept a newest day with far more or fewer exposures than the same weekday of "
        "the weeks before, for example a sale, an outage, or a day with live events only. Earlier "
        "days are always accepted, with a warning.",
    )


@dg.asset(
    key=KEY,
    kinds={"polars", "parquet"},
    partitions_def=partitions.daily(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="cpu",
    deps=dependencies(InteractionsInputs),
    check_specs=reporting.check_specs(KEY, CHECKS, partitions.daily()),
)
def interactions(
    context: dg.AssetExecutionContext, config: InteractionsConfig, platform: Platform
) -> reporting.Events:
    """Imports the events of a day from the landing zone.

    Reads all Parquet files of the day's landing folder, and the catalogue. Writes one row per
    event, without duplicates. A day without a file has no rows.
    """
    from recsys_assets.lib.features import daily_checks
    from recsys_assets.lib.landing.days import landed_days
    from recsys_assets.lib.raw import raw_tables
    from recsys_assets.lib.raw.volume import volume_against_history
    from recsys_assets.lib.release.champion import read_champion

    store, settings = platform.store, platform.settings
    landing, today = settings.landing, partitions.today().isoformat()
    newest = max(landed_days(landing), default="")
    serves = read_champion(settings) is not None
    items = open_inputs(InteractionsInputs, platform)["items"]

    def take(day: str) -> Generator[dg.AssetCheckResult, None, reporting.Taken]:
        landed = yield from reporting.read_under_contract(
            lambda: raw_tables.landed_interactions(landing, day, items=items, now=int(time.time()))
        )
        contract = reporting.passed_contract(landed.files, landed.extra_columns)
        volume = volume_against_history(
            landed, store, day, today, protects=serves and day >= newest
        )
        within = _volume_check(volume, config.accept_volume)
        if volume.blocks and not config.accept_volume:
            yield contract
            yield within
            raise dg.Failure(str(volume), allow_retries=False)
        built = platform.build(
            context,
            "raw/interactions",
            partition=day,
            inputs={"landing": landed.digest, "items": items},
            force=config.force,
            write=lambda staged: raw_tables.write_interactions(landed, items, staged.path),
        )
        result = reporting.result(
            built.artifact,
            reused=built.reused,
            columns=c.RAW_INTERACTIONS,
            extra=daily_checks.around_the_day(built.artifact, store, landing),
        )
        return reporting.Taken(result, (contract, within))

    yield from reporting.of_days(context, take)


def _volume_check(volume: "Volume", accepted: bool) -> dg.AssetCheckResult:
    return reporting.check(
        "volume",
        volume.within or accepted,
        value=volume.exposures,
        threshold=[round(bound, 1) for bound in volume.bounds if math.isfinite(bound)]
        or "nothing to compare with",
        blocking=volume.blocks,
        ratio=volume.ratio,
        median_of_days_before=volume.median,
        days_before=list(volume.days),
        accepted_by_hand=accepted and not volume.within,
    )
