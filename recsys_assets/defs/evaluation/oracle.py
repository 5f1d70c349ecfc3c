"""What whoever knows the simulator's own click model would reach, on the same queries."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class OracleInputs(TypedDict):
    queries: Annotated[Artifact, Upstream("evaluation/queries", SAME)]
    features: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.VALIDATION)
    ]


@dg.asset(
    key=["evaluation", "oracle"],
    kinds={"numpy"},
    partitions_def=partitions.as_of(),
    deps=dependencies(OracleInputs),
)
def oracle(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: queries, the simulator's truth. Out: lists by true click probability and its AUC; nothing
    for a log that was ingested.
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
