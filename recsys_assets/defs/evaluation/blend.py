"""Define the asset of the blend of the ranker with all sources."""

from collections.abc import Sequence
from typing import Annotated

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.defs.evaluation.judged import JudgedInputs
from recsys_assets.defs.sources.inputs import AllSources, split
from recsys_assets.defs.sources.sources import BlendedParams, blended_params
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import Upstream, dependencies, open_inputs


class BlendInputs(JudgedInputs, AllSources):
    """Inputs of ``evaluation/blend``."""

    log: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.WHOLE_WINDOW)]
    history: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.QUERY_HISTORY)]


class BlendParams(BlendedParams):
    """Parameters of ``evaluation/blend``, as its manifest records them."""

    retrieval_topk: int
    retrieval_weight: float
    new_item_places: int | str


@dg.asset(
    key=["evaluation", "blend"],
    kinds={"scipy", "onnx"},
    partitions_def=partitions.as_of(),
    pool="cpu",
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(BlendInputs),
)
def blend(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Weighs the ranker and all sources by held-out clicks, per as-of day.

    Reads the exported models, the sources, the queries and the events of the window. Writes the
    weights with the reason for them, what each source is worth, the places for new items with what
    they cost, and the tables that serve.
    """
    from recsys_assets.lib.blend import full_blend

    as_of, settings = context.partition_key, platform.settings
    opened = open_inputs(BlendInputs, platform, as_of)
    inputs, sources = split(opened, settings.allowed_sources)
    params: BlendParams = {
        **blended_params(platform, as_of),
        "retrieval_topk": settings.retrieval_topk,
        "retrieval_weight": settings.retrieval_weight,
        "new_item_places": settings.new_item_places,
    }
    built = platform.build(
        context,
        "evaluation/blend",
        partition=as_of,
        inputs={**inputs, **sources},
        params={**params},
        force=config.force,
        write=lambda staged: full_blend.write(
            **inputs, sources=sources, target=staged.path, **params
        ),
    )
    return reporting.result(built.artifact, reused=built.reused)
