"""Define the asset of the fusion of the sources beside the simple rung."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.defs.sources.inputs import OtherSources, split
from recsys_assets.defs.sources.sources import BlendedParams, blended_params
from recsys_assets.orchestration import compute, reporting, session_check
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class FusionInputs(OtherSources):
    """Inputs of ``ladder/fusion``."""

    rung: Annotated[Artifact, Upstream("ladder/simple_rung", SAME)]
    fitted: Annotated[Artifact, Upstream("sources/item_to_item", SAME)]
    queries: Annotated[Artifact, Upstream("evaluation/queries", SAME)]
    log: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.WHOLE_WINDOW)]
    history: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.QUERY_HISTORY)]
    workflows: Annotated[Artifact, Upstream("features/workflows", SAME)]
    aligned: Annotated[Artifact, Upstream("embeddings/aligned", SAME)]


class FusionParams(BlendedParams):
    """Parameters of ``ladder/fusion``, as its manifest records them."""

    retrieval_topk: int
    new_item_places: int | str


KEY = ["ladder", "fusion"]


@dg.asset(
    key=KEY,
    kinds={"scipy"},
    partitions_def=partitions.as_of(),
    pool="cpu",
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(FusionInputs),
    check_specs=reporting.check_specs(KEY, session_check.SPEC, partitions.as_of(), blocking=False),
)
def fusion(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Weighs the other sources by held-out clicks beside the simple rung, per as-of day.

    Reads the sources, the simple rung, the queries and the events of the window. Writes the weights
    with the reason for them, what each source is worth, the places for new items with what they
    cost, and the tables that serve. The release of the simple rung contains them where the fusion
    is better than the rung alone. It shows how far the clicks of a session move the list of the
    better one.
    """
    from recsys_assets.lib.ladder import fusion as ladder

    as_of = context.partition_key
    opened = open_inputs(FusionInputs, platform, as_of)
    inputs, sources = split(opened, platform.settings.allowed_sources)
    params: FusionParams = {
        **blended_params(platform, as_of),
        "retrieval_topk": platform.settings.retrieval_topk,
        "new_item_places": platform.settings.new_item_places,
    }
    built = platform.build(
        context,
        "ladder/fusion",
        partition=as_of,
        inputs={**inputs, **sources},
        params={**params},
        force=config.force,
        write=lambda staged: ladder.write_fusion(
            **inputs, sources=sources, target=staged.path, **params
        ),
    )
    metrics = dict(built.artifact.metrics)
    moves = metrics.pop("session_moves")  # a table: the UI need not plot each number
    shown = dataclasses.replace(
        built.artifact, manifest={**built.artifact.manifest, "metrics": metrics}
    )
    check = session_check.check(moves, inputs["queries"].metrics["items"])
    return reporting.result(shown, reused=built.reused, checks=[check])
