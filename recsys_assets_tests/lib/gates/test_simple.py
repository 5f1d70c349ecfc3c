"""The verdict on a release of a simple rung."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.gates import simple
from recsys_assets.lib.ladder.item_to_item import ItemToItem, Weights
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.release import releases
from recsys_assets.release_files import ITEM_IDS_FILE, RELEASE_FILE, SAMPLING, model_file
from recsys_assets_tests.support import small_clicks, small_rung
from recsys_assets_tests.support.small_clicks import ITEMS

DAYS = [f"2026-11-{day:02d}" for day in range(1, 13)]
TOLERANCE = 0.03


def rung(name: str = "item_to_item") -> dict[str, Any]:
    return {"name": name, "why": "tried", "next": None}


def evidence(**changes: Any) -> dict[str, Any]:
    return {
        "rung": rung(),
        "index": {"recall": 1.0, "recall_floor": 0.999},
        "day": "2026-11-12",
        "champion": None,
        **changes,
    }


def champion(low: float, high: float, **changes: Any) -> dict[str, Any]:
    return {
        "release": 4,
        "rung": "full",
        "day": "2026-11-10",
        "queries": 500,
        "visitors": 90,
        "difference": {"value": (low + high) / 2, "low": low, "high": high},
        "own": 0.1,
        **changes,
    }


def passed(**changes: Any) -> bool:
    return simple.simple_release(evidence(**changes), TOLERANCE)["passed"]


@pytest.mark.parametrize("name", ["popularity", "item_to_item"])
def test_a_first_release_always_passes(name):
    assert passed(rung=rung(name))


def test_a_broken_index_never_passes():
    assert not passed(index={"recall": 0.9, "recall_floor": 0.999})


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-0.002, 0.02, True), (-0.004, 0.02, False), (-0.05, -0.01, False), (0.01, 0.05, True)],
)
def test_a_higher_champion_is_replaced_only_where_nothing_is_lost(low, high, expected):
    """3 % of 0.1 may be lost; beyond that the data must show that it is not."""
    assert passed(champion=champion(low, high)) is expected


@pytest.mark.parametrize(("low", "high", "expected"), [(-0.05, 0.01, True), (-0.05, -0.01, False)])
def test_a_champion_of_the_same_rung_is_replaced_unless_it_is_surely_better(low, high, expected):
    assert passed(champion=champion(low, high, rung="item_to_item")) is expected


def test_too_few_clicks_keep_a_higher_champion_and_refresh_an_equal_one():
    few = {"queries": 12}
    assert not passed(champion=champion(0.0, 0.1, **few))
    assert passed(champion=champion(-0.1, 0.1, rung="popularity", **few))
    none = {"queries": 0, "visitors": 0, "difference": None, "own": None}
    assert not passed(champion={**champion(0, 0), **none})
    # the interval of one visitor has no width, so it says nothing
    one = champion(-0.1, -0.1, rung="item_to_item", visitors=1)
    assert passed(champion=one) and not passed(champion={**one, "visitors": 90})


def test_a_champion_of_a_later_day_stays():
    later = champion(0.01, 0.02, day="2026-11-13")
    verdict = simple.simple_release(evidence(champion=later), TOLERANCE)
    failed = [check["name"] for check in verdict["checks"] if not check["passed"]]
    assert failed == ["freshness: day of the release"]


def test_a_simple_champion_answers_the_same_queries(tmp_path):
    """The champion's vectors are those of its release, by item id."""
    store = ArtifactStore(str(tmp_path))
    small_clicks.publish_shop(store, DAYS)
    queries = small_clicks.publish_queries(store, DAYS[-1], DAYS, DAYS[9:])
    log = store.require("raw/interactions", DAYS)
    model = ItemToItem.fit(read_clicks(log[:9]), np.array(ITEMS), Weights(0.1, 24.0))
    asked = Queries.read(queries)

    def publish(fitted: ItemToItem, name: str):
        lists = list_metrics.run(
            RungScorer.of(name, fitted, read_clicks(log), look_back_days=7), asked
        )
        with store.stage("ladder/simple_rung", DAYS[-1]) as staged:
            fitted.write(staged.path, ITEMS[::-1])
            np.savez(staged.path / "lists.npz", **lists.arrays(name))
            return staged.publish({"rung": rung(name), "recall": 1.0, "recall_floor": 0.999})

    better, popular = publish(model, "item_to_item"), publish(model.popularity_only(), "popularity")
    workflows = small_rung.workflows_of(store, ITEMS[::-1])
    made_from = {"workflows": workflows, "aligned": workflows, "faiss_index": better}
    with store.stage("serving/release", "000001", inputs=made_from) as staged:
        content = {
            "form": releases.CODE_VERSION,
            "release": 1,
            "kind": "simple",
            "day": DAYS[-1],
            "generation": 1,
            "versions": {},
            "gate": None,
            "metrics": {},
            "known_user": None,
            "rung": rung("item_to_item"),
        }
        (staged.path / RELEASE_FILE).write_text(json.dumps(content))
        (staged.path / ITEM_IDS_FILE).write_text(json.dumps(ITEMS[::-1]))
        sampling = staged.path / model_file("softmax_sampling", SAMPLING)
        sampling.parent.mkdir(parents=True)
        sampling.write_text(json.dumps({"ranking_topk": 100}))
        serving = staged.publish()

    def verdict(candidate):
        return simple.write_simple_verdict(
            store,
            tmp_path,
            rung=candidate,
            fusion=candidate,
            queries=queries,
            log=log,
            days_before=[],
            champion=serving,
            as_of=DAYS[-1],
            seed=7,
            retrieval_topk=300,
            ndcg_tolerance=TOLERANCE,
        )

    same, worse = verdict(better), verdict(popular)
    assert same["evidence"]["champion"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert same["gate"]["passed"]
    assert worse["evidence"]["champion"]["difference"]["high"] < 0 and not worse["gate"]["passed"]
    assert json.loads((tmp_path / "verdict.json").read_text()) == worse
