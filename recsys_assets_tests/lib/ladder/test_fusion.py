"""The fusion of the sources on a whole window of a small shop, from artifact to artifact."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.blend.blend_artifacts import judged_blends, sampled
from recsys_assets.lib.blend.source_artifacts import open_source, write_source_artifact
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks, read_clicks
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.query_sources import QuerySources, folds
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.ladder.fitting import read_fitted
from recsys_assets.lib.ladder.fusion import FusedScorer, write_fusion
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.stored import JUDGED, SERVED, read_blend
from recsys_assets.release_files import EMBEDDING_TABLE
from recsys_assets.source_names import (
    FOLLOW_UPS,
    IALS,
    ITEM_TO_ITEM,
    POPULARITY,
    RETRIEVAL,
    SOURCE_NAMES,
    YOUNG_ITEMS,
)
from recsys_assets_tests.support import small_clicks
from recsys_assets_tests.support.row_histories import with_histories
from recsys_assets_tests.support.seen import publish_rule
from recsys_assets_tests.support.small_clicks import ITEMS
from recsys_assets_tests.support.small_rung import DAYS, TRAIN, VALID, fit, write

#: The fusion has the item-to-item list as its own retrieval.
OTHERS = tuple(name for name in SOURCE_NAMES if name != ITEM_TO_ITEM)
DRAWN = {"train_days": TRAIN, "seed": 7, "time_zone": "UTC"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> SimpleNamespace:
    """A shop with its simple rung and all sources."""
    store = ArtifactStore(str(tmp_path_factory.mktemp("shop")))
    small_clicks.publish_shop(store, DAYS)
    small_clicks.publish_queries(store, DAYS[-1], DAYS, VALID)
    rung = write(store)
    workflows = store.current("features/workflows", DAYS[-1])
    with store.stage("embeddings/aligned", DAYS[-1]) as staged:
        table = np.random.default_rng(2).normal(size=(3 + len(ITEMS), 8)).astype(np.float32)
        np.save(staged.path / EMBEDDING_TABLE, table)
        aligned = staged.publish()
    items, rule = store.current("raw/items"), publish_rule(store, DAYS[-1])
    log = store.require("raw/interactions", DAYS)
    inner = store.require("features/interactions", TRAIN[-2:])
    sources = {}
    for name in OTHERS:
        with store.stage(f"sources/{name}", DAYS[-1]) as staged:
            figures = write_source_artifact(
                name,
                interactions=log,
                inner=inner,
                items=items,
                workflows=workflows,
                aligned=aligned,
                seen_rule=rule,
                target=staged.path,
                **DRAWN,
            )
            sources[name] = staged.publish(figures)
    return SimpleNamespace(
        store=store,
        rung=rung,
        fitted=store.current("sources/item_to_item", DAYS[-1]),
        sources=sources,
        workflows=workflows,
        aligned=aligned,
        log=log,
        queries=store.current("evaluation/queries", DAYS[-1]),
    )


def fuse(shop: SimpleNamespace, kind: str, names: tuple[str, ...] = OTHERS):
    with shop.store.stage(kind, DAYS[-1]) as staged:
        return staged.publish(
            write_fusion(
                rung=shop.rung,
                fitted=shop.fitted,
                queries=shop.queries,
                log=shop.log,
                history=shop.log,
                sources={name: shop.sources[name] for name in names},
                workflows=shop.workflows,
                aligned=shop.aligned,
                target=staged.path,
                look_back_days=7,
                retrieval_topk=300,
                **DRAWN,
            )
        )


@pytest.fixture(scope="module")
def fusion(shop):
    return fuse(shop, "ladder/fusion")


def test_each_source_is_tuned_and_fitted_twice(shop):
    for name, artifact in shop.sources.items():
        figures = artifact.metrics
        assert figures["fitted"] and figures["rows"] == len(ITEMS)
        assert (figures["tuned"] is None) == (name == YOUNG_ITEMS)
        assert artifact.path("figures/source.md").read_text()
    judged, served = (
        open_source(shop.sources[FOLLOW_UPS].local / folder, shop.aligned.path(EMBEDDING_TABLE))
        for folder in (JUDGED, SERVED)
    )
    assert judged.weights.sum() < served.weights.sum(), "the validation days are in what serves"


def test_the_figures_say_what_was_chosen_and_why(shop, fusion):
    figures = fusion.metrics
    blend = figures["blend"]
    assert set(figures["lists"]) >= {"popularity", "item_to_item"}
    assert set(blend["sources"]) == {RETRIEVAL, *OTHERS}
    assert blend["labels"] > 100 and blend["why"]
    table = fusion.path("figures/sources.md").read_text()
    assert "follow_ups" in table and "nDCG@10 alone" in table
    chosen = figures["rung"]["name"]
    assert chosen == ("fusion" if figures["difference"]["value"] > 0 else "item_to_item")


def test_the_lists_of_the_fusion_are_those_of_the_folds(shop, fusion):
    """A visitor is judged by weights that the other fold's clicks gave."""
    blends = judged_blends(fusion.local, shop.aligned)
    assert [one.weights for one in blends] == fusion.metrics["blend"]["fold_weights"]
    asked = Queries.read(shop.queries)
    lists, simple = (Lists.read(fusion, name) for name in ("fusion", "item_to_item"))
    assert set(folds(asked)) == {0, 1}
    assert len(lists.ranks) == len(asked) and not np.array_equal(lists.ranks, simple.ranks)
    ndcg = list_metrics.judge(lists.ranks, asked)["ndcg@10"]["value"]
    assert ndcg == pytest.approx(fusion.metrics["lists"]["fusion"]["ndcg@10"]["value"])
    assert ndcg > 2 * fusion.metrics["lists"]["popularity"]["ndcg@10"]["value"]
    seen = asked.seen(np.arange(len(asked)))
    shown = lists.top >= 0
    assert not np.take_along_axis(seen, np.where(shown, lists.top, 0), 1)[shown].any()


def test_the_fusion_can_read_the_clicks_of_the_rows(shop, fusion):
    """With the log's clicks in the rows, the lists are those of the log."""
    asked, clicks = Queries.read(shop.queries), read_clicks(shop.log)
    vocabulary = item_vocabulary(shop.workflows)
    latest = LatestClicks.of(clicks, vocabulary, 7)
    model = read_fitted(shop.fitted, shop.workflows, JUDGED)
    scorer = FusedScorer(
        RungScorer.of("item_to_item", model, clicks, 7),
        QuerySources(judged_blends(fusion.local, shop.aligned), latest),
        vocabulary,
        300,
    )
    rows = with_histories(asked, latest)
    lists = list_metrics.run(scorer.of_rows(), rows)
    np.testing.assert_array_equal(lists.top, Lists.read(fusion, "fusion").top)
    without = list_metrics.run(scorer.of_rows(), asked)  # its rows have no history
    assert not np.array_equal(without.top, lists.top)


def test_the_figures_say_how_far_clicks_move_the_list(fusion):
    moves = fusion.metrics["session_moves"]
    assert set(moves) == {"within", "outside", "all"} and set(moves["all"]) == {"1", "2", "5"}
    assert moves["all"]["1"]["queries"] == 0, "no query of this shop has a history"
    assert "fewer than 20 queries" in fusion.path("figures/session_moves_table.md").read_text()


def test_what_serves_has_the_weights_of_all_visitors(shop, fusion):
    served = read_blend(fusion.local / SERVED, shop.aligned.path(EMBEDDING_TABLE))
    assert dict(served.weights) == pytest.approx(fusion.metrics["blend"]["weights"])
    mine = Recent(np.array([0, 3]), np.array([1.0, 5.0], np.float32))
    found = served.of(mine, np.arange(5))
    assert len(found.rows) >= 5 and (np.diff(found.scores) <= 0).all()


def test_only_allowed_sources_take_part(shop):
    figures = fuse(shop, "judged/few", (IALS, POPULARITY)).metrics["blend"]
    assert set(figures["sources"]) == {RETRIEVAL, IALS, POPULARITY}
    assert set(figures["weights"]) <= {RETRIEVAL, IALS, POPULARITY}


def test_without_sources_the_simple_rung_stays(shop):
    figures = fuse(shop, "judged/none", ()).metrics
    assert figures["rung"]["name"] == "item_to_item" and figures["difference"] is None
    assert figures["blend"]["why"] == "no other source could be fitted"


def test_a_sample_keeps_whole_visitors(shop):
    asked = Queries.read(shop.queries)
    few = sampled(asked, 60, seed=7)
    assert 0 < len(few) < len(asked)
    names = few.frame["visitor"].unique()
    whole = asked.frame.filter(pl.col("visitor").is_in(names.implode()), ~pl.col("simulated_cold"))
    assert whole.height == len(few)
    again = sampled(asked, 60, seed=7)
    assert dataclasses.asdict(again)["true"].tolist() == few.true.tolist()


def test_a_rung_of_another_fit_is_refused_with_the_remedy(shop):
    other = fit(shop.store, shop.workflows, shop.log[:-1], [], TRAIN)
    changed = SimpleNamespace(**{**vars(shop), "fitted": other})
    with pytest.raises(ValueError, match="another sources/item_to_item; materialise ladder/simple"):
        fuse(changed, "judged/other")
