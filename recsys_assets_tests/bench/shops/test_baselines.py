"""Test that the baselines of a shop are tuned on its queries and compared with what serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.bench.shops import baselines
from recsys_assets.bench.shops.baselines import baseline_figures
from recsys_assets.lib.evaluation.baseline_spaces import SPACES
from recsys_assets.lib.evaluation.baseline_tuning import Budget
from recsys_assets_tests.support.small_served_home import (
    publish_queries,
    publish_release,
    publish_rung,
    settings,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(baselines, "BUDGET", Budget(trials=2, users=100, clicks=300))
    publish_release(tmp_path)
    return tmp_path


def test_the_best_baseline_is_named_and_compared(home: Path) -> None:
    queries = publish_queries(home)
    publish_rung(home, queries, rank=1)
    found = baseline_figures(settings(home))
    assert set(found["ndcg"]) == {"random", "popularity", *SPACES}
    best, difference = found["best"], found["served_minus"]
    assert best is not None and difference is not None
    assert found["best_ndcg"] == found["ndcg"][best] == max(found["ndcg"].values()) > 0
    # what serves has an nDCG@10 of 1 on every query
    assert difference["value"] == pytest.approx(1 - found["ndcg"][best])
    assert difference["low"] < difference["value"] < difference["high"]
    assert found["recall"] == 1
    by_visitor = found["by_visitor"]
    assert set(by_visitor) == {"served", *found["ndcg"]} and (by_visitor["served"] == 1).all()
    assert {name: by_visitor[name].mean() for name in found["ndcg"]} == pytest.approx(found["ndcg"])


def test_what_has_answered_no_query_is_not_compared(home: Path) -> None:
    publish_queries(home)
    found = baseline_figures(settings(home))
    assert found["best"] is not None and found["served_minus"] is None


def test_without_queries_or_without_a_champion_there_is_no_figure(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nothing = {
        **{"best": None, "best_ndcg": None, "served_minus": None, "ndcg": {}},
        **{"recall": None, "new_recall": None, "by_visitor": {}},
    }
    assert baseline_figures(settings(home)) == nothing
    assert baseline_figures(settings(tmp_path_factory.mktemp("bare"))) == nothing
