"""What is promoted, what is not, and that the verdict says why: check by check."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from recsys_assets.lib.gates import gates, statistical
from recsys_assets.lib.gates.limits import Limits


def difference(value: float, half: float, champion: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half, "champion": champion}


GOOD: dict[str, Any] = {
    "visitors": 400,
    "popularity": {"value": 0.08, "low": 0.07, "high": 0.09},
    "champion": {
        "release": 3,
        "rung": "full",
        "judged_on": "2026-11-19",
        "queries": 900,
        "visitors": 400,
        "rows": 57_600,
        "clicked": 11_520,
        "row_visitors": 500,
        "served ndcg@10": difference(0.001, 0.004, 0.1),
        "retrieval recall@100": difference(-0.001, 0.004, 0.6),
        "auc": difference(0.0, 0.002, 0.75),
    },
    "rung": {
        "name": "item_to_item",
        "queries": 900,
        "difference": {"value": 0.02, "low": 0.01, "high": 0.03},
    },
    "slices": {
        "cold_users": {
            "queries": 800,
            "visitors": 300,
            "value": 0.64,
            "other": 0.43,
            "high": 0.25,
            "champion_high": 0.01,
        },
        "new_items": {
            "queries": 167,
            "visitors": 90,
            "value": 0.6,
            "other": 0.08,
            "high": 0.6,
            "champion_high": 0.05,
        },
    },
    "ranker": {
        "rows": 57_600,
        "clicked": 11_520,
        "auc": 0.75,
        "calibration_error": 0.018,
        "calibration_noise": 0.004,
    },
    "exposure": {
        "concentration": 0.17,
        "popularity_concentration": 0.9,
        "coverage@10": 0.8,
        "possible_coverage": 1.0,
        "champion_concentration": 0.2,
        "champion_coverage": 0.7,
        "items": 600,
    },
    "latency_ms": {"query_tower": 0.03, "ranker": 0.7},
    "champion_latency_ms": {"query_tower": 0.03, "ranker": 0.7},
    "drift": {
        "price": {"value": 0.001, "chance": 0.002},
        "hour": {"value": 0.01, "chance": 0.001},
        "item_id": {"value": 0.02, "chance": 0.01},
    },
    "freshness": {"day": "2026-11-19", "champion_day": "2026-11-18"},
    "parity": {"dlrm.onnx": 6e-8, "item_tower.onnx": 6e-8, "query_tower.onnx": 6e-8},
    "index": {"recall": 1.0, "recall_floor": 0.999},
}


def failed(verdict: gates.Verdict) -> list[str]:
    keys = {"name", "value", "threshold", "passed", "blocks"}
    assert all(set(check) == keys for check in verdict["checks"])
    found = [check for check in verdict["checks"] if not check["passed"]]
    assert verdict["passed"] == (not any(check["blocks"] for check in found))
    return [check["name"] for check in found]


def changed(path: str, value: Any) -> dict[str, Any]:
    """GOOD with the value at ``part/name/…`` replaced."""
    evidence = copy.deepcopy(GOOD)
    *parents, last = path.split("/")
    inner = evidence
    for name in parents:
        inner = inner[name]
    inner[last] = value
    return evidence


def test_a_good_release_passes_every_group():
    verdict = gates.full_release(GOOD)
    assert verdict["passed"] is True and failed(verdict) == []
    assert list(gates.by_group(verdict)) == list(gates.GROUPS)
    [auc] = [check for check in verdict["checks"] if check["name"] == "ranker: auc"]
    assert auc["value"] == 0.75 and 0.5 < auc["threshold"] < 0.51
    tuned = gates.fine_tune(
        {key: value for key, value in GOOD.items() if key not in ("popularity", "rung", "index")}
    )
    assert tuned["passed"] and tuple(gates.by_group(tuned)) == gates.FINE_TUNE_GROUPS


POPULARITY = "popularity: served ndcg@10 − recent popularity's"
#: Path of the evidence → a value that is just too bad, and the check that it fails.
NUMBERS = {
    "popularity": ({"value": -0.02, "low": -0.03, "high": -0.01}, POPULARITY),
    "rung/difference/value": (0.0, "rung: served ndcg@10 − the simple rung's"),
    "exposure/concentration": (0.61, "exposure: share of the most shown items"),
    "exposure/coverage@10": (0.199, "exposure: coverage@10"),
    "latency_ms/query_tower": (5.01, "latency: query tower, ms"),
    "latency_ms/ranker": (25.1, "latency: ranker, ms"),
    "parity/dlrm.onnx": (1.1e-6, "exports: parity of dlrm.onnx"),
    "index/recall": (0.998, "exports: index agreement"),
}


@pytest.mark.parametrize("path", NUMBERS)
def test_what_is_too_bad_missing_or_nan_is_blocked_by_its_check(path):
    bad, check = NUMBERS[path]
    for value in (bad, math.nan, None):
        verdict = gates.full_release(changed(path, value))
        assert failed(verdict) == [check] and not verdict["passed"], value


@pytest.mark.parametrize("bad", [0.0541, math.nan, None])
def test_calibration_only_warns_unless_it_is_missing(bad):
    found = gates.full_release(changed("ranker/calibration_error", bad))
    assert failed(found) == ["ranker: calibration error"] and found["passed"] == (bad == 0.0541)


@pytest.mark.parametrize("bad", [0.504, math.nan, None])
def test_auc_only_warns_unless_it_is_missing(bad):
    found = gates.full_release(changed("ranker/auc", bad))
    assert failed(found) == ["ranker: auc"] and found["passed"] == (bad == 0.504)


def test_popularity_warns_where_nothing_is_sure_and_blocks_where_it_is_surely_better():
    unsure = changed("popularity", {"value": 0.01, "low": -0.01, "high": 0.03})
    assert failed(gates.full_release(unsure)) == [POPULARITY]
    assert gates.full_release(unsure)["passed"]
    surely = changed("popularity", {"value": -0.02, "low": -0.03, "high": -0.01})
    assert failed(gates.full_release(surely)) == [POPULARITY]
    assert not gates.full_release(surely)["passed"]


# the champion's time is asked for only where the budget is exceeded
@pytest.mark.parametrize("part", [part for part in GOOD if part != "champion_latency_ms"])
def test_no_part_of_the_evidence_may_be_missing(part):
    assert failed(gates.full_release({key: value for key, value in GOOD.items() if key != part}))
    assert (
        failed(gates.full_release({**GOOD, part: {}})) or part == "drift"
    )  # an empty drift: too few rows


PRICE = "drift: price, the largest"


def test_nan_drift_is_the_largest():
    assert failed(gates.full_release(changed("drift/price/value", math.nan))) == [PRICE]
    assert failed(gates.full_release(changed("drift/price/chance", None))) == [PRICE]
    assert failed(gates.full_release(changed("drift/price/value", 0.26))) == [PRICE]
    assert gates.full_release(changed("drift", {}))["passed"]


def test_drift_within_chance_passes():
    assert failed(gates.full_release(changed("drift/price", {"value": 0.3, "chance": 0.04}))) == [
        PRICE
    ]
    assert failed(gates.full_release(changed("drift/price", {"value": 0.3, "chance": 0.06}))) == []


@pytest.mark.parametrize("measure", ["served ndcg@10", "retrieval recall@100", "auc"])
@pytest.mark.parametrize(
    ("value", "half", "passed"),
    [
        (0.02, 0.01, True),
        (-0.01, 0.02, True),  # nothing says that it is worse
        (-0.0015, 0.001, True),  # worse for sure, and for sure by little
        (-0.01, 0.008, False),
        (-0.03, 0.001, False),  # worse for sure, and nobody knows that it is by little
        (math.nan, 0.01, False),
        (-0.01, math.nan, False),
        (0.01, math.inf, False),
    ],
)
def test_no_worse_than_the_champion_minus_a_tolerance(measure, value, half, passed):
    verdict = gates.full_release(
        changed(f"champion/{measure}", difference(value, half, 0.5 if measure != "auc" else 0.75))
    )
    assert failed(verdict) == ([] if passed else [f"champion: {measure}"])


def test_the_list_of_a_simple_rung_is_not_compared_with_a_first_stage():
    worse = changed("champion/retrieval recall@100", difference(-0.3, 0.001, 0.9))
    assert failed(gates.full_release(worse)) == ["champion: retrieval recall@100"]
    worse["champion"]["rung"] = "fusion"
    verdict = gates.full_release(worse)
    assert verdict["passed"]
    (found,) = [
        check for check in verdict["checks"] if check["name"] == "champion: retrieval recall@100"
    ]
    assert found["value"] == "fusion has no first stage"
    worse["champion"]["served ndcg@10"] = difference(-0.03, 0.001, 0.1)
    assert failed(gates.full_release(worse)) == ["champion: served ndcg@10"]


def test_without_a_champion_the_check_says_so_and_passes():
    verdict = gates.full_release(
        {**GOOD, "champion": None, "freshness": {"day": "2026-11-19", "champion_day": None}}
    )
    assert verdict["passed"]
    assert gates.by_group(verdict)["champion"] == [
        {
            "name": "champion: release",
            "value": "none yet",
            "threshold": "nothing to be worse than",
            "passed": True,
            "blocks": True,
        }
    ]
    assert failed(gates.fine_tune({**GOOD, "champion": None})) == [
        "champion: the one it started from"
    ]  # it had one


def test_a_stale_release_is_blocked():
    assert failed(gates.full_release(changed("freshness/champion_day", "2026-11-20"))) == [
        "freshness: day that was learnt"
    ]
    assert gates.full_release(changed("freshness/champion_day", "2026-11-19"))["passed"]
    assert failed(gates.full_release(changed("freshness/day", None))) == [
        "freshness: day that was learnt"
    ]


@pytest.mark.parametrize(
    "evidence",
    [
        changed("slices/cold_users", {"queries": 99, "value": 0.0, "other": 0.5, "high": -0.4}),
        changed("slices/cold_users", {"queries": 0}),
        {
            **changed("exposure/items", 299),
            "slices": {
                **GOOD["slices"],
                "cold_users": {"queries": 500, "value": 0.1, "other": 0.2, "high": -0.05},
            },
        },
    ],
)
def test_a_slice_of_too_little_says_so_and_passes(evidence):
    verdict = gates.full_release(evidence)
    [check] = [check for check in verdict["checks"] if "cold_users" in check["name"]]
    assert verdict["passed"] and check["value"].startswith("too few to judge")


def test_limits_can_be_set():
    few = {**GOOD, "ranker": {**GOOD["ranker"], "rows": 400, "clicked": 100, "auc": 0.5}}
    assert failed(gates.fine_tune(few)) == ["ranker: auc"]
    assert not failed(gates.fine_tune(few, Limits(minimum_rows=401)))
    assert not failed(gates.fine_tune(few, Limits(auc_chance=0.54)))
    assert failed(gates.full_release(GOOD, Limits(query_tower_ms=1e-6))) == [
        "latency: query tower, ms"
    ]


def test_of_clicks_alone_a_full_release_is_judged_by_its_lists():
    alone = {
        "rows": 900,
        "clicked": 900,
        "auc": None,
        "calibration_error": None,
        "calibration_noise": None,
    }
    champion = {**GOOD["champion"], "auc": None, "rows": 900, "clicked": 900}
    evidence = {**GOOD, "champion": champion, "ranker": alone}
    found = gates.full_release(evidence)
    assert failed(found) == []
    said = {check["name"]: check["value"] for check in found["checks"]}
    assert {
        said[name] for name in ("ranker: auc", "ranker: calibration error", "champion: auc")
    } == {statistical.NO_UNCLICKED}
    # all else is judged as ever
    worse = copy.deepcopy(evidence)
    worse["popularity"] = {"value": -0.02, "low": -0.03, "high": -0.01}
    assert failed(gates.full_release(worse)) == [POPULARITY]
    # a ranker that learned had unclicked rows, so held-out clicks alone are a fault of the log
    assert failed(gates.fine_tune(evidence)) == [
        "champion: auc",
        "ranker: auc",
        "ranker: calibration error",
    ]
    # one that was carried over had none, and the lists are judged all the same
    assert gates.fine_tune(evidence, ranker_learns=False)["passed"]
    worse["champion"]["served ndcg@10"] = {
        **{"value": -0.05, "low": -0.06, "high": -0.04},
        "champion": 0.2,
    }
    assert failed(gates.fine_tune(worse, ranker_learns=False)) == ["champion: served ndcg@10"]


def test_refitted_sources_are_judged_by_their_lists_and_no_model():
    champion = {**GOOD["champion"], "rung": "fusion"}
    lists = {name: GOOD[name] for name in ("visitors", "slices", "exposure", "freshness")}
    evidence = {**lists, "champion": champion}
    found = gates.tuned_sources(evidence)
    assert found["passed"] and set(gates.by_group(found)) == set(gates.FINE_TUNE_GROUPS)
    worse = {"value": -0.05, "low": -0.06, "high": -0.04, "champion": 0.2}
    surely = {**evidence, "champion": {**champion, "served ndcg@10": worse}}
    assert failed(gates.tuned_sources(surely)) == ["champion: served ndcg@10"]
    stale = {**evidence, "freshness": {"day": "2026-11-18", "champion_day": "2026-11-19"}}
    assert failed(gates.tuned_sources(stale)) == ["freshness: day that was learnt"]
    assert "champion: the one it started from" in failed(
        gates.tuned_sources({**evidence, "champion": None})
    )


def test_too_few_clicks_keep_the_simple_rung():
    few = gates.full_release(changed("rung/queries", 29))
    assert failed(few) == ["rung: served ndcg@10 − the simple rung's"] and not few["passed"]


def test_the_value_weighted_ndcg_is_a_report_that_never_blocks():
    worse = {"value": -0.5, "low": -0.6, "high": -0.4}
    found = {
        check["name"]: check
        for check in statistical.valued(
            {
                "rung": {
                    "name": "fusion",
                    "queries": 9,
                    "difference": None,
                    "value_difference": worse,
                },
                "champion": {"served value_ndcg@10": {**worse, "champion": 0.7}},
            }
        )
    }
    assert [*found] == [
        "rung: served value_ndcg@10 − the simple rung's",
        "champion: served value_ndcg@10",
    ]
    assert all(one["passed"] and not one["blocks"] for one in found.values())
    assert found["champion: served value_ndcg@10"]["value"] == worse
    assert statistical.valued({}) == statistical.valued({"champion": None}) == []
