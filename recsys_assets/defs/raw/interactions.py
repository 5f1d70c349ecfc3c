"""Daily interactions, from the landing zone into an immutable, checked partition."""

import dagster as dg

from recsys_assets import columns as c
from recsys_assets import partitions, reporting
from recsys_assets.resources import BuildConfig, Platform

KEY = ["raw", "interactions"]
CHECKS = {
    "contract": "Columns, types, keys, event types, the partition's own day, duplicates: no row may break them.",
    "volume": "Exposures between a fifth and five times the median of the days before.",
}


@dg.asset(
    key=KEY, kinds={"polars", "parquet"}, partitions_def=partitions.daily(), pool="cpu",
    check_specs=reporting.check_specs(KEY, partitions.daily(), **CHECKS),
)
def interactions(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform):
    """In: every Parquet file of the day's landing folder. Out: one row an event, each event once."""
    from recsys_assets.lib import ingestion

    day = context.partition_key
    landed = yield from reporting.read_under_contract(lambda: ingestion.landed_interactions(platform.settings.landing, day))
    built = platform.build(
        context, "raw/interactions", partition=day, inputs={"landing": landed.digest}, force=config.force,
        code=["recsys_assets.lib.ingestion", "recsys_assets.lib.contracts"],
        write=lambda staged: ingestion.write_interactions(landed, staged.path))
    volume = ingestion.volume_against_history(built.artifact, platform.store, day)
    yield reporting.result(built.artifact, reused=built.reused, columns=c.RAW_INTERACTIONS)
    yield reporting.check("contract", True, value=0, threshold="no failure", files=landed.files)
    yield reporting.check("volume", volume.within, value=volume.ratio, threshold=list(volume.bounds),
                          median_of_days_before=volume.median)
