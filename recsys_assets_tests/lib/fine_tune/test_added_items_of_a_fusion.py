"""A new item that the day's visitors clicked, in the sources and the lists of a fusion."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.blend.released import released_places
from recsys_assets.lib.evaluation.list_metrics import Scorer
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.lib.fine_tune import refit
from recsys_assets.lib.gates.simple import scorer_of
from recsys_assets.lib.ladder.released import released_rung
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.item_parts import ADDED
from recsys_assets.lib.release.releases import Release
from recsys_assets.lib.retrieval.index import load_index
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import Neighbours, Young
from recsys_assets.lib.sources.stored import read_blend
from recsys_assets.source_names import FOLLOW_UPS, ITEM_KNN, YOUNG_ITEMS
from recsys_assets_tests.support import tuned_fusion
from recsys_assets_tests.support.small_clicks import ITEMS
from recsys_assets_tests.support.small_rung import DAYS
from recsys_assets_tests.support.tuned_fusion import NEXT

AFTER = "2026-11-14"
NEW, NEWER = len(ITEMS), len(ITEMS) + 1  # rows of the new items


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A fusion serves; the catalogue of the day after has one item more."""
    shop = tuned_fusion.shop_of(tmp_path_factory.mktemp("fusion"))
    tuned_fusion.publish_items(shop.store, [*ITEMS, "new"])
    tuned_fusion.land(shop, NEXT, "new", seed=40)
    return shop


@pytest.fixture(scope="module")
def parts(shop: SimpleNamespace) -> dict[str, Any]:
    return tuned_fusion.parts_of(shop, NEXT, shop.champion, [*DAYS[1:], NEXT])


@pytest.fixture(scope="module")
def tuned(shop: SimpleNamespace, parts: dict[str, Any]) -> Artifact:
    return tuned_fusion.tuned_release(shop, NEXT, parts)


def fitted(artifact: Artifact, folder: str, content: Artifact) -> dict[str, Any]:
    """The sources of a folder of ``fine_tune/sources``."""
    from recsys_assets.lib.blend.source_artifacts import open_source

    table = content.path("embedding_table.npy")
    opened = {
        name: open_source(one.local / folder, table) for name, one in refit.opened(artifact).items()
    }
    return {name: one for name, one in opened.items() if one is not None}


def test_the_sources_name_the_new_item_from_the_days_clicks(shop, parts):
    served = fitted(parts["sources"], "served", parts["added_items"])
    judged = fitted(parts["sources"], "judged", parts["added_items"])
    recent = Recent(np.array([0]), np.zeros(1, np.float32))  # a click on the best of its block
    for name in (FOLLOW_UPS, ITEM_KNN):
        assert isinstance(served[name], Neighbours) and len(served[name].place) == NEW + 1
        assert NEW in served[name].best(recent, 10), name
        assert NEW not in judged[name].best(recent, 150), "without the day nobody clicked it"
    # and what follows the new item is of its visitors' block
    after = served[FOLLOW_UPS].best(Recent(np.array([NEW]), np.zeros(1, np.float32)), 3)
    assert len(after) == 3 and set(after.tolist()) <= {*range(15), NEW}
    young = judged[YOUNG_ITEMS]
    assert isinstance(young, Young) and NEW in young.rows
    assert refit.popular_items(parts["sources"]).index("new") < 20, "by one day of the window"


def test_the_release_has_it_and_keeps_the_rest(shop, parts, tuned):
    release = releases.read_release(tuned)
    assert release.gate is not None and release.gate["passed"], release.failed_checks
    assert release.metrics["items"] == {"entered": 1, "names": ["new"]}
    ids = json.loads(tuned.path("item_ids.json").read_text())
    assert ids == [*ITEMS, "new"]
    backfill = json.loads(tuned.path("models/filter_seen_items/popularity.json").read_text())
    popular = [*refit.popular_items(parts["sources"])]
    assert [ids[row - 3] for row in backfill] == popular
    before, after = (
        load_index(one.path("models/faiss_retrieval/index.faiss")) for one in (shop.champion, tuned)
    )
    rows = np.arange(3, 3 + len(ITEMS))
    assert after.ntotal == before.ntotal + 1
    assert before.reconstruct_batch(rows).tobytes() == after.reconstruct_batch(rows).tobytes()
    # an item without clicks, to the rung, which is its generation's
    assert not after.reconstruct(3 + NEW).any()
    blend = read_blend(tuned.local / "models" / "candidate_sources")
    assert blend is not None and len(blend.young) == NEW + 1 and not blend.young[NEW]
    for model in ("query_tower", "dlrm_ranking"):
        for name, entry in tuned.manifest["files"].items():
            if name.startswith(f"models/{model}/"):
                assert entry == shop.champion.manifest["files"][name], "the models are frozen"


def lists(shop: SimpleNamespace, release: Release, parts: dict[str, Any], asked: Queries) -> Any:
    scorer: Scorer = scorer_of(
        shop.store,
        release,
        log=parts["interactions"],
        days_before=parts["days_before"],
        retrieval_topk=300,
        as_served=True,
    )
    return np.array(scorer.scores(asked, np.arange(len(asked))), np.float64)


def asked_on(shop: SimpleNamespace, day: str, log: list[Artifact]) -> Queries:
    return Queries.build(
        shop.store.require("features/interactions", [day]),
        log,
        shop.store.current("raw/items"),
        seed=7,
        rule=DEFAULT_RULE,
        zone="UTC",
    )


def test_lists_show_it_to_the_visitors_of_its_block_first(shop, parts, tuned):
    asked = asked_on(shop, NEXT, parts["interactions"])
    own, before = (
        lists(shop, releases.read_release(one), parts, asked) for one in (tuned, shop.champion)
    )
    at = asked.item_ids.tolist().index("new")
    assert (before[:, at] == -np.inf).all(), "the champion does not know it"
    assert (own[:, at] > -np.inf).any()
    place = (own > own[:, [at]]).sum(axis=1)
    block = asked.frame[c.USER_ID].str.slice(1).cast(pl.Int64).to_numpy() % 4 == 0
    assert place[block].min() < 10 and np.median(place[block]) < np.median(place[~block])


def test_older_days_are_judged_by_tables_that_lack_it(shop, parts, tuned):
    """The tables of the last full training know fewer items than the release."""
    store, release = shop.store, releases.read_release(tuned)
    log = store.require("raw/interactions", DAYS)
    asked = asked_on(shop, DAYS[-1], log)
    scorer = scorer_of(
        store,
        release,
        log=log,
        days_before=store.require("features/interactions", [DAYS[-2]]),
        retrieval_topk=300,
    )
    found = np.array(scorer.scores(asked, np.arange(len(asked))), np.float64)
    assert found.shape == (len(asked), NEW + 1) and (found > -np.inf).any(axis=1).all()
    places = released_places(store, release, DAYS[-1])
    assert places is not None and len(places.young) == NEW + 1 and places.young[NEW]


def test_the_next_fine_tune_starts_from_its_items(shop, parts, tuned):
    store = shop.store
    tuned_fusion.publish_items(store, [*ITEMS, "new", "newer"])
    tuned_fusion.land(shop, AFTER, "newer", seed=41)
    further = tuned_fusion.parts_of(shop, AFTER, tuned, [*DAYS[2:], NEXT, AFTER])
    assert further["added_items"].metrics["entered_before"] == 1
    built = tuned_fusion.tuned_release(shop, AFTER, further)
    release = releases.read_release(built)
    assert json.loads(built.path("item_ids.json").read_text()) == [*ITEMS, "new", "newer"]
    assert (release.generation, release.number) == (1, 3)
    served = fitted(further["sources"], "served", further["added_items"])
    recent = Recent(np.array([0]), np.zeros(1, np.float32))
    assert {NEW, NEWER} <= set(served[FOLLOW_UPS].best(recent, 15).tolist())
    model = released_rung(store, release, further["interactions"]).model
    assert len(model.item_ids) == len(model.vectors) == NEWER + 1


def test_sources_of_other_items_are_refused(shop, parts):
    from recsys_assets.lib.gates import fine_tuned

    rows = {"rows": parts["rows"]}
    other = tuned_fusion.files(shop.store, "fine_tune/items", NEXT, rows, entered__json='["x"]')
    for role in ("blend", "sources"):
        made = shop.store.open(parts["blend"].reference())
        assert made.manifest["inputs"][ADDED]["digest"] == parts["added_items"].digest, role
    with pytest.raises(
        releases.ReleaseError, match=r"blend \[2026-11-13\].*another fine_tune/items"
    ):
        fine_tuned.fine_tune_inputs(shop.store, shop.settings, {**parts, "added_items": other})
