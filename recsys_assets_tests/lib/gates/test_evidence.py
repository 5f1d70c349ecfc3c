"""Real small models, judged by what ``measure`` measures: the dishonest and the stale are blocked,
the honest one passes.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.evaluation.offline import measure
from recsys_assets.lib.evaluation.popular_baselines import RecentPopularity
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.popularity import count_clicks
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.lib.gates import evidence as gate_evidence
from recsys_assets.lib.gates import gates, statistical
from recsys_assets.lib.gates.answers import ChampionAnswers, ModelAnswers
from recsys_assets.lib.gates.evidence_types import RungEvidence
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.lib.ladder.item_to_item import ItemToItem, Weights
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.quality import drift
from recsys_assets.lib.release.verdict import stops
from recsys_assets.lib.simulator import shop as simulator
from recsys_assets.local_time import UTC
from recsys_assets.partitions import (
    day_bounds,
    previous_day,
    train_days,
    validation_days,
    window_days,
)
from recsys_assets.settings import Settings
from recsys_assets_tests.support import small_models, small_window

AS_OF, EARLIER = "2026-11-19", "2026-11-13"
TRAINED_BEFORE = train_days(EARLIER)[
    -3:
]  # the first days of the window: what the stale model has learnt


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    store = small_window.write_window(
        Settings(home=tmp_path_factory.mktemp("gates"), seed=5),
        AS_OF,
        simulator.Scale("gates", 300, 330, 3_000),
    )
    days, items = (
        validation_days(AS_OF),
        pl.read_parquet(store.current("raw/items").path("items.parquet")),
    )
    features = store.require("features/interactions", days)
    queries = Queries.build(
        features,
        store.require("raw/interactions", window_days(AS_OF)),
        store.current("raw/items"),
        seed=7,
        rule=DEFAULT_RULE,
        zone=UTC,
    )
    # a hidden click is missed by all, and tells no two models apart
    queries = queries.subset(np.flatnonzero(~queries.slices["repeats"]))
    with store.stage("features/popularity", AS_OF) as staged:
        count_clicks(small_window.read_log(store, train_days(AS_OF)), items).write_parquet(
            staged.path / "popularity.parquet"
        )
        staged.publish()
    log = ClickLog.of(small_window.read_log(store, window_days(AS_OF)), queries.item_ids)
    return SimpleNamespace(
        store=store,
        items=items,
        queries=queries,
        recent=RecentPopularity(log, window=7, half_life=7.0),
        features=features,
        days_before=store.require("features/interactions", [previous_day(day) for day in days]),
        exposures=pl.concat([pl.read_parquet(a.path("features.parquet")) for a in features]),
    )


@pytest.fixture(scope="module")
def rows(shop) -> pl.DataFrame:
    return pl.concat(
        [
            pl.read_parquet(a.path("features.parquet"))
            for a in shop.store.require("features/interactions", train_days(AS_OF))
        ]
    )


def judged(shop, transforms, items, tables) -> SimpleNamespace:
    small_models.write_generation(shop.store, AS_OF, transforms, items, tables)
    generation = small_models.generation(shop.store, AS_OF, shop.days_before)
    metrics, arrays = measure(generation, shop.queries, shop.exposures, seed=7)
    folder = shop.store.current("exports/onnx", AS_OF).local
    return SimpleNamespace(
        metrics=metrics,
        answers=ModelAnswers.of_lists(arrays, generation.click_scores(shop.exposures)),
        latency=gate_evidence.latencies(
            generation,
            folder / "query_tower.onnx",
            folder / "dlrm.onnx",
            shop.queries,
            shop.exposures,
        ),
    )


@pytest.fixture(scope="module")
def models(shop, rows) -> dict[str, SimpleNamespace]:
    """honest, permuted and random: all of the training days; stale: honest, of the first three of
    them alone.
    """
    transforms = small_window.transforms(shop.store, AS_OF)
    found = {
        kind: judged(
            shop, transforms, shop.items, small_models.train(rows, transforms, shop.items, kind)
        )
        for kind in ("honest", "permuted", "random")
    }
    old = rows.filter(pl.col(c.TIMESTAMP) < day_bounds(TRAINED_BEFORE[-1])[1])
    known = {
        name: [value for value in values if value in set(old[name])]
        if name in (c.USER_ID, c.ITEM_ID)
        else values
        for name, values in transforms["vocabulary"].items()
    }
    earlier = {
        **transforms,
        "vocabulary": known,
        "cardinality": {name: 3 + len(values) for name, values in known.items()},
    }
    catalogue = small_models.known_items(earlier, shop.items)
    found["stale"] = judged(shop, earlier, catalogue, small_models.train(old, earlier, catalogue))
    return found


def against(shop, served) -> RungEvidence:
    """Compare the lists with popularity, fitted on the training days; the models are linear."""
    days = shop.store.require("raw/interactions", window_days(AS_OF))
    known = read_clicks(shop.store.require("raw/interactions", train_days(AS_OF)))
    model = ItemToItem.fit(known, shop.queries.item_ids, Weights()).popularity_only()
    lists = list_metrics.run(
        RungScorer.of("popularity", model, read_clicks(days), look_back_days=7), shop.queries
    )
    whole = shop.queries.overall
    difference = list_metrics.paired_difference(
        served.ranks[whole], lists.ranks[whole], shop.queries.users[whole]
    )
    return {"name": "popularity", "queries": int(whole.sum()), "difference": difference}


def verdict(shop, model, *, day=AS_OF, champion=None, limits=Limits()) -> gates.Verdict:
    evidence = gate_evidence.gather(
        model.answers,
        shop.queries,
        shop.exposures,
        day=day,
        seed=7,
        champion=champion,
        recent=shop.recent,
    )
    training = shop.store.require("features/interactions", train_days(AS_OF))
    evidence |= {
        "latency_ms": model.latency,
        "parity": {"dlrm.onnx": 0.0, "query_tower.onnx": 0.0},
        "drift": gate_evidence.input_drift(training, shop.features, first_day=train_days(AS_OF)[0]),
        "index": {"recall": 1.0, "recall_floor": 0.999},
        "rung": against(shop, model.answers.served),
    }
    return gates.full_release(evidence, limits)


def failed(found: gates.Verdict) -> set[str]:
    return {check["name"] for check in found["checks"] if not check["passed"]}


def champion(model, day=AS_OF, learnt=None) -> ChampionAnswers:
    return ChampionAnswers(4, day, learnt or train_days(AS_OF)[-1], model.answers)


RUNG = "rung: served ndcg@10 − the simple rung's"
COLD = "slices: cold_users, served recall@100 not surely below popularity's"
POPULARITY = statistical.popularity


def test_an_honest_model_passes_alone_beside_itself_and_beside_a_stale_one(shop, models):
    honest = models["honest"]
    for present in (None, champion(honest), champion(models["stale"], EARLIER)):
        assert failed(verdict(shop, honest, champion=present)) == set()


def test_the_evidence_is_what_was_measured(shop, models):
    honest = models["honest"]
    checks = {check["name"]: check for check in verdict(shop, honest)["checks"]}
    assert checks["ranker: auc"]["value"] == pytest.approx(honest.metrics["ranker"]["auc"])
    assert checks["exposure: coverage@10"]["value"] == pytest.approx(
        honest.metrics["beyond_accuracy"]["served"]["coverage@10"]
    )
    cold = checks["slices: cold_users, served recall@100 not surely below popularity's"]
    assert (
        cold["value"]["value"]
        == pytest.approx(honest.metrics["slices"]["cold_users"]["recall@100"]["value"])
        and cold["threshold"]["other"] > 0.2
    )


@pytest.mark.parametrize("kind", ["permuted", "random"])
def test_a_model_that_learnt_nothing_true_is_blocked(shop, models, kind):
    alone = verdict(shop, models[kind])
    assert RUNG in failed(alone) and not alone["passed"]
    # as a first release, it would be kept back by the simple rung alone
    assert {check["name"] for check in alone["checks"] if stops(check)} == {RUNG}
    assert kind == "permuted" or COLD in failed(alone)
    beside = verdict(shop, models[kind], champion=champion(models["honest"]))
    stopped = {check["name"] for check in beside["checks"] if stops(check)}
    assert "champion: served ndcg@10" in stopped
    assert "champion: auc" not in stopped, "it is a report where the lists are judged"
    assert "champion: auc" in failed(beside)
    assert kind == "permuted" or COLD in stopped


def test_without_a_held_out_click_nothing_is_judged_and_nothing_raises(shop, models):
    """As in a shop that was closed on the validation days; its exposures are all unclicked."""
    none = shop.queries.subset(np.zeros(0, np.int64))
    unclicked = shop.exposures.filter(pl.col(c.CLICK) == 0)
    for exposures in (unclicked, unclicked[:0]):
        answers = ModelAnswers(
            list_metrics.Lists(np.zeros(0, np.int32), np.zeros((0, 10), np.int32)),
            list_metrics.Lists(np.zeros(0, np.int32), np.zeros((0, 10), np.int32)),
            np.full(exposures.height, 0.2, np.float32),
        )
        for present in (None, ChampionAnswers(1, EARLIER, EARLIER, answers)):
            evidence = gate_evidence.gather(
                answers, none, exposures, day=AS_OF, seed=7, champion=present, recent=shop.recent
            )
            assert evidence["popularity"] is None and evidence["visitors"] == 0
            evidence["latency_ms"] = gate_evidence.latencies(None, None, None, none, exposures)
            evidence["drift"] = gate_evidence.input_drift([], [], first_day=AS_OF)
            checks = statistical.statistical(evidence, Limits(), clicks_alone=True)
            assert all(check["passed"] for check in [*checks, POPULARITY(evidence, Limits())])


def test_the_champion_of_a_slice_is_compared_too(shop, models):
    evidence = {
        kind: gate_evidence.gather(
            models[kind].answers,
            shop.queries,
            shop.exposures,
            day=AS_OF,
            seed=7,
            champion=champion(models["honest"]),
        )["slices"]["cold_users"]
        for kind in ("honest", "random")
    }
    assert evidence["honest"]["champion_high"] == 0 and evidence["random"]["champion_high"] < 0
    assert evidence["random"]["high"] < 0 < evidence["honest"]["high"]
    assert evidence["honest"]["visitors"] > Limits().visitors


def test_a_stale_model_is_blocked(shop, models):
    """By its day, and, were it to lie about its day, by the champion that knows the days since."""
    served = {
        kind: models[kind].metrics["served"]["ndcg@10"]["value"] for kind in ("honest", "stale")
    }
    assert 0.05 < served["stale"] < served["honest"]
    found = failed(verdict(shop, models["stale"], day=EARLIER, champion=champion(models["honest"])))
    assert {"freshness: day that was learnt", "champion: served ndcg@10"} <= found
    assert "champion: served ndcg@10" in failed(
        verdict(shop, models["stale"], champion=champion(models["honest"]))
    )


def test_an_equal_model_passes_on_two_hundred_queries(shop, models):
    """The same lists with their neighbours swapped at random: as good, and never the same."""
    few = shop.queries.subset(np.flatnonzero(shop.queries.overall)[:200])
    rng, ranks = np.random.default_rng(1), models["honest"].answers.served.ranks[:200]
    swapped = np.maximum(1, ranks + np.where(rng.random(200) < 0.5, 1, -1) * (ranks < 300)).astype(
        np.int32
    )
    honest = dataclasses.replace(
        models["honest"].answers,
        served=list_metrics.Lists(ranks, np.zeros((200, 10), np.int32)),
        retrieval=list_metrics.Lists(ranks, np.zeros((200, 10), np.int32)),
    )
    equal = dataclasses.replace(
        honest, served=list_metrics.Lists(swapped, np.zeros((200, 10), np.int32))
    )
    for a, b in ((equal, honest), (honest, equal)):
        found = gate_evidence.against_champion(
            a, ChampionAnswers(1, AS_OF, EARLIER, b), few, shop.exposures, seed=7
        )
        assert found["served ndcg@10"]["value"] != 0 and found["queries"] == 200
        assert all(
            check["passed"]
            for check in statistical.champion({"champion": found}, Limits(), clicks_alone=False)
        )


def test_a_budget_that_no_model_keeps_blocks(shop, models):
    assert failed(
        verdict(shop, models["honest"], limits=Limits(query_tower_ms=1e-6, ranker_ms=1e-6))
    ) == {"latency: query tower, ms", "latency: ranker, ms"}


def test_days_that_the_champion_has_learnt_do_not_count(shop, models):
    first, _, last = validation_days(AS_OF)

    def judged_with(learnt: str) -> dict:
        return gate_evidence.against_champion(
            models["honest"].answers,
            champion(models["stale"], learnt=learnt),
            shop.queries,
            shop.exposures,
            seed=7,
        )

    beside = judged_with(first)
    later = shop.queries.overall & (
        shop.queries.frame[c.TIMESTAMP].to_numpy() >= day_bounds(first)[1]
    )
    assert (
        first not in beside["judged_on"]
        and last in beside["judged_on"]
        and 200 < beside["queries"] == later.sum()
    )
    # none is left: all of them, to the champion's advantage
    whole = judged_with(last)
    assert (
        whole["queries"] == shop.queries.overall.sum()
        and whole["rows"] == shop.exposures.height
        and first in whole["judged_on"]
    )


def test_drift_is_seen_and_days_without_profile_are_read(shop, tmp_path):
    training = shop.store.require("features/interactions", train_days(AS_OF))
    before = gate_evidence.input_drift(training, shop.features, first_day=train_days(AS_OF)[0])
    assert before["price"]["value"] < 0.05
    assert max(one["value"] for one in before.values()) < Limits().drift
    assert 0 < before["price"]["chance"] < 0.05
    store, moved = ArtifactStore(tmp_path), []
    for artifact in shop.features:
        with store.stage("features/interactions", artifact.partition) as staged:
            (
                pl.read_parquet(artifact.path("features.parquet"))
                .with_columns(pl.col(c.PRICE) * 100)
                .write_parquet(staged.path / "features.parquet")
            )
            moved.append(staged.publish())
    after = gate_evidence.input_drift(training, moved, first_day=train_days(AS_OF)[0])
    assert after["price"]["value"] > Limits().drift and after["hour"] == before["hour"]
    # fewer rows than tell anything
    assert (
        drift.MINIMUM_ROWS > 3_000
        and gate_evidence.input_drift(training, shop.features[:1], first_day="2026-01-01") == {}
    )


def test_answers_to_other_questions_are_refused(shop, models):
    with pytest.raises(ValueError, match="materialise evaluation/offline again"):
        gate_evidence.gather(
            models["honest"].answers,
            shop.queries.subset(np.arange(5)),
            shop.exposures,
            day=AS_OF,
            seed=7,
            champion=None,
        )


def test_concentration_and_calibration_noise():
    top = np.array([[0, 1], [0, 2], [0, -1]])
    assert gate_evidence.concentration(top, 3) == 1.0  # of a small catalogue, ten items are all
    many = np.arange(2_000).reshape(200, 10)
    assert gate_evidence.concentration(
        np.concatenate([many, np.zeros((200, 10), int)]), 2_000
    ) == pytest.approx((2_001 + 19) / 4_000)
    rng, p = np.random.default_rng(0), np.full(20_000, 0.2)
    table = [{"predicted": 0.2, "rows": 2_000}] * 10
    gaps = [
        np.abs((rng.random(20_000) < p).reshape(10, -1).mean(axis=1) - 0.2).mean()
        for _ in range(40)
    ]
    assert gate_evidence.calibration_noise(table) == pytest.approx(np.mean(gaps), rel=0.1)


def test_the_value_weighted_difference_is_there_where_queries_have_values(shop, models):
    honest, other = models["honest"].answers, models["random"].answers
    champion = ChampionAnswers(1, EARLIER, TRAINED_BEFORE[-1], other)
    plain = gate_evidence.against_champion(honest, champion, shop.queries, shop.exposures, 7)
    assert "served value_ndcg@10" not in plain
    same = shop.queries.frame.with_columns(pl.lit(4.0, pl.Float32).alias(c.VALUE))
    valued = dataclasses.replace(shop.queries, frame=same)
    found = gate_evidence.against_champion(honest, champion, valued, shop.exposures, 7)
    # with one value for all clicks, both figures are equal
    assert found["served value_ndcg@10"] == pytest.approx(found["served ndcg@10"])
    assert {name: found[name] for name in plain} == plain
    checks = statistical.valued({"champion": found})
    assert [check["name"] for check in checks] == ["champion: served value_ndcg@10"]
