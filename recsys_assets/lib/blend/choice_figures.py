"""Define the figures of the choice of a blend, as a release records them."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from recsys_assets.lib.blend.new_items import NewItemFigures
from recsys_assets.lib.evaluation.measures import Estimate


class Worth(TypedDict):
    """Holds what a source is worth on held-out clicks; nDCG@10 by value where they have values."""

    alone: float  # nDCG@10 of its list
    listed: float  # share of the clicked items that it lists
    without: float  # nDCG@10 of the blend of all others
    kept: bool


class Alternative(TypedDict):
    """Holds an alternative's cross-fitted figures."""

    ndcg: float
    difference: Estimate | None  # nDCG@10, alternative − default, paired
    #: the same by value, which then decides; absent where each click counts once
    value_ndcg: NotRequired[float]
    value_difference: NotRequired[Estimate | None]


class NetFigures(TypedDict):
    """Holds how the fit of a net went."""

    epochs: list[int]  # of each part
    held_out: list[list[float]]  # of each part, listwise loss before the first epoch and after each


class ChoiceFigures(TypedDict):
    """Holds the choice of a blend: what the release records."""

    mode: str
    chosen: str
    runner_up: str | None
    why: str
    labels: int
    valued: NotRequired[bool]  # clicks have values; absent where each counts once
    alternatives: dict[str, Alternative]
    sources: dict[str, Worth]
    weights: dict[str, float]
    fold_weights: list[dict[str, float]]  # [FOLDS]: for the visitors of a fold, learnt on others
    net: NetFigures | None  # of the net that serves; None: none was fitted
    new_items: NotRequired[NewItemFigures]  # written with the files
