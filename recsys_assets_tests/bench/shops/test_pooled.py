"""Test that the visitors of several draws are judged together."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.bench.shops.baselines import SERVED
from recsys_assets.bench.shops.pooled import pool, pooled_rows


def test_every_visitor_counts_once_and_one_baseline_is_best_of_all() -> None:
    first = {
        SERVED: np.array([1.0, 0.5]),
        "ials": np.array([0.4, 0.4]),
        "own": np.array([0.5, 0.5]),
    }
    second = {SERVED: np.array([0.3]), "ials": np.array([0.9]), "own": np.array([0.0])}
    found = pool({3: first, 7: second})
    assert (found["draws"], found["visitors"]) == ([3, 7], 3)
    assert found["served_ndcg@10"] == pytest.approx(1.8 / 3)
    assert found["best_baseline"] == "ials"
    assert found["best_baseline_ndcg@10"] == pytest.approx(1.7 / 3)
    # of draw 3 the best is own, of draw 7 ials
    assert found["best_of_each_ndcg@10"] == pytest.approx(1.9 / 3)
    assert found["served_minus_best_of_each"]["value"] == pytest.approx(-0.1 / 3)
    assert found["difference_low"] == pytest.approx(-0.6)  # one visitor alone, three times
    assert found["difference_high"] == pytest.approx(0.6)
    assert pooled_rows({"films": found}) == [
        ("films", "3, 7", "3", "0.6000", "0.5667 iALS", "[-0.6000, +0.6000]")
    ]
