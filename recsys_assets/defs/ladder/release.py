"""Define the asset of the releases of simple rungs."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.orchestration import compute, reporting, served_check
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class SimpleReleaseInputs(TypedDict):
    """Inputs of ``ladder/release``."""

    rung: Annotated[Artifact, Upstream("ladder/simple_rung", SAME)]
    models: Annotated[Artifact, Upstream("ladder/simple_models", SAME)]
    fusion: Annotated[Artifact, Upstream("ladder/fusion", SAME)]
    queries: Annotated[Artifact, Upstream("evaluation/queries", SAME)]
    log: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.WHOLE_WINDOW)]
    days_before: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.BEFORE_VALIDATION)
    ]
    newest: Annotated[Artifact, Upstream("features/interactions", SAME)]
    raw_items: Annotated[Artifact, Upstream("raw/items")]
    workflows: Annotated[Artifact, Upstream("features/workflows", SAME)]
    aligned: Annotated[Artifact, Upstream("embeddings/aligned", SAME)]
    popularity: Annotated[Artifact, Upstream("features/popularity", SAME)]
    seen_rule: Annotated[Artifact, Upstream("features/seen_rule", SAME)]


class SimpleVerdictParams(TypedDict):
    """Parameters of ``ladder/verdict``, as its manifest records them."""

    seed: int
    retrieval_topk: int
    ndcg_tolerance: float


@dg.asset(
    key=["ladder", "release"],
    kinds={"triton"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.as_of(),
    deps=dependencies(SimpleReleaseInputs),
    check_specs=[
        dg.AssetCheckSpec(
            "gate",
            asset=dg.AssetKey(["ladder", "release"]),
            partitions_def=partitions.as_of(),
            description="The release may be promoted: the index is exact, and nothing that serves "
            "is better. Warns otherwise: the champion then stays.",
        ),
        *served_check.served_specs(["ladder", "release"], partitions.as_of(), blocking=False),
    ],
)
def release(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Builds the release of the simple rung, per as-of day, with the gate verdict.

    Reads the rung, its models, the catalogue and the champion. The release serves where the full
    models cannot be trained yet, or lose against it.
    """
    from recsys_assets.lib.gates import simple

    as_of, settings, store = context.partition_key, platform.settings, platform.store
    parts = open_inputs(SimpleReleaseInputs, platform, as_of)
    built = simple.existing_release(store, settings, parts)
    if built is None:
        inputs, limits = simple.verdict_inputs(store, settings, parts), Limits()
        params: SimpleVerdictParams = {
            "seed": settings.seed,
            "retrieval_topk": settings.retrieval_topk,
            "ndcg_tolerance": limits.ndcg_tolerance,
        }
        judged = platform.build(
            context,
            "ladder/verdict",
            partition=as_of,
            inputs=inputs,
            params=params,
            force=config.force,
            write=lambda staged: simple.write_simple_verdict(
                store, staged.path, as_of=as_of, **inputs, **params
            ),
        )
        built = simple.build_simple_release(store, settings, as_of, parts, judged.artifact)
    verdict = built.metrics["gate"]
    return reporting.released(
        built,
        checks=[
            reporting.check(
                "gate",
                verdict["passed"],
                value={one["name"]: one["value"] for one in verdict["checks"]},
                threshold={one["name"]: one["threshold"] for one in verdict["checks"]},
                blocking=False,
            ),
            served_check.served_check(context, platform, built, force=config.force, blocking=False),
        ],
    )
