"""A champion of the fusion, fine-tuned on a new day: from its artifacts to the release."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.blend.blend_artifacts import judged_blends
from recsys_assets.lib.blend.kept import KEPT
from recsys_assets.lib.blend.released import released_sources
from recsys_assets.lib.blend.source_artifacts import open_source, write_source_artifact
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks, read_clicks
from recsys_assets.lib.evaluation.query_sources import QuerySources
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.fine_tune import added_items, fine_tuning, reblend, refit
from recsys_assets.lib.gates import fine_tuned, gates
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.lib.gates.simple import scorer_of
from recsys_assets.lib.ladder.fusion import FusedScorer, write_fusion
from recsys_assets.lib.ladder.item_to_item import ItemToItem
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.release import build, releases
from recsys_assets.lib.release.rung import Rung
from recsys_assets.lib.release.verdict import Verdict
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.stored import JUDGED, SERVED
from recsys_assets.release_files import EMBEDDING_TABLE
from recsys_assets.settings import Settings
from recsys_assets.source_names import (
    FOLLOW_UPS,
    IALS,
    ITEM_KNN,
    ITEM_TO_ITEM,
    POPULARITY,
    SOURCE_NAMES,
    YOUNG_ITEMS,
)
from recsys_assets_tests.support import small_clicks
from recsys_assets_tests.support.seen import publish_rule
from recsys_assets_tests.support.small_clicks import ITEMS
from recsys_assets_tests.support.small_rung import DAYS, TRAIN, VALID, write

NEXT = "2026-11-13"
OTHERS = (FOLLOW_UPS, ITEM_KNN, IALS, POPULARITY, YOUNG_ITEMS)
PASSED: Verdict = {
    "passed": True,
    "checks": [{"name": "a", "value": 1, "threshold": 0, "passed": True, "blocks": True}],
}


def files(store: ArtifactStore, kind: str, day: str, **contents: str) -> Artifact:
    with store.stage(kind, day) as staged:
        for name, content in contents.items():
            (staged.path / name.replace("__", ".")).write_text(content)
        return staged.publish()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A shop whose fusion serves, and the clicks of the day after."""
    settings = Settings(home=tmp_path_factory.mktemp("fusion"))
    store = ArtifactStore(settings.artifacts)
    small_clicks.publish_shop(store, [*DAYS, NEXT])
    small_clicks.publish_queries(store, DAYS[-1], DAYS, VALID)
    items = pl.DataFrame(
        {
            **{name: [""] * len(ITEMS) for name in c.RAW_ITEMS},
            c.ITEM_ID: ITEMS,
            c.PRICE: [1.0] * len(ITEMS),
            "promoted": [False] * len(ITEMS),
        }
    )
    with store.stage("raw/items") as staged:
        items.write_parquet(staged.path / "items.parquet")
        images = pl.DataFrame({"image": ["a.png"], "content": [b"png"]})
        images.write_parquet(staged.path / "images.parquet")
        raw_items = staged.publish()
    rung = write(store)
    workflows = store.current("features/workflows", DAYS[-1])
    with store.stage("embeddings/aligned", DAYS[-1]) as staged:
        table = np.random.default_rng(2).normal(size=(3 + len(ITEMS), 8)).astype(np.float32)
        np.save(staged.path / EMBEDDING_TABLE, table)
        aligned = staged.publish()
    log, rule = store.require("raw/interactions", DAYS), publish_rule(store, DAYS[-1])
    made_from = {"workflows": workflows, "aligned": aligned}
    drawn: dict[str, Any] = {"train_days": TRAIN, "seed": 7, "time_zone": "UTC"}
    sources = {}
    for name in OTHERS:
        with store.stage(f"sources/{name}", DAYS[-1], inputs=made_from) as staged:
            figures = write_source_artifact(
                name,
                interactions=log,
                inner=store.require("features/interactions", TRAIN[-2:]),
                items=raw_items,
                **made_from,
                seen_rule=rule,
                target=staged.path,
                **drawn,
            )
            sources[name] = staged.publish({**figures})
    inputs = {"log": log, **made_from, **sources}
    with store.stage("ladder/fusion", DAYS[-1], inputs=inputs) as staged:
        blend = staged.publish(
            {
                **write_fusion(
                    rung=rung,
                    fitted=store.current(f"sources/{ITEM_TO_ITEM}", DAYS[-1]),
                    queries=store.current("evaluation/queries", DAYS[-1]),
                    log=log,
                    history=log,
                    sources=sources,
                    **made_from,
                    target=staged.path,
                    look_back_days=7,
                    retrieval_topk=300,
                    new_item_places="auto",
                    **drawn,
                )
            }
        )
    assert blend.metrics["blend"]["mode"] == "sources"
    # so regular a shop needs no fusion; its release is one all the same
    served: Rung = {"name": "fusion", "why": "tried", "next": None}
    names = ("query_tower", "dlrm", "dlrm_items", "dlrm_lists")
    models = files(
        store, "ladder/simple_models", DAYS[-1], **{f"{name}__onnx": name for name in names}
    )
    champion = build.build_release(
        store,
        settings,
        as_of=DAYS[-1],
        raw_items=raw_items,
        workflows=workflows,
        aligned=aligned,
        faiss_index=rung,
        query_tower=models,
        ranker=models,
        seen_rule=rule,
        blend=blend,
        popularity=ITEMS,
        item_clicks={},
        gate=PASSED,
        rung=served,
    )
    return SimpleNamespace(settings=settings, store=store, champion=champion, models=models)


@pytest.fixture(scope="module")
def parts(shop: SimpleNamespace) -> dict[str, Any]:
    """The artifacts of a fine-tune on the day after, as its assets publish them."""
    store, days = shop.store, [*DAYS[1:], NEXT]
    features = store.require("features/interactions", [NEXT])
    with store.stage(
        "fine_tune/rows",
        NEXT,
        inputs={"champion": shop.champion, "masked": features, "features": features},
        params={"seed": 7},
    ) as staged:
        rows = staged.publish(
            {
                **fine_tuning.write_rows(
                    store, shop.champion, features, features, staged.path, seed=7
                )
            }
        )
    found: dict[str, Any] = {"rows": rows, "items": store.current("raw/items")}
    for name in fine_tuning.ROLES:
        champion = fine_tuning.origin(store, rows, name)
        inputs = {"champion": champion, "rows": rows}
        with store.stage(f"fine_tune/{name}", NEXT, inputs=inputs) as staged:
            found[name] = staged.publish(fine_tuning.carry(champion, staged.path))
    inputs = {"rows": rows, "items": found["items"]}
    with store.stage("fine_tune/items", NEXT, inputs=inputs) as staged:
        added = added_items.write_added_items(
            store, **inputs, settings=shop.settings, target=staged.path, log=print
        )
        found["added_items"] = staged.publish({**added})
    made_from = refit.generation_parts(store, shop.champion, found["added_items"])
    fitted = refit.fitted_before(store, shop.champion, SOURCE_NAMES)
    log = store.require("raw/interactions", days)
    inputs = {**found, "log": log, **made_from, **fitted}
    drawn: dict[str, Any] = {"target": None, "day": NEXT, "seed": 7, "time_zone": "UTC"}
    with store.stage("fine_tune/sources", NEXT, inputs=inputs) as staged:
        drawn["target"] = staged.path
        found["sources"] = staged.publish(
            {
                **refit.write_sources(
                    fitted=fitted, log=log, items=found["items"], **made_from, **drawn
                )
            }
        )
    found["days_before"] = store.require("features/interactions", [DAYS[-1]])
    found["interactions"] = store.require("raw/interactions", [*DAYS, NEXT])
    with store.stage("fine_tune/blend", NEXT, inputs=found) as staged:
        drawn["target"] = staged.path
        figures = reblend.write_tuned_blend(
            store=store, **found, retrieval_topk=300, new_item_places="auto", **drawn
        )
        found["blend"] = staged.publish({**figures})
    found["training"] = store.require("features/interactions", TRAIN)
    return found


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
    store = shop.store
    champion = shop.settings.home / "serving" / "champion.json"
    assert not champion.exists()
    inputs = fine_tuned.fine_tune_inputs(store, shop.settings, parts)
    with store.stage("fine_tune/verdict", NEXT, inputs=inputs) as staged:
        judged = staged.publish(
            {
                **fine_tuned.write_fine_tune_verdict(
                    store,
                    inputs,
                    staged.path,
                    day=NEXT,
                    limits=Limits(),
                    seed=7,
                    time_zone="UTC",
                    retrieval_topk=300,
                    first_day=DAYS[0],
                )
            }
        )
    # what every release has beside the rows that this shop's features lack
    clicks = pl.DataFrame({c.ITEM_ID: ITEMS[:1], c.ITEM_CLICKS: [3.0]})
    features = _features(shop)
    with store.stage("features/interactions", NEXT) as staged:
        for name in features.manifest["files"]:
            (staged.path / name).write_bytes(features.path(name).read_bytes())
        clicks.write_parquet(staged.path / "item_popularity.parquet")
        inputs["features"] = staged.publish()
    return fine_tuned.fine_tuned_release(store, NEXT, inputs, judged)


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
