"""What is promoted, what is not, and that the verdict says why: check by check."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from recsys_assets.lib.gates import gates


def difference(value: float, half: float, champion: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half, "champion": champion}


GOOD: dict[str, Any] = {
    "popularity": {"value": 0.08, "low": 0.07, "high": 0.09},
    "champion": {
        "release": 3,
        "judged_on": "2026-11-19",
        "served ndcg@10": difference(0.001, 0.004, 0.1),
        "retrieval recall@100": difference(-0.001, 0.004, 0.6),
        "auc": difference(0.0, 0.002, 0.75),
    },
    "slices": {
        "cold_users": {"queries": 800, "value": 0.64, "other": 0.43},
        "new_items": {"queries": 167, "value": 0.6, "other": 0.08},
    },
    "ranker": {"rows": 57_600, "auc": 0.75, "calibration_error": 0.018, "calibration_noise": 0.004},
    "exposure": {
        "concentration": 0.17,
        "popularity_concentration": 0.9,
        "coverage@10": 0.8,
        "possible_coverage": 1.0,
        "items": 600,
    },
    "latency_ms": {"query_tower": 0.03, "ranker": 0.7},
    "drift": {"price": 0.001, "hour": 0.01},
    "freshness": {"day": "2026-11-19", "champion_day": "2026-11-18"},
    "parity": {"dlrm.onnx": 6e-8, "item_tower.onnx": 6e-8, "query_tower.onnx": 6e-8},
    "index": {"recall": 1.0, "recall_floor": 0.999},
}


def failed(verdict: gates.Verdict) -> list[str]:
    assert verdict["passed"] == all(check["passed"] for check in verdict["checks"])
    assert all(
        set(check) == {"name", "value", "threshold", "passed"} for check in verdict["checks"]
    )
    return [check["name"] for check in verdict["checks"] if not check["passed"]]


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
    assert {"name": "ranker: auc", "value": 0.75, "threshold": 0.6, "passed": True} in verdict[
        "checks"
    ]
    tuned = gates.fine_tune(
        {key: value for key, value in GOOD.items() if key not in ("popularity", "index")}
    )
    assert tuned["passed"] and tuple(gates.by_group(tuned)) == gates.FINE_TUNE_GROUPS


#: Path of the evidence → a value that is just too bad, and the check that it fails.
NUMBERS = {
    "popularity/low": (0.0, "popularity: served ndcg@10 above recent popularity's, lower bound"),
    "slices/cold_users/value": (0.43, "slices: cold_users, served recall@100 above popularity's"),
    "slices/new_items/value": (0.08, "slices: new_items, served recall@50 above random's"),
    "ranker/rows": (199, "ranker: held-out rows"),
    "ranker/auc": (0.5999, "ranker: auc"),
    "ranker/calibration_error": (0.0541, "ranker: calibration error"),
    "exposure/concentration": (0.541, "exposure: share of the most shown items"),
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
        assert failed(verdict) == [check], value


@pytest.mark.parametrize("part", GOOD)
def test_no_part_of_the_evidence_may_be_missing(part):
    assert failed(gates.full_release({key: value for key, value in GOOD.items() if key != part}))
    assert (
        failed(gates.full_release({**GOOD, part: {}})) or part == "drift"
    )  # an empty drift: too few rows


def test_nan_drift_is_the_largest():
    assert failed(gates.full_release(changed("drift/price", math.nan))) == [
        "drift: price, the largest"
    ]
    assert failed(gates.full_release(changed("drift/price", 0.26))) == ["drift: price, the largest"]
    assert gates.full_release(changed("drift", {}))["passed"]


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
        changed("slices/cold_users", {"queries": 99, "value": 0.0, "other": 0.5}),
        changed("slices/cold_users", {"queries": 0}),
        {
            **changed("exposure/items", 299),
            "slices": {
                **GOOD["slices"],
                "cold_users": {"queries": 500, "value": 0.1, "other": 0.2},
            },
        },
    ],
)
def test_a_slice_of_too_little_says_so_and_passes(evidence):
    verdict = gates.full_release(evidence)
    [check] = [check for check in verdict["checks"] if "cold_users" in check["name"]]
    assert verdict["passed"] and check["value"].startswith("too few to judge")


def test_limits_can_be_set():
    assert failed(gates.full_release(GOOD, gates.Limits(auc_floor=0.8))) == ["ranker: auc"]
    assert gates.fine_tune(changed("ranker/rows", 5), gates.Limits(minimum_rows=5))["passed"]
    assert failed(gates.full_release(GOOD, gates.Limits(query_tower_ms=1e-6))) == [
        "latency: query tower, ms"
    ]


def test_of_clicks_alone_a_full_release_is_judged_by_its_lists():
    alone = {
        "rows": 900,
        "auc": None,
        "calibration_error": None,
        "calibration_noise": None,
        "clicks_alone": True,
    }
    evidence = {**changed("champion/auc", None), "ranker": alone}
    found = gates.full_release(evidence)
    assert failed(found) == []
    said = {check["name"]: check["value"] for check in found["checks"]}
    assert {
        said[name] for name in ("ranker: auc", "ranker: calibration error", "champion: auc")
    } == {gates.NO_UNCLICKED}
    # all else is judged as ever
    worse = copy.deepcopy(evidence)
    worse["popularity"]["low"], worse["ranker"]["rows"] = -0.01, 100
    assert failed(gates.full_release(worse)) == [
        "popularity: served ndcg@10 above recent popularity's, lower bound",
        "ranker: held-out rows",
    ]
    # a day of clicks alone cannot be told from a log that has lost its impressions
    assert failed(gates.fine_tune(evidence)) == [
        "champion: auc",
        "ranker: auc",
        "ranker: calibration error",
    ]
