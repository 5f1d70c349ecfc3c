"""Declare the sources as inputs of a blend."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration.upstream import SAME, Upstream
from recsys_assets.source_names import SOURCE_NAMES


class OtherSources(TypedDict):
    """Inputs of the fusion: all sources but item-to-item, which is a rung below it."""

    follow_ups: Annotated[Artifact, Upstream("sources/follow_ups", SAME)]
    item_knn: Annotated[Artifact, Upstream("sources/item_knn", SAME)]
    ease: Annotated[Artifact, Upstream("sources/ease", SAME)]
    ials: Annotated[Artifact, Upstream("sources/ials", SAME)]
    session_knn: Annotated[Artifact, Upstream("sources/session_knn", SAME)]
    popularity: Annotated[Artifact, Upstream("sources/popularity", SAME)]
    own_items: Annotated[Artifact, Upstream("sources/own_items", SAME)]
    young_items: Annotated[Artifact, Upstream("sources/young_items", SAME)]
    popular_now: Annotated[Artifact, Upstream("sources/popular_now", SAME)]


class AllSources(OtherSources):
    """Inputs of the blend of the full models: every source."""

    item_to_item: Annotated[Artifact, Upstream("sources/item_to_item", SAME)]


def split(
    opened: Mapping[str, Any], allowed: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Artifact]]:
    """Return the inputs that are no sources, and the allowed sources among the others."""
    others = {name: value for name, value in opened.items() if name not in SOURCE_NAMES}
    return others, {name: opened[name] for name in allowed if name in opened}
