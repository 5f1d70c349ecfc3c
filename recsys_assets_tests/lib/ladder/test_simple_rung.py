"""The simple rung of whole windows of small shops."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.ladder.item_to_item import ItemToItem, Weights
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.retrieval.index import load_index
from recsys_assets.release_files import INDEX
from recsys_assets_tests.support import small_clicks
from recsys_assets_tests.support.small_clicks import ITEMS
from recsys_assets_tests.support.small_rung import DAYS, TRAIN, VALID, whole_window, write


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ArtifactStore(str(tmp_path_factory.mktemp("shop")))
    small_clicks.publish_shop(store, DAYS)
    small_clicks.publish_queries(store, DAYS[-1], DAYS, VALID)
    return store


def test_a_shop_whose_visitors_have_tastes_gets_item_to_item(store):
    rung = write(store)
    figures = rung.metrics
    assert figures["rung"]["name"] == "item_to_item" and figures["queries"] > 200
    ndcg = {name: one["ndcg@10"]["value"] for name, one in figures["lists"].items()}
    assert ndcg["item_to_item"] > 2 * ndcg["popularity"] > 0
    assert figures["recall"] == 1.0 >= figures["recall_floor"]
    index = load_index(rung.path(INDEX))
    assert index.ntotal == len(ITEMS)
    # the served vectors have learnt the validation days too
    served = ItemToItem.read(rung, ITEMS)
    whole = ItemToItem.fit(
        read_clicks(store.require("raw/interactions", DAYS)), np.array(ITEMS), served.weights
    )
    assert np.allclose(served.vectors, whole.vectors, atol=1e-6)
    assert "item_to_item" in rung.path("figures/rung.md").read_text()


def test_the_lists_are_those_of_the_training_days_alone(store):
    """The judged vectors have not seen the clicks that judge them."""
    rung = write(store)
    asked = Queries.read(store.current("evaluation/queries", DAYS[-1]))
    weights = ItemToItem.read(rung, ITEMS).weights
    model = ItemToItem.fit(
        read_clicks(store.require("raw/interactions", TRAIN)), np.array(ITEMS), weights
    )
    log = read_clicks(store.require("raw/interactions", DAYS))
    expected = list_metrics.run(RungScorer.of("item_to_item", model, log, look_back_days=7), asked)
    found = list_metrics.Lists.read(rung, "item_to_item")
    assert np.array_equal(found.ranks, expected.ranks) and np.array_equal(found.top, expected.top)


@pytest.mark.parametrize("look_back_days", [2, 7, 30])
def test_the_scorer_reads_only_what_was_clicked_before_the_query(store, look_back_days):
    asked = Queries.read(store.current("evaluation/queries", DAYS[-1]))
    log = read_clicks(store.require("raw/interactions", DAYS))
    model = ItemToItem.fit(log, np.array(ITEMS), Weights(0.1, 24.0))
    rows = np.arange(0, len(asked), 37)
    scorer = RungScorer.of("item_to_item", model, log, look_back_days=look_back_days)
    found, ages = scorer.scores(asked, rows), []
    for row, scores in zip(rows.tolist(), found, strict=True):
        user, now = asked.frame["user_id"][row], asked.frame["timestamp"][row]
        before = log.filter(
            pl.col("user_id") == user,
            pl.col("timestamp") < now,
            pl.col("timestamp") >= now - look_back_days * 86_400,
        )
        query = model.constant.astype(np.float64)
        for item, at in before.select("item_id", "timestamp").iter_rows():
            ages.append((now - at) / 86_400)
            weight = 0.5 ** ((now - at) / 3_600 / 24.0)
            query = query + weight * model.of_clicks[ITEMS.index(item)]
        assert np.allclose(scores, model.vectors @ query, atol=1e-4)
    assert min(look_back_days, 10) - 1.5 < max(ages) <= look_back_days


def test_items_that_the_model_lacks_are_never_shown(store):
    asked = Queries.read(store.current("evaluation/queries", DAYS[-1]))
    log = read_clicks(store.require("raw/interactions", DAYS))
    model = ItemToItem.fit(log, np.array(ITEMS[5:]), Weights())
    scores = RungScorer.of("item_to_item", model, log, look_back_days=7).scores(asked, np.arange(4))
    assert np.isneginf(scores[:, :5]).all() and np.isfinite(scores[:, 5:]).all()


def test_without_a_query_popularity_serves(store, tmp_path):
    asked = Queries.read(store.current("evaluation/queries", DAYS[-1]))
    with store.stage("evaluation/queries", "2026-11-30") as staged:
        none = staged.publish(asked.subset(np.zeros(0, np.int64)).write(staged.path))
    rung = write(store, **{**whole_window(store), "queries": none})
    assert rung.metrics["rung"]["name"] == "popularity" and rung.metrics["lists"] == {}
    assert not ItemToItem.read(rung, ITEMS).vectors[:, 1:].any()


def test_one_day_with_one_row_has_a_rung(tmp_path):
    """No validation day, no inner day, no query."""
    store = ArtifactStore(str(tmp_path))
    day = DAYS[0]
    small_clicks.publish_shop(store, [day])
    one = pl.read_parquet(store.current("raw/interactions", day).path("interactions.parquet"))[:1]
    small_clicks.publish(store, "raw/interactions", day, "interactions.parquet", one)
    row = small_clicks.features(one)
    small_clicks.publish(store, "features/interactions", day, "features.parquet", row)
    with store.stage("evaluation/queries", DAYS[-1]) as staged:
        empty = small_clicks.queries([("u", ITEMS[0], 20_000)], ITEMS)
        queries = staged.publish(empty.subset(np.zeros(0, np.int64)).write(staged.path))
    days = store.require("features/interactions", [day])
    log = store.require("raw/interactions", [day])
    rung = write(store, train=days, valid=[], inner=[], log=log, queries=queries)
    assert rung.metrics["rung"]["name"] == "popularity"
    assert (ItemToItem.read(rung, ITEMS).vectors[:, 0] > 0).sum() == 1
