"""Define the asset of quality over as-of days."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import Upstream, dependencies, open_inputs


class BacktestInputs(TypedDict):
    """Inputs of ``evaluation/backtest``."""

    reports: Annotated[Sequence[Artifact], Upstream("evaluation/offline", every=True)]


@dg.asset(
    key=["evaluation", "backtest"],
    kinds={"polars"},
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(BacktestInputs),
)
def backtest(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Collects quality over as-of days in one table.

    Reads all partitions of the offline evaluation. Writes one row per as-of day, with the metrics
    of served lists, retrieval and popularity, and the ranker's AUC.
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
