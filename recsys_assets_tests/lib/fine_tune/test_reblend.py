"""A champion of the fusion, fine-tuned on a new day: from its artifacts to the release."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.blend.blend_artifacts import judged_blends
from recsys_assets.lib.blend.kept import KEPT
from recsys_assets.lib.blend.released import released_sources
from recsys_assets.lib.blend.source_artifacts import open_source
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks, read_clicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.query_sources import QuerySources
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.fine_tune import fine_tuning, reblend, refit
from recsys_assets.lib.gates import evidence as gate_evidence
from recsys_assets.lib.gates import fine_tuned, gates, statistical
from recsys_assets.lib.gates.answers import ModelAnswers
from recsys_assets.lib.gates.comparisons import champion_answers, tuned_from
from recsys_assets.lib.gates.evidence import UNLEARNT_QUERIES
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.lib.gates.simple import scorer_of, write_simple_verdict
from recsys_assets.lib.ladder.fusion import FusedScorer
from recsys_assets.lib.ladder.item_to_item import ItemToItem
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.release import releases
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.stored import JUDGED, SERVED
from recsys_assets.partitions import day_bounds
from recsys_assets.release_files import EMBEDDING_TABLE
from recsys_assets.source_names import FOLLOW_UPS, IALS, ITEM_KNN
from recsys_assets_tests.support import small_clicks, tuned_fusion
from recsys_assets_tests.support.small_clicks import ITEMS
from recsys_assets_tests.support.small_rung import DAYS
from recsys_assets_tests.support.tuned_fusion import NEXT, OTHERS

LATER = "2026-11-14"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A shop whose fusion serves, and the clicks of the day after."""
    return tuned_fusion.shop_of(tmp_path_factory.mktemp("fusion"))


@pytest.fixture(scope="module")
def parts(shop: SimpleNamespace) -> dict[str, Any]:
    """The artifacts of a fine-tune on the day after, as its assets publish them."""
    return tuned_fusion.parts_of(shop, NEXT, shop.champion, [*DAYS[1:], NEXT])


def test_the_sources_of_the_champion_are_refitted_without_and_with_the_day(shop, parts):
    opened = refit.opened(parts["sources"])
    assert set(opened) == set(OTHERS), "those that the full training chose from"
    content = refit.generation_parts(shop.store, shop.champion)["aligned"].path(EMBEDDING_TABLE)
    judged, served = (
        open_source(opened[FOLLOW_UPS].local / folder, content) for folder in (JUDGED, SERVED)
    )
    assert judged.weights.sum() < served.weights.sum(), "the new day is in what serves"
    before = shop.store.open(
        shop.store.open(shop.champion.manifest["inputs"]["blend"]).manifest["inputs"][FOLLOW_UPS]
    )
    assert judged.decay == before.metrics["params"]["place_decay"], "as the full training chose"
    popular = refit.popular_items(parts["sources"])
    assert sorted(popular) == sorted(ITEMS) and popular != ITEMS


def test_the_models_are_carried_to_the_byte(shop, parts):
    for name in fine_tuning.ROLES:
        assert parts[name].digest == shop.models.digest and parts[name].metrics["carried"]


def test_the_weights_and_places_that_serve_stay(shop, parts):
    figures = parts["blend"].metrics
    before = shop.store.open(shop.champion.manifest["inputs"]["blend"]).metrics["blend"]
    assert figures["chosen"] == KEPT and figures["weights"] == pytest.approx(before["weights"])
    assert figures["new_items"]["every"] == before["new_items"]["every"]
    assert "stays until the next full training" in figures["new_items"]["why"]
    # all clicks of the day choose, since no model learns any of them
    held_out = pl.read_parquet(_features(shop).path("features.parquet"))
    assert 0.3 * held_out.height < figures["labels"] <= held_out.height


def _features(shop: SimpleNamespace) -> Artifact:
    return shop.store.current("features/interactions", NEXT)


@pytest.fixture(scope="module")
def tuned(shop: SimpleNamespace, parts: dict[str, Any]) -> Artifact:
    """The release of the fine-tune, with its verdict."""
    return tuned_fusion.tuned_release(shop, NEXT, parts)


def test_a_fine_tune_of_a_fusion_is_judged_by_its_lists(shop, parts, tuned):
    release = releases.read_release(tuned)
    assert release.gate["passed"], release.failed_checks
    assert (release.kind, release.rung["name"], release.generation) == ("fine_tune", "fusion", 1)
    assert set(gates.by_group(release.gate)) == set(gates.FINE_TUNE_GROUPS)
    evidence = release.metrics["evidence"]
    assert evidence["champion"]["rung"] == "fusion" and evidence["champion"]["queries"] > 50
    assert release.metrics["carried"] == ["query_tower", "dlrm"]
    # the lists are those of the evaluation's own scorer, over the sources without the day
    store, log = shop.store, parts["interactions"]
    made_from = refit.generation_parts(store, shop.champion)
    vocabulary, clicks = item_vocabulary(made_from["workflows"]), read_clicks(log)
    rung = store.open(shop.champion.manifest["inputs"]["faiss_index"])
    scorer = FusedScorer(
        RungScorer.of("fusion", ItemToItem.read(rung, vocabulary), clicks, 7),
        QuerySources(
            judged_blends(parts["blend"].local, made_from["aligned"]),
            LatestClicks.of(clicks, vocabulary, 7),
        ),
        vocabulary,
        300,
        places=fine_tuned.judged_places(parts["blend"]),
    )
    asked = reblend.TunedParts(
        store,
        *(
            parts[role]
            for role in ("rows", "query_tower", "dlrm", "added_items", "items", "days_before")
        ),
        log,
        7,
        "UTC",
        300,
    ).queries()
    own = list_metrics.run(scorer, asked)
    before = list_metrics.run(
        scorer_of(
            store,
            releases.read_release(shop.champion),
            log=log,
            days_before=parts["days_before"],
            retrieval_topk=300,
        ),
        asked,
    )
    difference = list_metrics.overall_difference(own.ranks, before.ranks, asked, 7)
    assert evidence["champion"]["served ndcg@10"]["value"] == pytest.approx(difference["value"])


def test_the_release_says_what_it_has_learnt_and_serves_the_refitted_tables(shop, parts, tuned):
    release = releases.read_release(tuned)
    assert release.learnt_days == {
        "query_tower": DAYS,
        "ranker": DAYS,
        "sources": [*DAYS[1:], NEXT],
    }
    assert tuned.metrics["learnt_days"] == release.learnt_days
    folder = "models/candidate_sources"
    source = max(parts["blend"].metrics["weights"], key=lambda one: one in (IALS, ITEM_KNN))
    names = [name for name in tuned.manifest["files"] if name.startswith(f"{folder}/{source}.")]
    assert names, f"{source} has tables"
    served = parts["sources"].local / source / SERVED
    for name in names:
        assert tuned.path(name).read_bytes() == (served / name.rpartition("/")[2]).read_bytes()
    assert any(
        tuned.manifest["files"][name] != shop.champion.manifest["files"][name] for name in names
    )
    index = "models/faiss_retrieval/index.faiss"
    assert tuned.manifest["files"][index] == shop.champion.manifest["files"][index]
    snapshot = json.loads(tuned.path("models/feast_item_lookup/items.json").read_text())
    assert snapshot[ITEMS[0]]["item_clicks"] == 3.0 and snapshot[ITEMS[1]]["item_clicks"] == 0.0


def test_a_tuned_champion_is_judged_by_tables_that_do_not_know_the_queries(shop, parts, tuned):
    store, release = shop.store, releases.read_release(tuned)
    aligned = refit.generation_parts(store, shop.champion)["aligned"]
    of_generation = store.open(shop.champion.manifest["inputs"]["blend"])

    def asked(first_day: str) -> QuerySources:
        found = released_sources(store, release, parts["interactions"], first_day)
        assert found is not None
        return found

    def same(one: Blend, other: Blend) -> bool:
        tables = [
            source.factors
            for blend in (one, other)
            for source in blend.sources
            if source.name == IALS
        ]
        return len(tables) == 2 and np.array_equal(*tables)

    own, older = (
        judged_blends(parts["blend"].local, aligned)[0],
        judged_blends(of_generation.local, aligned)[0],
    )
    assert not same(own, older)
    assert same(asked(NEXT).blends[0], own)
    assert same(asked(DAYS[-1]).blends[0], older), "the own ones know the clicks of that day"


def test_days_that_a_tuned_champion_has_learnt_are_answered_by_what_it_was_tuned_from(
    shop, parts, tuned
):
    store, days = shop.store, [DAYS[-1], NEXT, LATER]
    clicks = small_clicks.block_clicks([day_bounds(LATER)[0] // 86_400], seed=90)
    small_clicks.publish_day(store, LATER, small_clicks.interactions(clicks))
    asked = small_clicks.publish_queries(store, LATER, [*DAYS, NEXT, LATER], days)
    queries = Queries.read(asked)
    log = store.require("raw/interactions", [*DAYS, NEXT, LATER])
    inputs = {
        "champion": tuned,
        "interactions": log,
        "days_before": store.require("features/interactions", [DAYS[-2], *days[:-1]]),
    }
    exposures = queries.frame

    def lists(artifact: Artifact, as_served: bool) -> list_metrics.Lists:
        release = releases.read_release(artifact)
        scorer = scorer_of(
            store,
            release,
            log=log,
            days_before=inputs["days_before"],
            retrieval_topk=300,
            as_served=as_served,
        )
        return list_metrics.run(scorer, queries)

    found = champion_answers(store, inputs, queries, exposures, 300)
    assert (found.release, found.older_by, found.learnt_until) == (2, 1, NEXT)
    later = queries.frame[c.TIMESTAMP].to_numpy() >= day_bounds(NEXT)[1]
    assert 0 < later.sum() < len(queries)
    own, older = lists(tuned, as_served=True), lists(shop.champion, as_served=False)
    shown = found.answers.served
    assert np.array_equal(shown.ranks[later], own.ranks[later])
    assert np.array_equal(shown.top[~later], older.top[~later])
    assert not np.array_equal(own.top[~later], older.top[~later]), "its tables know these clicks"

    # the gates of both kinds of release compare with the same lists
    evidence = gate_evidence.gather(
        ModelAnswers(shown, shown, np.full(exposures.height, 0.5, np.float32)),
        queries,
        exposures,
        day=LATER,
        seed=7,
        champion=found,
    )
    compared = evidence["champion"]
    assert (queries.overall & later).sum() < UNLEARNT_QUERIES
    assert compared["older_by"] == 1 and compared["queries"] == queries.overall.sum()
    assert compared["served ndcg@10"]["value"] == 0
    [check] = [
        one
        for one in statistical.champion(evidence, Limits(), clicks_alone=True)
        if one["name"] == "champion: release"
    ]
    assert "release 1, which it was tuned from, on the days that it has learnt" in check["value"]
    with store.stage("ladder/fusion", LATER) as staged:
        np.savez(staged.path / "lists.npz", **shown.arrays("fusion"))
        same = staged.publish({"rung": releases.read_release(tuned).rung})
    verdict = write_simple_verdict(
        store,
        shop.settings.home,
        rung=SimpleNamespace(metrics={"recall": 1.0, "recall_floor": 0.999}),
        fusion=same,
        queries=asked,
        log=log,
        days_before=inputs["days_before"],
        champion=tuned,
        as_of=LATER,
        seed=7,
        retrieval_topk=300,
        ndcg_tolerance=0.03,
    )
    assert verdict["evidence"]["champion"]["difference"]["value"] == 0


def test_a_full_training_answers_for_itself(shop, tuned):
    full, fine_tune = (releases.read_release(one) for one in (shop.champion, tuned))
    assert tuned_from(shop.store, full, DAYS[-1]) is None
    assert tuned_from(shop.store, fine_tune, None) is None
    assert tuned_from(shop.store, fine_tune, LATER) is None, "it has not learnt the day"
    assert tuned_from(shop.store, fine_tune, NEXT).number == full.number


def test_parts_of_other_rows_or_models_are_refused(shop, parts):
    with shop.store.stage("fine_tune/dlrm", NEXT, inputs={"rows": parts["rows"]}) as staged:
        (staged.path / "dlrm.onnx").write_text("another")
        other = staged.publish()
    with pytest.raises(releases.ReleaseError, match=r"fine_tune/blend \[2026-11-13\].*dlrm"):
        fine_tuned.fine_tune_inputs(shop.store, shop.settings, {**parts, "dlrm": other})
    with shop.store.stage("fine_tune/rows", NEXT, params={"seed": 8}) as staged:
        features = [_features(shop)]
        learns = fine_tuning.write_rows(
            shop.store, shop.champion, features, features, staged.path, seed=8
        )
        rows = staged.publish({**learns})
    with pytest.raises(releases.ReleaseError, match="made from other rows; materialise it again"):
        fine_tuned.fine_tune_inputs(shop.store, shop.settings, {**parts, "rows": rows})
