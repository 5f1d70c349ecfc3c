"""The best tuned baseline: which one, and how far the served lists are above it."""

from __future__ import annotations

import pytest

from recsys_assets.lib.evaluation.best_baseline import sentence
from recsys_assets.lib.evaluation.measures import best_baseline
from recsys_assets_tests.lib.evaluation.test_summary import summarised
from recsys_assets_tests.support import small_evaluation as small


def test_the_best_of_all_is_named_with_its_paired_difference():
    summary = summarised()
    best = summary["best_baseline"]
    assert best is not None and set(best) == {"name", "ndcg@10", "served_minus"}
    assert best["name"] == "ease" and best["ndcg@10"]["value"] == pytest.approx(0.11)
    assert best["served_minus"]["value"] == pytest.approx(0.05)
    assert sentence(summary) == [
        "The best tuned baseline is EASE, with an nDCG@10 of 0.110 [0.100 to 0.120]. Served minus "
        "it, paired: 0.050 [0.046 to 0.054]."
    ]


def test_without_served_lists_there_is_no_difference():
    summary = summarised(differences=None)
    assert summary["best_baseline"]["served_minus"] is None
    assert sentence(summary)[0].endswith("[0.100 to 0.120].")


def test_baselines_without_a_figure_are_not_the_best():
    none = {"params": {}, "tuning": []}
    assert best_baseline({"ease": none}) is None and best_baseline({}) is None
    nan = {"ndcg@10": small.estimate(float("nan"))}
    assert best_baseline({"ials": nan, "ease": small.list_metrics(0.1), "x": none}) == "ease"
    summary = summarised(baselines={"ease": none}, differences={})
    assert summary["best_baseline"] is None and sentence(summary) == []
