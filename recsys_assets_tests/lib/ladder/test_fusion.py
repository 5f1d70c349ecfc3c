"""The fusion of the sources on a whole window of a small shop, from artifact to artifact."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.blend.blend_artifacts import judged_blends, sampled
from recsys_assets.lib.blend.source_artifacts import open_source, write_source_artifact
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.item_rows import inverse, rows_in
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks, read_clicks
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.query_sources import QuerySources, folds
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.ladder.fitting import read_fitted
from recsys_assets.lib.ladder.fusion import FusedScorer, retrieved, write_fusion
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import Young
from recsys_assets.lib.sources.stored import JUDGED, SERVED, read_blend, read_places
from recsys_assets.release_files import EMBEDDING_TABLE
from recsys_assets.serving.stages.ordering import Ordering, SoftmaxSampling
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


def fuse(
    shop: SimpleNamespace,
    kind: str,
    names: tuple[str, ...] = OTHERS,
    new_item_places: int | str = "auto",
):
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
                new_item_places=new_item_places,
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
    assert len(found.rows) >= 5
    # those that have places come first, whatever their scores
    others = ~np.isin(found.rows, young_rows(served))
    assert (np.diff(found.scores[others]) <= 0).all()


def young_rows(blend: Blend) -> np.ndarray:
    (source,) = (one for one in blend.sources if one.name == YOUNG_ITEMS)
    assert isinstance(source, Young)
    return source.rows


def test_new_items_have_places_and_their_cost_is_known(shop, fusion):
    figures = fusion.metrics["blend"]["new_items"]
    assert json.loads(fusion.path("choice.json").read_text())["new_items"] == figures
    assert figures["setting"] == "auto" and figures["on_new"] <= figures["clicks"]
    share = figures["on_new"] / figures["clicks"]
    assert figures["every"] == round(1 / min(max(share, 1 / 50), 1 / 10))
    # no place: the same figures without, and the lists of the chosen rung have no place
    off = fuse(shop, "judged/off", new_item_places="off").metrics
    assert off["blend"]["new_items"]["every"] == 0 and off["blend"]["new_items"]["ndcg"] is None
    assert off["rung"] == fusion.metrics["rung"], "the rung does not depend on places"
    name, ndcg = off["rung"]["name"], figures["ndcg"]
    for of, which in ((off, "without"), (fusion.metrics, "places")):
        assert of["lists"][name]["ndcg@10"]["value"] == pytest.approx(ndcg[which], abs=1e-9)
    assert figures["difference"]["value"] == pytest.approx(ndcg["places"] - ndcg["without"])
    text = fusion.path("figures/new_items.md").read_text()
    assert f"one in {figures['every']}" in text and "nDCG@10, all clicks" in text


def test_more_places_show_more_new_items(shop):
    found = fuse(shop, "judged/ten", new_item_places=10)
    figures = found.metrics["blend"]["new_items"]
    assert figures["every"] == 10 and figures["setting"] == 10
    with_places, without = figures["exposure"]["places"], figures["exposure"]["without"]
    places = read_places(found.local / JUDGED)
    assert places is not None and places.every == 10
    if places.young.any():
        assert with_places >= max(without, 0.1 - 1e-9)
    blend = read_blend(found.local / SERVED, shop.aligned.path(EMBEDDING_TABLE))
    assert blend.new_item_places == 10 and YOUNG_ITEMS in blend.names
    assert set(found.metrics["blend"]["weights"]) == set(blend.names)


@pytest.fixture(scope="module")
def launches(shop):
    """The same shop, in which every fourth item counts as young."""
    fourth = np.arange(len(ITEMS)) % 4 == 1
    with pytest.MonkeyPatch.context() as patch:
        for module in ("fit", "blend_artifacts"):
            patch.setattr(f"recsys_assets.lib.blend.{module}.young_items", lambda _: fourth)
        with shop.store.stage(f"sources/{YOUNG_ITEMS}", DAYS[-1]) as staged:
            figures = write_source_artifact(
                YOUNG_ITEMS,
                interactions=shop.log,
                inner=shop.store.require("features/interactions", TRAIN[-2:]),
                items=shop.store.current("raw/items"),
                workflows=shop.workflows,
                aligned=shop.aligned,
                seen_rule=shop.store.current("features/seen_rule", DAYS[-1]),
                target=staged.path,
                **DRAWN,
            )
            made = staged.publish(figures)
        changed = SimpleNamespace(**{**vars(shop), "sources": {**shop.sources, YOUNG_ITEMS: made}})
        changed.fusion = fuse(changed, "judged/launches", new_item_places=10)
        yield changed


def test_the_fusions_lists_with_places_are_those_of_the_stage(launches):
    """The evaluation's lists, and those of the ordering stage on the same candidates."""
    asked = Queries.read(launches.queries)
    rows, topk = np.flatnonzero(asked.overall)[:80], 20
    clicks = read_clicks(launches.log)
    latest = LatestClicks.of(clicks, ITEMS, 7)
    retrieval = RungScorer.of(
        "item_to_item", read_fitted(launches.fitted, launches.workflows, JUDGED), clicks, 7
    )
    blends = judged_blends(launches.fusion.local, launches.aligned)
    sources = QuerySources(blends, latest)
    places = replace(read_places(launches.fusion.local / JUDGED), length=15)
    assert places.every == 10 and places.young.sum() == len(ITEMS) / 4
    scorer = FusedScorer(retrieval, sources, ITEMS, topk, places=places)
    scores = scorer.scores(asked, rows)
    plain = replace(scorer, places=None).scores(asked, rows)
    catalogue = rows_in(ITEMS, asked.item_ids)
    near = retrieved(retrieval.scores(asked, rows), inverse(catalogue, asked.items), topk + 100)
    stage = SoftmaxSampling(Ordering(15, "off", 20.0, 0.7, 0, 1.0), places)
    moved = 0
    for n, blended in enumerate(sources.blended(asked, rows, near)):
        unseen = ~asked.seen(rows[[n]])[0][catalogue[blended.rows]]
        kept, near_scores = blended.rows[unseen][:topk], blended.scores[unseen][:topk]
        assert len(kept) == topk
        row = asked.frame.row(int(rows[n]), named=True)
        found = stage.run(
            {
                "kept": (kept + 3).astype(np.int32),
                "kept_similarity": near_scores,
                "kept_counts": np.array([topk], np.int32),
                "scores": np.full(topk, 0.5, np.float32),
                "item_cat": np.zeros((topk, 4), np.int32),
                "item_embeddings": np.zeros((topk, 128), np.float32),
                "context_top_k": np.array([-1], np.int32),
                "context_seed": np.array([-1]),
                "visitor_id": np.array([row["user_id"]], object),
                "context_timestamp": np.array([row["timestamp"]]),
            }
        )
        served = catalogue[found["sampled_items"] - 3].tolist()
        assert np.argsort(-scores[n], kind="stable")[:15].tolist() == served, n
        masked = np.where(asked.seen(rows[[n]])[0], -np.inf, plain[n])
        moved += np.argsort(-masked, kind="stable")[:15].tolist() != served
    assert moved > 5


def test_places_show_new_items_and_the_cost_is_small(launches):
    figures = launches.fusion.metrics["blend"]["new_items"]
    assert figures["every"] == 10 and figures["on_new"] > 0
    assert figures["exposure"]["places"] >= figures["exposure"]["without"]
    assert figures["recall"] is not None
    blend = read_blend(launches.fusion.local / SERVED, launches.aligned.path(EMBEDDING_TABLE))
    assert YOUNG_ITEMS in blend.names and blend.new_item_places == 10
    text = launches.fusion.path("figures/new_items.md").read_text()
    assert "recall@50, clicks on new items" in text and "new items among the first 10" in text


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
