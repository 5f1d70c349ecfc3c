"""Decide how many places of a list new items get, and measure what that costs.

The share of the places is the young items' share of the held-out clicks, within limits: what sells
without being recommended is worth showing. The least share is given even where no held-out click is
on a young item. Such items are seldom shown, so that clicks on them say little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.measures import PRIMARY, Estimate
from recsys_assets.lib.evaluation.placed import young_items
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.settings import LEAST_OFTEN, MOST_OFTEN

AUTO, OFF = "auto", "off"
RECALL = "recall@50"


class WithPlaces(TypedDict):
    """Holds a figure of the lists without and with places for new items."""

    without: float
    places: float


class NewItemFigures(TypedDict):
    """Holds how many places new items have, why, and what that costs."""

    setting: int | str
    every: int  # one place in so many; 0: none
    why: str
    clicks: int  # held-out clicks
    on_new: int  # of them, on young items
    #: nDCG@10 of all held-out clicks; None where there are no places or no clicks
    ndcg: WithPlaces | None
    difference: Estimate | None  # of nDCG@10, with − without, paired
    recall: WithPlaces | None  # recall@50 of the clicks on young items
    exposure: WithPlaces | None  # share of the first 10 shown that are young


@dataclass(frozen=True)
class NewItems:
    """Holds the young items of the catalogue, and how many places they have."""

    figures: NewItemFigures
    young: np.ndarray  # bool [I], of the catalogue

    @property
    def every(self) -> int:
        """Return in how many places one is reserved; 0: none."""
        return self.figures["every"]

    def measured(self, without: Lists, placed: Lists, asked: Queries, seed: int) -> NewItemFigures:
        """Return the figures with the cost of the places.

        Args:
            without: lists without places, of weights that other visitors' clicks gave.
            placed: the same lists with places.
            asked: the queries that both answer.
            seed: of the bootstrap.
        """
        used = asked.overall
        if not used.any():
            return self.figures
        users, on_new = asked.users, used & self.young[asked.true]

        def both(metric: str, rows: np.ndarray) -> WithPlaces | None:
            if not rows.any():
                return None
            before, after = (
                list_metrics.point(lists.ranks[rows], users[rows], metric)
                for lists in (without, placed)
            )
            return {"without": before, "places": after}

        difference = list_metrics.overall_difference(placed.ranks, without.ranks, asked, seed)
        return {
            **self.figures,
            "ndcg": both(PRIMARY, used),
            "difference": difference,
            "recall": both(RECALL, on_new),
            "exposure": {
                "without": self._exposure(without.top[used]),
                "places": self._exposure(placed.top[used]),
            },
        }

    def _exposure(self, top: np.ndarray) -> float:
        """Return the share of the shown items that are young."""
        shown = top[top >= 0]
        return float(self.young[shown].mean()) if len(shown) else 0.0


def decide(
    setting: int | str, asked: Queries, young: np.ndarray, catalogue: np.ndarray, kept: int = 0
) -> NewItems:
    """Decide how many places new items get.

    Args:
        setting: AUTO, OFF, or N: one place in N is reserved.
        asked: held-out clicks.
        young: bool [I'], of the vocabulary: with few clicks up to the held-out days.
        catalogue: int64 [I'], row of ``asked.item_ids`` of each item of the vocabulary; -1 where it
            has none.
        kept: one place in so many, which serves; with AUTO it stays, for a day's clicks are too few
            to decide it again; 0: decide.
    """
    of_catalogue = young_items(young, catalogue, asked.items)
    clicks = int(asked.overall.sum())
    on_new = int(of_catalogue[asked.true[asked.overall]].sum())
    every, why = _every(setting, clicks, on_new)
    if setting == AUTO and kept:
        why = f"one place in {kept} serves and stays until the next full training; {why}"
        every = kept
    return NewItems(
        {
            "setting": setting,
            "every": every,
            "why": why,
            "clicks": clicks,
            "on_new": on_new,
            "ndcg": None,
            "difference": None,
            "recall": None,
            "exposure": None,
        },
        of_catalogue,
    )


def _every(setting: int | str, clicks: int, on_new: int) -> tuple[int, str]:
    """Return in how many places one is reserved, and the reason."""
    share = f"{on_new:,} of {clicks:,} held-out clicks are on new items"
    if setting == OFF:
        return 0, f"RECSYS_NEW_ITEM_PLACES is off; {share}"
    if setting != AUTO:
        return int(setting), f"RECSYS_NEW_ITEM_PLACES is {setting}; {share}"
    if on_new * LEAST_OFTEN <= clicks:
        return LEAST_OFTEN, f"{share}: the least share is one place in {LEAST_OFTEN}"
    if on_new * MOST_OFTEN >= clicks:
        return MOST_OFTEN, f"{share}: the largest share is one place in {MOST_OFTEN}"
    return round(clicks / on_new), share
