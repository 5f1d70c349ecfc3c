"""Which honest shop breaks which check: none is kept from a first release, and nothing wrong passes
in any of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.gates import gates
from recsys_assets.lib.gates.limits import Limits
from recsys_assets_tests.lib.gates.test_gates import GOOD, POPULARITY, difference

NEW_ITEMS = "slices: new_items, served recall@50 not surely below random's"


def first(**parts: Any) -> dict[str, Any]:
    """GOOD of a shop that nothing serves yet."""
    exposure = {**GOOD["exposure"], "champion_concentration": None, "champion_coverage": None}
    slices = {name: {**one, "champion_high": None} for name, one in GOOD["slices"].items()}
    return {
        **GOOD,
        "champion": None,
        "champion_latency_ms": None,
        "freshness": {"day": "2026-11-19", "champion_day": None},
        "exposure": exposure,
        "slices": slices,
        **parts,
    }


def ranker(**figures: Any) -> dict[str, Any]:
    return {**GOOD["ranker"], **figures}


def exposure(**figures: Any) -> dict[str, Any]:
    return {
        **GOOD["exposure"],
        "champion_concentration": None,
        "champion_coverage": None,
        **figures,
    }


NOTHING = {"auc": None, "calibration_error": None, "calibration_noise": None}
BELOW = {"queries": 800, "visitors": 300, "value": 0.1, "other": 0.3, "high": -0.1}
#: What an honest shop gives that the simulator does not.
HONEST: dict[str, dict[str, Any]] = {
    "no negatives": {"ranker": ranker(rows=900, clicked=900, **NOTHING)},
    "validation days without a click on an unseen item": {
        "queries": 0,
        "visitors": 0,
        "popularity": None,
        "slices": {"cold_users": {"queries": 0}, "new_items": {"queries": 0}},
        "ranker": ranker(rows=50, clicked=0, **NOTHING),
        "exposure": exposure(concentration=0.0, **{"coverage@10": 0.0, "possible_coverage": 0.0}),
        "latency_ms": None,
        "drift": {},
    },
    "12 items": {
        "exposure": exposure(
            concentration=1.0,
            popularity_concentration=1.0,
            possible_coverage=1.0,
            items=12,
            **{"coverage@10": 1.0},
        ),
        "slices": {"cold_users": {**BELOW, "value": 1.0}, "new_items": BELOW},
    },
    "one category": {"drift": {"category_l1": {"value": 0.0, "chance": 0.0}}},
    "news: everybody clicks the same ten": {
        "exposure": exposure(concentration=0.93, **{"coverage@10": 0.03})
    },
    "news: other stories than last week": {"drift": {"item_id": {"value": 0.9, "chance": 0.01}}},
    "30 queries": {
        "queries": 30,
        "visitors": 12,
        "popularity": {"value": -0.1, "low": -0.2, "high": -0.01},
        "slices": {
            "cold_users": {**BELOW, "queries": 30, "visitors": 12},
            "new_items": {**BELOW, "queries": 3, "visitors": 3},
        },
        "ranker": ranker(rows=150, clicked=30, auc=0.4),
    },
    "one visitor": {
        "visitors": 1,
        "popularity": {"value": -0.01, "low": -0.01, "high": -0.01},
        "slices": {"cold_users": {**BELOW, "visitors": 1}, "new_items": {**BELOW, "visitors": 1}},
        "exposure": exposure(concentration=0.99, **{"coverage@10": 0.01}),
    },
    "few clicks among many rows": {"ranker": ranker(clicked=20, auc=0.48)},
    "no new items": {"slices": {**first()["slices"], "new_items": {"queries": 0}}},
    "no texts: new items are never found": {"slices": {**first()["slices"], "new_items": BELOW}},
    "new visitors buy what is popular": {"slices": {**first()["slices"], "cold_users": BELOW}},
    "people click whatever is shown first": {"ranker": ranker(auc=0.501)},
    "another click rate since the sale": {"ranker": ranker(calibration_error=0.3)},
    "a sale in the validation days": {"drift": {"price": {"value": 0.5, "chance": 0.001}}},
    "a slow machine": {"latency_ms": {"query_tower": 40.0, "ranker": 300.0}},
    "popularity is hard to beat": {"popularity": {"value": -0.02, "low": -0.03, "high": -0.01}},
}

#: What is wrong in every shop.
WRONG: dict[str, dict[str, Any]] = {
    "parity is off": {"parity": {**GOOD["parity"], "dlrm.onnx": 0.01}},
    "a model without parity": {"parity": {"dlrm.onnx": 0.0}},
    "the index misses neighbours": {"index": {"recall": 0.5, "recall_floor": 0.999}},
    "the index was not measured": {"index": {"recall": None, "recall_floor": 0.999}},
    "stale": {"freshness": {"day": "2026-11-01", "champion_day": "2026-11-18"}},
    "drift was not measured": {"drift": None},
    "a time is NaN": {"latency_ms": {"query_tower": float("nan"), "ranker": 1.0}},
    "the simple rung is better": {
        "rung": {**GOOD["rung"], "difference": {"value": -0.01, "low": -0.02, "high": 0.0}}
    },
}


def blocking(evidence: dict[str, Any], limits: Limits = Limits()) -> list[str]:
    checks = gates.full_release(evidence, limits)["checks"]
    return [check["name"] for check in checks if check["blocks"] and not check["passed"]]


@pytest.mark.parametrize("shop", HONEST)
def test_no_honest_shop_is_kept_from_its_first_release(shop):
    assert blocking(first(**HONEST[shop])) == []
    assert gates.full_release(first(**HONEST[shop]))["passed"]


@pytest.mark.parametrize("shop", HONEST)
@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_blocks_a_first_release_of_any_shop(shop, fault):
    assert not gates.full_release(first(**{**HONEST[shop], **WRONG[fault]}))["passed"]


@pytest.mark.parametrize("part", ["value", "other", "high"])
def test_a_missing_figure_of_a_slice_blocks_a_first_release(part):
    slices = {**first()["slices"], "new_items": {**BELOW, part: None}}
    assert blocking(first(slices=slices)) == [NEW_ITEMS]


def with_champion(shop: str) -> dict[str, Any]:
    """The same shop, retrained: its champion has the same flaw."""
    parts = {name: value for name, value in HONEST[shop].items() if value != {}}
    slices = {
        name: {**one, "champion_high": 0.02} for name, one in parts.get("slices", {}).items()
    } or GOOD["slices"]
    shown = parts.get("exposure")
    if shown:
        alike = {
            "champion_concentration": shown["concentration"],
            "champion_coverage": shown["coverage@10"],
        }
        shown = {**shown, **alike}
    champion = {**GOOD["champion"], **_counted(parts)}
    if "ranker" in parts and parts["ranker"]["auc"] is None:
        champion["auc"] = None
    elif "ranker" in parts:
        champion["auc"] = difference(0.0, 0.002, parts["ranker"]["auc"])
    return {
        **GOOD,
        **parts,
        "champion": champion,
        "champion_latency_ms": parts.get("latency_ms", GOOD["latency_ms"]),
        "slices": slices,
        "exposure": shown or GOOD["exposure"],
    }


def _counted(parts: dict[str, Any]) -> dict[str, Any]:
    """What the champion's part of the evidence counts in such a shop."""
    found = {name: parts[name] for name in ("queries", "visitors") if name in parts}
    if "visitors" in found:
        found["row_visitors"] = found["visitors"]
    if "ranker" in parts:
        found |= {name: parts["ranker"][name] for name in ("rows", "clicked")}
    return found


#: Over a champion these block: the data of these days are not those that it was trained on, or the
#: champion was promoted although popularity is better. The ladder then promotes a simple rung.
STOPS = {
    "a sale in the validation days": ["drift: price, the largest"],
    "popularity is hard to beat": [POPULARITY],
}


@pytest.mark.parametrize("shop", HONEST)
def test_a_flaw_that_the_champion_shares_is_no_reason_to_keep_it(shop):
    assert blocking(with_champion(shop)) == STOPS.get(shop, [])


#: What is truly worse than the champion, and the check that says so.
WORSE: dict[str, tuple[dict[str, Any], str]] = {
    "lists": (
        {"champion": {**GOOD["champion"], "served ndcg@10": difference(-0.02, 0.005, 0.1)}},
        "champion: served ndcg@10",
    ),
    "retrieval": (
        {"champion": {**GOOD["champion"], "retrieval recall@100": difference(-0.2, 0.05, 0.6)}},
        "champion: retrieval recall@100",
    ),
    "ranker of lists that nobody judges": (
        {"champion": {**GOOD["champion"], "visitors": 19, "auc": difference(-0.05, 0.01, 0.75)}},
        "champion: auc",
    ),
    "new items": (
        {"slices": {**GOOD["slices"], "new_items": {**BELOW, "champion_high": -0.1}}},
        NEW_ITEMS,
    ),
    "chance, of lists that nobody judges": (
        {"champion": {**GOOD["champion"], "visitors": 19}, "ranker": ranker(auc=0.5)},
        "ranker: auc",
    ),
    "collapsed lists": (
        {"exposure": {**GOOD["exposure"], "concentration": 0.95}},
        "exposure: share of the most shown items",
    ),
    "coverage": ({"exposure": {**GOOD["exposure"], "coverage@10": 0.1}}, "exposure: coverage@10"),
    "a larger model": (
        {"latency_ms": {"query_tower": 0.03, "ranker": 60.0}},
        "latency: ranker, ms",
    ),
    "popularity": ({"popularity": {"value": -0.02, "low": -0.03, "high": -0.01}}, POPULARITY),
    "another unit": (
        {"drift": {"price": {"value": 0.9, "chance": 0.001}}},
        "drift: price, the largest",
    ),
}


@pytest.mark.parametrize("worse", WORSE)
def test_a_worse_candidate_is_blocked_over_a_champion(worse):
    parts, check = WORSE[worse]
    assert blocking({**GOOD, **parts}) == [check]


def test_where_lists_are_judged_auc_is_a_report():
    """It is over shown items, and the list orders candidates: it may fall where lists are better."""
    less = {
        "champion": {**GOOD["champion"], "auc": difference(-0.05, 0.01, 0.75)},
        "ranker": ranker(auc=0.5),
    }
    found = gates.full_release({**GOOD, **less})
    assert found["passed"] and blocking({**GOOD, **less}) == []
    warned = {check["name"] for check in found["checks"] if not check["passed"]}
    assert warned == {"champion: auc", "ranker: auc"}


def test_on_a_slow_machine_only_a_slower_model_than_the_champion_blocks():
    slow = {"query_tower": 40.0, "ranker": 300.0}
    alike = {**GOOD, "latency_ms": slow, "champion_latency_ms": {"query_tower": 21, "ranker": 151}}
    assert blocking(alike) == []
    slower = {**alike, "champion_latency_ms": {"query_tower": 21, "ranker": 149}}
    assert blocking(slower) == ["latency: ranker, ms"]
    # a champion without learned models answers at once
    assert blocking({**alike, "champion_latency_ms": None}) == []


def test_a_concentrated_shop_is_compared_with_its_champion():
    news = {
        **GOOD["exposure"],
        "concentration": 0.94,
        "coverage@10": 0.03,
        "champion_concentration": 0.9,
        "champion_coverage": 0.05,
    }
    assert blocking({**GOOD, "exposure": news}) == []
    more = {**news, "concentration": 0.96}
    assert blocking({**GOOD, "exposure": more}) == ["exposure: share of the most shown items"]


def test_equal_models_are_seldom_called_surely_worse_by_the_fewest_visitors_that_are_judged():
    """Of Limits.visitors visitors with five queries each, whose answers are as good by chance."""
    rng = np.random.default_rng(3)

    def surely_worse(visitors: int, trials: int) -> float:
        users, found = np.repeat(np.arange(visitors), 5), 0
        for _ in range(trials):
            own, others = rng.integers(1, 30, (2, len(users)))
            interval = list_metrics.paired_difference(own, others, users, resamples=200)
            found += interval["high"] < 0
        return found / trials

    assert surely_worse(Limits().visitors, 1_200) < 0.05
    assert surely_worse(1, 100) > 0.3 and surely_worse(3, 200) > 0.1
