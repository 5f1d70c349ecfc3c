"""Quality by as-of day, over whatever days were evaluated."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import Upstream, dependencies, open_inputs


class BacktestInputs(TypedDict):
    reports: Annotated[Sequence[Artifact], Upstream("evaluation/offline", every=True)]


@dg.asset(key=["evaluation", "backtest"], kinds={"polars"}, deps=dependencies(BacktestInputs))
def backtest(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: evaluation/offline of every as-of day that has one. Out: served, retrieval, popularity
    and AUC by day, a row a day.
    """
    from recsys_assets.lib.evaluation import backtest as lib

    inputs = open_inputs(BacktestInputs, platform)
    built = platform.build(
        context,
        "evaluation/backtest",
        inputs=inputs,
        force=config.force,
        write=lambda staged: lib.write_backtest(**inputs, target=staged.path),
    )
    return reporting.result(built.artifact, reused=built.reused)
