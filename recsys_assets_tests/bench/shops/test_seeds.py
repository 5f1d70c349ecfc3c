"""Test that the runs of several seeds are compared."""

from __future__ import annotations

from typing import Any

import pytest

from recsys_assets.bench.shops.seeds import of_seeds, seed_rows


def run(served: float | None, best: float | None, high: float | None = 0.1) -> dict[str, Any]:
    return {"served_ndcg@10": served, "best_baseline_ndcg@10": best, "difference_high": high}


def test_each_seed_is_compared_with_the_best_baseline_of_its_own_run() -> None:
    found = of_seeds({7: run(0.3, 0.2), 11: run(0.18, 0.2, -0.01), 12: run(None, 0.2)})
    assert found is not None
    assert (found["seeds"], found["served"]) == ([7, 11], [0.3, 0.18])
    assert found["ratios"] == pytest.approx([1.5, 0.9])
    assert found["mean_ratio"] == pytest.approx(1.2)
    assert found["lowest_ratio"] == pytest.approx(0.9)
    assert found["highs"] == [0.1, -0.01]
    assert seed_rows({"films": found}) == [
        ("films", "7, 11", "0.3000 0.1800", "1.500 0.900", "1.200", "0.900")
    ]


def test_without_a_judged_run_there_is_nothing_to_compare() -> None:
    assert of_seeds({7: run(None, None)}) is None
    assert of_seeds({7: run(0.1, 0.0)}) is None
