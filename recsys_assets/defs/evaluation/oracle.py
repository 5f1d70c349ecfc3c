"""Define the asset of the oracle, which ranks by true click probabilities."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class OracleInputs(TypedDict):
    """Inputs of ``evaluation/oracle``."""

    queries: Annotated[Artifact, Upstream("evaluation/queries", SAME)]
    features: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.VALIDATION)
    ]


@dg.asset(
    key=["evaluation", "oracle"],
    kinds={"numpy"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.as_of(),
    deps=dependencies(OracleInputs),
)
def oracle(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Ranks the catalogue by the simulator's true click probabilities, per as-of day.

    Reads the queries, the validation days and the simulator's truth. Writes the oracle's list per
    query, its metrics and the AUC of the true probabilities. Without a simulated landing zone, it
    writes no lists.
    """
    from recsys_assets.lib.evaluation import oracle as truth

    as_of, settings = context.partition_key, platform.settings
    inputs = open_inputs(OracleInputs, platform, as_of)
    built = platform.build(
        context,
        "evaluation/oracle",
        partition=as_of,
        inputs={**inputs, "truth": truth.truth_digest(settings.landing)},
        params={"seed": settings.seed},
        force=config.force,
        write=lambda staged: truth.write_oracle(
            settings.landing, **inputs, target=staged.path, seed=settings.seed
        ),
    )
    return reporting.result(built.artifact, reused=built.reused)
