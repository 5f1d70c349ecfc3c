"""Item-to-item fitted once: the rung's own scores as a source, judged and served."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.blend.source_artifacts import open_source
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks, read_clicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.query_sources import recents
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.lib.ladder import fitting
from recsys_assets.lib.ladder.fitting import read_fitted
from recsys_assets.lib.ladder.item_to_item import CANDIDATES, ItemToItem, Weights
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.sources.stored import JUDGED, SERVED
from recsys_assets_tests.support import small_clicks
from recsys_assets_tests.support.small_clicks import ITEMS
from recsys_assets_tests.support.small_rung import DAYS, TRAIN, VALID, fit, workflows_of, write


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> SimpleNamespace:
    store = ArtifactStore(str(tmp_path_factory.mktemp("shop")))
    small_clicks.publish_shop(store, DAYS)
    small_clicks.publish_queries(store, DAYS[-1], DAYS, VALID)
    workflows, log = workflows_of(store), store.require("raw/interactions", DAYS)
    inner = store.require("features/interactions", TRAIN[-2:])
    fitted = fit(store, workflows, log, inner, TRAIN)
    return SimpleNamespace(store=store, workflows=workflows, log=log, inner=inner, fitted=fitted)


def opened(artifact: Artifact, folder: str):
    return open_source(artifact.local / folder, artifact.local)


@pytest.mark.parametrize(("folder", "days"), [(JUDGED, TRAIN), (SERVED, DAYS)])
def test_it_lists_what_the_rung_scores_highest(shop, folder, days):
    """The rung is fitted again here, on the days that the folder stands for."""
    found = opened(shop.fitted, folder)
    weights = Weights(found.popularity, found.half_life)
    fitted_on = read_clicks(shop.store.require("raw/interactions", days))
    model = ItemToItem.fit(fitted_on, np.array(ITEMS), weights)
    log = read_clicks(shop.store.require("raw/interactions", DAYS))
    asked = Queries.read(shop.store.current("evaluation/queries", DAYS[-1]))
    rows = np.arange(0, len(asked), 5)
    scores = RungScorer.of("item_to_item", model, log, look_back_days=7).scores(asked, rows)
    latest = LatestClicks.of(log, ITEMS, 7)
    own = model.rows_of(asked.item_ids.tolist())  # scores are by the queries' catalogue
    clicked = 0
    for recent, of_items in zip(recents(latest, asked, rows, ()), scores, strict=True):
        listed = found.best(recent, 20)
        if not len(recent):
            assert not len(listed)
            continue
        clicked += 1
        by_row = np.empty(len(ITEMS))
        by_row[own] = of_items
        best = np.sort(by_row)[::-1][:20]
        np.testing.assert_allclose(by_row[listed], best[: len(listed)], rtol=1e-4, atol=1e-6)
        assert len(listed) == min(20, int((by_row > 1e-6).sum()))
    assert clicked > 30


def test_the_weights_are_the_best_of_the_last_training_days(shop):
    figures = shop.fitted.metrics
    assert figures["fitted"] and figures["rows"] == len(ITEMS)
    assert figures["bytes"] == len(ITEMS) * 64 * 4 + 128
    # every candidate again, by the scorer of the rung on the same queries
    before = shop.store.require("raw/interactions", TRAIN[:-2])
    asked = Queries.build(
        shop.inner,
        shop.store.require("raw/interactions", TRAIN),
        shop.store.current("raw/items"),
        seed=7,
        rule=DEFAULT_RULE,
        zone="UTC",
        limit=2_000,
    )
    asked = asked.subset(np.flatnonzero(asked.overall))
    tried = {}
    for weights in CANDIDATES:
        model = ItemToItem.fit(read_clicks(before), np.array(ITEMS), weights)
        log = read_clicks(shop.store.require("raw/interactions", TRAIN))
        ranks = list_metrics.run(RungScorer.of("item_to_item", model, log, 7), asked).ranks
        tried[weights] = list_metrics.point(ranks, asked.users)
    assert figures["tuned"] == pytest.approx(max(tried.values()))
    assert figures["params"] == vars(max(tried, key=lambda one: tried[one]))
    assert (
        "item_to_item: nDCG@10 of the trials" in shop.fitted.path("figures/trials.md").read_text()
    )
    assert "half_life" in shop.fitted.path("figures/source.md").read_text()


def test_without_enough_inner_clicks_the_defaults_stay(shop, monkeypatch):
    monkeypatch.setattr(fitting, "_MINIMUM_TUNING", 10_000)
    for inner in ([], shop.inner):
        figures = fit(shop.store, shop.workflows, shop.log, inner, TRAIN).metrics
        assert figures["params"] == {"popularity": 0.1, "half_life": 48.0}
        assert figures["tuned"] is None and figures["fitted"]


def test_the_rung_reads_the_same_vectors_whichever_rung_serves(shop):
    asked = Queries.read(shop.store.current("evaluation/queries", DAYS[-1]))
    with shop.store.stage("evaluation/queries", "2026-11-30") as staged:
        none = staged.publish(asked.subset(np.zeros(0, np.int64)).write(staged.path))
    days = {
        "train": shop.store.require("features/interactions", TRAIN),
        "valid": shop.store.require("features/interactions", VALID),
    }
    rung = write(shop.store, **days, inner=shop.inner, log=shop.log, queries=none)
    assert rung.metrics["rung"]["name"] == "popularity"
    used = rung.metrics["weights"]
    for folder in (JUDGED, SERVED):
        model, source = (
            read_fitted(shop.fitted, shop.workflows, folder),
            opened(shop.fitted, folder),
        )
        np.testing.assert_array_equal(model.vectors, source.vectors)
        assert model.weights == Weights(used["popularity"], used["half_life_hours"])
        assert model.item_ids.tolist() == ITEMS
    assert source.vectors[:, 1:].any() and not ItemToItem.read(rung, ITEMS).vectors[:, 1:].any()


def test_a_large_catalogue_has_the_rung_and_no_source(shop, monkeypatch):
    monkeypatch.setattr(fitting, "MOST_FACTORS", len(ITEMS) - 1)
    fitted = fit(shop.store, shop.workflows, shop.log, shop.inner, TRAIN)
    assert not fitted.metrics["fitted"]
    assert opened(fitted, JUDGED) is None and opened(fitted, SERVED) is None
    assert read_fitted(fitted, shop.workflows, SERVED).vectors[:, 1:].any()
    assert "too large" in fitted.path("figures/source.md").read_text()


def test_without_a_known_visitor_there_is_popularity_and_no_source(tmp_path):
    store = ArtifactStore(str(tmp_path))
    small_clicks.publish_shop(store, DAYS[:1])
    clicks = pl.read_parquet(
        store.current("raw/interactions", DAYS[0]).path("interactions.parquet")
    ).with_columns(pl.lit(c.MISSING).alias(c.USER_ID))
    small_clicks.publish(store, "raw/interactions", DAYS[0], "interactions.parquet", clicks)
    log, workflows = store.require("raw/interactions", DAYS[:1]), workflows_of(store)
    fitted = fit(store, workflows, log, [], DAYS[:1])
    assert opened(fitted, JUDGED) is None and opened(fitted, SERVED) is None
    vectors = read_fitted(fitted, workflows, SERVED).vectors
    assert vectors[:, 0].max() == 1.0 and not vectors[:, 1:].any()


def test_vectors_of_other_items_are_refused_with_the_remedy(shop):
    other = workflows_of(shop.store, ITEMS[::-1])
    with pytest.raises(ValueError, match="another features/workflows; materialise sources/item_to"):
        read_fitted(shop.fitted, other, JUDGED)
