"""Compare the runs of a shop with several training seeds: one lucky seed is no result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

Of = Mapping[str, Any]  # figures of one run of a shop


class OfSeeds(TypedDict):
    """Holds the figures of a shop over its seeds, of those runs that were served and judged."""

    seeds: list[int]
    served: list[float]  # nDCG@10
    ratios: list[float]  # served / the best tuned baseline of the same run
    mean_ratio: float
    lowest_ratio: float
    highs: list[float | None]  # difference_high of each run


def of_seeds(runs: Mapping[int, Of]) -> OfSeeds | None:
    """Return what the seeds of a shop have in common; None if no run was judged.

    runs: seed → figures of ``bench_shops``.
    """
    judged = {
        seed: one
        for seed, one in runs.items()
        if one["served_ndcg@10"] is not None and one["best_baseline_ndcg@10"]
    }
    if not judged:
        return None
    served = [one["served_ndcg@10"] for one in judged.values()]
    ratios = [one["served_ndcg@10"] / one["best_baseline_ndcg@10"] for one in judged.values()]
    return {
        "seeds": [*judged],
        "served": served,
        "ratios": ratios,
        "mean_ratio": sum(ratios) / len(ratios),
        "lowest_ratio": min(ratios),
        "highs": [one["difference_high"] for one in judged.values()],
    }


def seed_rows(report: Mapping[str, OfSeeds]) -> list[tuple[str, ...]]:
    """Return the printed table: shop, seeds, served, ratios, their mean, the lowest."""
    return [
        (
            name,
            ", ".join(map(str, one["seeds"])),
            " ".join(f"{value:.4f}" for value in one["served"]),
            " ".join(f"{value:.3f}" for value in one["ratios"]),
            f"{one['mean_ratio']:.3f}",
            f"{one['lowest_ratio']:.3f}",
        )
        for name, one in report.items()
    ]
