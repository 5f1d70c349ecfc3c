"""Tune the baselines on a shop's queries and compare the best one with what serves.

`recsys materialize` does not run ``evaluation/baselines``. So the same function runs here, on the
artifacts that the shop's run made, by a smaller budget. The days are those that the queries record.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from recsys_assets.bench.shops.held_out import HeldOut
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.baseline_tuning import Budget, write_baselines
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.measures import PRIMARY, Estimate, best_baseline, value_of
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.settings import Settings

SERVED = "served"
#: Half of the trials of ``evaluation/baselines``, so that a small shop takes seconds.
BUDGET = Budget(trials=8, users=20_000, clicks=4_000)


class BaselineFigures(TypedDict):
    """Holds the tuned baselines of a shop; without a query, all is None or empty."""

    best: str | None
    best_ndcg: float | None
    served_minus: Estimate | None  # nDCG@10 of what serves − the best baseline's, paired
    ndcg: dict[str, float]  # of every baseline
    recall: float | None  # recall@300 of what serves; None where it was not judged
    new_recall: float | None  # recall@50 of its new items; None without a click on one
    #: nDCG@10 of each visitor, float64 [V] each: SERVED and every baseline; empty where what serves
    #: was not judged
    by_visitor: dict[str, np.ndarray]


def baseline_figures(settings: Settings) -> BaselineFigures:
    """Tune the baselines on the queries of the champion's day; settings: of the shop's home."""
    nothing: BaselineFigures = {
        "best": None,
        "best_ndcg": None,
        "served_minus": None,
        "ndcg": {},
        "recall": None,
        "new_recall": None,
        "by_visitor": {},
    }
    held_out = HeldOut.open(settings)
    if held_out is None:
        return nothing
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "baselines"
        target.mkdir()
        metrics = _tuned(held_out, target)
        best = best_baseline(metrics)
        if best is None:
            return nothing
        ranks = {name: Lists.stored(target / "lists.npz", name).ranks for name in metrics}
    found: BaselineFigures = {
        **nothing,
        "best": best,
        "best_ndcg": value_of(metrics[best][PRIMARY]),
        "ndcg": {name: one[PRIMARY]["value"] for name, one in metrics.items()},
    }
    served = held_out.served()
    if served is None:
        return found
    asked = held_out.asked()
    whole = list_metrics.judge(served.ranks, asked)
    new = list_metrics.judge_slices(served.ranks, asked).get("new_items")
    return {
        **found,
        "served_minus": list_metrics.overall_difference(served.ranks, ranks[best], asked),
        "recall": whole["recall@300"]["value"],
        "new_recall": None if new is None else new["recall@50"]["value"],
        "by_visitor": {
            name: _of_visitors(one, asked) for name, one in {SERVED: served.ranks, **ranks}.items()
        },
    }


def _of_visitors(ranks: np.ndarray, asked: Queries) -> np.ndarray:
    """Return nDCG@10 of each visitor, float64 [V], in the order of their ids; ranks: int [Q]."""
    whole = asked.overall
    _, visitor = np.unique(asked.users[whole], return_inverse=True)
    of_query = list_metrics.per_query(ranks[whole])[PRIMARY]
    return np.bincount(visitor, of_query) / np.bincount(visitor)


def _tuned(held_out: HeldOut, target: Path) -> Mapping[str, Any]:
    """Return the metrics of all baselines; lists.npz lies in ``target`` afterwards."""
    return write_baselines(
        held_out.queries,
        held_out.interactions,
        held_out.inner_features,
        held_out.items,
        target,
        train_days=held_out.training_days,
        budget=BUDGET,
        seed=held_out.seed,
        seen_rule=held_out.seen_rule,
        time_zone=held_out.asked().time_zone,
    )
