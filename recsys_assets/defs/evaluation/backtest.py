"""Quality by as-of day, over whatever days were evaluated."""

import dagster as dg

from recsys_assets import reporting
from recsys_assets.resources import BuildConfig, Platform

OFFLINE = "evaluation/offline"


@dg.asset(key=["evaluation", "backtest"], kinds={"polars"},
          deps=[dg.AssetDep(OFFLINE.split("/"), partition_mapping=dg.AllPartitionMapping())])
def backtest(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: evaluation/offline of every as-of day that has one. Out: served, retrieval, popularity and AUC by day, a row a day."""
    from recsys_assets.lib import backtest as lib

    store = platform.store
    days = store.partitions(OFFLINE)
    inputs = {"reports": store.require(OFFLINE, days)}
    built = platform.build(context, "evaluation/backtest", inputs=inputs, force=config.force,
                           write=lambda staged: lib.write_backtest(**inputs, target=staged.path))
    return reporting.result(built.artifact, reused=built.reused)
