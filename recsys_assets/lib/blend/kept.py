"""Let the blend that serves keep its weights, unless held-out clicks choose surely better ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from recsys_assets.lib.blend import weights as w
from recsys_assets.lib.blend.choice import (
    BlendChoice,
    alternative_of,
    difference_of,
    similarity_alone,
)
from recsys_assets.lib.blend.choice_figures import Alternative, ChoiceFigures
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.evaluation.query_sources import FOLDS
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.stored import BY_SOURCES

#: The alternative of the blend that serves.
KEPT = "kept"
#: The choice of ``choose``, the labels that it was made by (with the ranker's logit, if there is a
#: ranker), and the ranks int64 [Q] without sources → what is written.
Settle = Callable[[BlendChoice, ClickLabels, np.ndarray], BlendChoice]


def as_chosen(choice: BlendChoice, labels: ClickLabels, as_is: np.ndarray) -> BlendChoice:
    """Return the choice as it is."""
    return choice


def kept_unless_surely_better(served: Blend | None, seed: int, ranked: int | None = None) -> Settle:
    """Return what keeps the weights that serve, over refitted tables, by few clicks.

    One day's held-out clicks are few. So new weights must be surely better on them, as another
    alternative must be in ``choose``.

    Args:
        served: the blend in force; None: it orders by similarity alone.
        seed: of the bootstrap.
        ranked: as for ``choose``.
    """

    def settle(choice: BlendChoice, labels: ClickLabels, as_is: np.ndarray) -> BlendChoice:
        own = as_is if served is None else ranks_by(served, labels, ranked)
        chosen = choice.figures["chosen"]
        count = choice.figures["labels"]
        minus = difference_of(choice.ranks, own, labels, seed) if len(labels) else None
        valued = labels.value is not None
        metric = f"{'value-weighted ' if valued else ''}nDCG@10"
        said = (
            "there is no held-out click"
            if minus is None
            else f"{metric} of {chosen} − {KEPT} is {minus['value']:+.4f} "
            f"[{minus['low']:+.4f}, {minus['high']:+.4f}] on {count:,} held-out clicks"
        )
        alternatives: dict[str, Alternative] = {
            KEPT: alternative_of(own, None, labels, seed),
            chosen: alternative_of(choice.ranks, own, labels, seed),
        }
        if minus is not None and minus["low"] > 0:
            figures: ChoiceFigures = {
                **choice.figures,
                "why": said,
                "runner_up": KEPT,
                "alternatives": alternatives,
            }
            return replace(choice, figures=figures)
        kept = similarity_alone(count, f"the weights that serve stay: {said}")
        kept |= {"chosen": KEPT, "runner_up": chosen, "alternatives": alternatives}
        kept["sources"] = {
            name: {**worth, "kept": served is not None and name in served.names}
            for name, worth in choice.figures["sources"].items()
        }
        if valued:
            kept["valued"] = True
        if served is None:
            return BlendChoice(kept, own)
        weights = {name: float(served.weights[name]) for name in served.names}
        kept |= {
            "mode": BY_SOURCES,
            "weights": weights,
            "fold_weights": [dict(weights) for _ in range(FOLDS)],
        }
        nets = () if served.net is None else (served.net,) * (1 + FOLDS)
        return BlendChoice(kept, own, nets)

    return settle


def ranks_by(served: Blend, labels: ClickLabels, ranked: int | None) -> np.ndarray:
    """Return the rank of each clicked item by the weights that serve, int64 [Q].

    A list that the labels lack, because its source could not be fitted, changes nothing.
    """
    used = labels
    for name in labels.names:
        if name not in served.names:
            used = used.without(name)
    weights = np.array([served.weights[name] for name in used.names])
    inputs = used.logs
    if used.logit is not None:  # the weights are in units of it
        inputs = np.concatenate([used.logit[:, None], used.logs], axis=1)
        weights = np.concatenate([[1.0], weights])
    add: w.Add | None = None
    if served.net is not None:
        added = served.net.of_lists(served.names, used.names).of(used.net_inputs)

        def add(weights: np.ndarray, learned: np.ndarray) -> np.ndarray:
            return added

    return w.cross_fitted(used, inputs, lambda *_: weights, ranked, add)
