"""Define the assets that refit the champion's sources on a new day, and weigh them."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.corrections import require_read
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class RefitInputs(TypedDict):
    """Inputs of ``fine_tune/sources``."""

    rows: Annotated[Artifact, Upstream("fine_tune/rows", SAME)]
    added_items: Annotated[Artifact, Upstream("fine_tune/items", SAME)]
    log: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.WHOLE_WINDOW)]
    items: Annotated[Artifact, Upstream("raw/items")]


class RefitParams(TypedDict):
    """Parameters of ``fine_tune/sources``, as its manifest records them."""

    seed: int
    time_zone: str


class TunedBlendInputs(TypedDict):
    """Inputs of ``fine_tune/blend``."""

    rows: Annotated[Artifact, Upstream("fine_tune/rows", SAME)]
    query_tower: Annotated[Artifact, Upstream("fine_tune/query_tower", SAME)]
    dlrm: Annotated[Artifact, Upstream("fine_tune/dlrm", SAME)]
    added_items: Annotated[Artifact, Upstream("fine_tune/items", SAME)]
    sources: Annotated[Artifact, Upstream("fine_tune/sources", SAME)]
    items: Annotated[Artifact, Upstream("raw/items")]
    days_before: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.DAY_BEFORE)
    ]
    interactions: Annotated[
        Sequence[Artifact], Upstream("raw/interactions", partitions.RECENT_WINDOW)
    ]


class TunedBlendParams(RefitParams):
    """Parameters of ``fine_tune/blend``, as its manifest records them."""

    retrieval_topk: int
    new_item_places: int | str


def refit_params(platform: Platform) -> RefitParams:
    """Return the parameters of both assets."""
    settings = platform.settings
    return {"seed": settings.seed, "time_zone": partitions.time_zone(settings)}


@dg.asset(
    key=["fine_tune", "sources"],
    kinds={"scipy"},
    partitions_def=partitions.daily(),
    pool="cpu",
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(RefitInputs),
)
def sources(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Refits the champion's sources on the window that ends with a new day, per day.

    Reads the events of the window, the items of the day's fine-tune, and the parameters that the
    champion's full training chose. Writes tables twice: without the new day, to be judged by it,
    and with it, to serve.
    """
    from recsys_assets.lib.fine_tune import refit

    day, store = context.partition_key, platform.store
    inputs = open_inputs(RefitInputs, platform, day)
    require_read(context, platform, partitions.window_days(day, platform.settings))
    base = store.open(inputs["rows"].manifest["inputs"]["champion"])
    made_from = refit.generation_parts(store, base, inputs["added_items"])
    fitted = refit.fitted_before(store, base, platform.settings.allowed_sources)
    params = refit_params(platform)
    built = platform.build(
        context,
        "fine_tune/sources",
        partition=day,
        inputs={**inputs, **made_from, **fitted},
        params={**params},
        force=config.force,
        write=lambda staged: refit.write_sources(
            fitted=fitted,
            log=inputs["log"],
            items=inputs["items"],
            **made_from,
            target=staged.path,
            day=day,
            **params,
        ),
    )
    return reporting.result(built.artifact, reused=built.reused)


@dg.asset(
    key=["fine_tune", "blend"],
    kinds={"scipy", "onnx"},
    partitions_def=partitions.daily(),
    pool="cpu",
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(TunedBlendInputs),
)
def blend(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Weighs the ranker and the refitted sources by the held-out clicks of a new day, per day.

    Reads the fine-tuned models, the refitted sources, the day's held-out rows and the champion.
    Writes the weights with the reason for them, the places for new items, and the tables that
    serve. The champion's weights stay, unless others are surely better.
    """
    from recsys_assets.lib.fine_tune import reblend

    day, settings = context.partition_key, platform.settings
    inputs = open_inputs(TunedBlendInputs, platform, day)
    params: TunedBlendParams = {
        **refit_params(platform),
        "retrieval_topk": settings.retrieval_topk,
        "new_item_places": settings.new_item_places,
    }
    built = platform.build(
        context,
        "fine_tune/blend",
        partition=day,
        inputs=inputs,
        params={**params},
        force=config.force,
        write=lambda staged: reblend.write_tuned_blend(
            store=platform.store, **inputs, target=staged.path, day=day, **params
        ),
    )
    return reporting.result(built.artifact, reused=built.reused)
