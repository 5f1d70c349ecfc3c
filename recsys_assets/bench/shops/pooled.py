"""Pool the visitors of several draws of a shop, so that a log with few of them can be judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypedDict

import numpy as np

from recsys_assets.bench.shops.baselines import SERVED
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.evaluation.summary import label

#: nDCG@10 of each visitor of a draw, float64 [V] each, of what serves and of every baseline.
Visitors: TypeAlias = Mapping[str, np.ndarray]

Pooled = TypedDict(
    "Pooled",
    {
        "draws": list[int],  # that were served and judged
        "visitors": int,
        "served_ndcg@10": float | None,
        "best_baseline": str,  # of all draws together
        "best_baseline_ndcg@10": float | None,
        "difference_low": float,  # bounds of the 95 % interval, what serves − that baseline, paired
        "difference_high": float,
        #: the same against the best baseline of each draw, chosen by the same clicks: a harder bar
        "best_of_each_ndcg@10": float,
        "served_minus_best_of_each": Estimate,
    },
)


def pool(draws: Mapping[int, Visitors]) -> Pooled:
    """Return the figures of all visitors of a shop's draws; a visitor of two draws counts twice.

    draws: number → its visitors; at least one.
    """
    names = [name for name in next(iter(draws.values())) if name != SERVED]
    every = {
        name: np.concatenate([one[name] for one in draws.values()]) for name in (SERVED, *names)
    }
    best = max(names, key=lambda name: every[name].mean())
    of_each = np.concatenate(
        [one[max(names, key=lambda name: one[name].mean())] for one in draws.values()]
    )
    served, visitors = every[SERVED], np.arange(len(of_each))
    difference, harder = (
        list_metrics.mean_per_user(served - other, visitors) for other in (every[best], of_each)
    )
    return {
        "draws": list(draws),
        "visitors": len(visitors),
        "served_ndcg@10": float(served.mean()),
        "best_baseline": best,
        "best_baseline_ndcg@10": float(every[best].mean()),
        "difference_low": difference["low"],
        "difference_high": difference["high"],
        "best_of_each_ndcg@10": float(of_each.mean()),
        "served_minus_best_of_each": harder,
    }


def pooled_rows(pooled: Mapping[str, Pooled]) -> list[tuple[str, ...]]:
    """Return the printed table: shop, draws, visitors, served, best baseline, interval."""
    return [
        (
            name,
            ", ".join(map(str, one["draws"])),
            f"{one['visitors']:,}",
            f"{one['served_ndcg@10']:.4f}",
            f"{one['best_baseline_ndcg@10']:.4f} {label(one['best_baseline'])}",
            f"[{one['difference_low']:+.4f}, {one['difference_high']:+.4f}]",
        )
        for name, one in pooled.items()
    ]
