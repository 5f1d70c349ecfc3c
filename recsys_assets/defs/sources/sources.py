"""Define the assets of the sources of candidates, one asset each."""

from collections.abc import Mapping, Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs
from recsys_assets.source_names import (
    EASE,
    FOLLOW_UPS,
    IALS,
    ITEM_KNN,
    ITEM_TO_ITEM,
    OWN_ITEMS,
    POPULAR_NOW,
    POPULARITY,
    SESSION_KNN,
    SOURCE_NAMES,
    YOUNG_ITEMS,
)


class ItemToItemInputs(TypedDict):
    """Inputs of ``sources/item_to_item``."""

    interactions: Annotated[
        Sequence[Artifact], Upstream("raw/interactions", partitions.WHOLE_WINDOW)
    ]
    inner: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.INNER)]
    items: Annotated[Artifact, Upstream("raw/items")]
    workflows: Annotated[Artifact, Upstream("features/workflows", SAME)]
    seen_rule: Annotated[Artifact, Upstream("features/seen_rule", SAME)]


class SourceInputs(ItemToItemInputs):
    """Inputs of any other source."""

    aligned: Annotated[Artifact, Upstream("embeddings/aligned", SAME)]


class FitParams(TypedDict):
    """Parameters of a source, as its manifest records them."""

    train_days: list[str]
    seed: int
    time_zone: str


class BlendedParams(FitParams):
    """Parameters of a blend, and of item-to-item, as the manifest records them."""

    look_back_days: int


#: Source → the first sentence of its asset.
_DOES: Mapping[str, str] = {
    FOLLOW_UPS: "Counts what visitors clicked after an item, per as-of day.",
    ITEM_KNN: "Finds the items that the same visitors clicked (item-kNN), per as-of day.",
    EASE: "Fits linear item-to-item weights (EASE), per as-of day.",
    IALS: "Factorises the clicks (iALS), per as-of day; visitors are folded in when they ask.",
    SESSION_KNN: "Indexes past sessions by their items (session-kNN), per as-of day.",
    POPULARITY: "Ranks the items by recent clicks, per as-of day.",
    OWN_ITEMS: "Tunes how fast a visitor's own clicks fade, per as-of day.",
    YOUNG_ITEMS: "Lists the items with few clicks, which content can recommend, per as-of day.",
    POPULAR_NOW: "Chooses how fast the clicks of all visitors fade in the online counts, per as-of "
    "day.",
}


def fit_params(platform: Platform, as_of: str) -> FitParams:
    """Return the parameters of a source of an as-of day."""
    settings = platform.settings
    return {
        "train_days": partitions.train_days(as_of, settings),
        "seed": settings.seed,
        "time_zone": partitions.time_zone(settings),
    }


def blended_params(platform: Platform, as_of: str) -> BlendedParams:
    """Return the parameters of a blend of an as-of day."""
    look_back_days = platform.settings.look_back_days
    return {**fit_params(platform, as_of), "look_back_days": look_back_days}


def _asset(name: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["sources", name],
        description=f"{_DOES[name]}\n\nReads the events of the window. Tunes its parameters on "
        "the last training days, then fits tables twice: on the training days, to be judged, and "
        "on all days, to serve.",
        kinds={"scipy"},
        partitions_def=partitions.as_of(),
        pool="cpu",
        op_tags=compute.step_tags("CPU_LARGE"),
        deps=dependencies(SourceInputs),
    )
    def source(
        context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
    ) -> reporting.Materialized:
        from recsys_assets.lib.blend import source_artifacts

        as_of = context.partition_key
        inputs, params = open_inputs(SourceInputs, platform, as_of), fit_params(platform, as_of)
        built = platform.build(
            context,
            f"sources/{name}",
            partition=as_of,
            inputs=inputs,
            params={**params},
            force=config.force,
            write=lambda staged: source_artifacts.write_source_artifact(
                name, **inputs, target=staged.path, **params
            ),
        )
        return reporting.result(built.artifact, reused=built.reused)

    return source


(
    *(follow_ups, item_knn, ease, ials, session_knn, popularity, own_items, young_items),
    popular_now,
) = (_asset(name) for name in SOURCE_NAMES if name != ITEM_TO_ITEM)


@dg.asset(
    key=["sources", "item_to_item"],
    kinds={"scipy"},
    partitions_def=partitions.as_of(),
    pool="cpu",
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(ItemToItemInputs),
)
def item_to_item(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Factorises which items the same visitors click (item-to-item), per as-of day.

    Reads the events of the window. Tunes its weights on the last training days, then fits vectors
    twice: on the training days, to be judged, and on all days, to serve. The simple rung of this
    name retrieves by them; for the full models they are one source more.
    """
    from recsys_assets.lib.ladder import fitting

    as_of = context.partition_key
    inputs, params = open_inputs(ItemToItemInputs, platform, as_of), blended_params(platform, as_of)
    built = platform.build(
        context,
        "sources/item_to_item",
        partition=as_of,
        inputs=inputs,
        params={**params},
        force=config.force,
        write=lambda staged: fitting.write_fitted(**inputs, target=staged.path, **params),
    )
    return reporting.result(built.artifact, reused=built.reused)
