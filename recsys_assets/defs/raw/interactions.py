"""Daily interactions, from the landing zone into an immutable, checked partition."""

import time
from typing import Annotated, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import Upstream, dependencies, open_inputs

KEY = ["raw", "interactions"]
CHECKS = {
    "contract": "Columns, types, nulls, values, the catalogue's items, the partition's own day and "
    "no later than now, "
    "duplicates: no row may break them. Nothing is published where one does.",
    "volume": "Exposures between a fifth and five times the median of up to seven days before; "
    "nothing is published "
    "otherwise, unless accept_volume says that the shop had such a day.",
}


class InteractionsInputs(TypedDict):
    items: Annotated[Artifact, Upstream("raw/items")]


class InteractionsConfig(BuildConfig):
    accept_volume: bool = Field(
        False,
        description="Take the day though it has far more or fewer rows than the days before: "
        "a sale, an outage, a day of which only the visitors' own events landed.",
    )


@dg.asset(
    key=KEY,
    kinds={"polars", "parquet"},
    partitions_def=partitions.daily(),
    pool="cpu",
    deps=dependencies(InteractionsInputs),
    check_specs=reporting.check_specs(KEY, CHECKS, partitions.daily()),
)
def interactions(context: dg.AssetExecutionContext, config: InteractionsConfig, platform: Platform):
    """In: every Parquet file of the day's landing folder, the catalogue. Out: one row an event,
    each event once.
    """
    from recsys_assets.lib.features import daily_checks
    from recsys_assets.lib.raw import raw_tables
    from recsys_assets.lib.raw.volume import volume_against_history

    day, store, landing = context.partition_key, platform.store, platform.settings.landing
    items = open_inputs(InteractionsInputs, platform)["items"]
    landed = yield from reporting.read_under_contract(
        lambda: raw_tables.landed_interactions(landing, day, items=items, now=int(time.time()))
    )
    contract = reporting.check(
        "contract",
        True,
        value=0,
        threshold="no failure",
        files=landed.files,
        extra_columns=landed.extra_columns,
    )
    volume = volume_against_history(landed, store, day, partitions.today().isoformat())
    within = reporting.check(
        "volume",
        volume.within or config.accept_volume,
        value=volume.ratio,
        threshold=list(volume.bounds),
        exposures=volume.exposures,
        median_of_days_before=volume.median,
        days_before=list(volume.days),
        accepted_by_hand=config.accept_volume and not volume.within,
    )
    if not within.passed:
        yield from (contract, within)
        raise dg.Failure(str(volume), allow_retries=False)
    built = platform.build(
        context,
        "raw/interactions",
        partition=day,
        inputs={"landing": landed.digest, "items": items},
        force=config.force,
        write=lambda staged: raw_tables.write_interactions(landed, items, staged.path),
    )
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        columns=c.RAW_INTERACTIONS,
        extra=daily_checks.around_the_day(built.artifact, store, landing),
    )
    yield from (contract, within)
