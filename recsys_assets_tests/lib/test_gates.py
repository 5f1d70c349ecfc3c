"""What is promoted, what is not, and that the verdict says why."""

from __future__ import annotations

import math

import pytest

from recsys_assets.lib import gates

FULL = {"recall": 0.30, "popularity_recall": 0.20, "auc": 0.65, "parity": {"dlrm.onnx": 2e-7, "query_tower.onnx": 1e-7},
        "index_agreement": 1.0}
FINE = {"candidate_auc": 0.655, "champion_auc": 0.66, "candidate_recall": 0.31, "champion_recall": 0.30, "rows": 500,
        "parity": {"dlrm.onnx": 2e-7}}


def failed(verdict: gates.Verdict) -> list[str]:
    assert verdict["passed"] == all(check["passed"] for check in verdict["checks"])
    return [check["name"] for check in verdict["checks"] if not check["passed"]]


def test_a_good_release_passes():
    verdict = gates.full_release(**FULL)
    assert verdict["passed"] is True and failed(verdict) == []
    assert {"name": "auc", "value": 0.65, "threshold": 0.6, "passed": True} in verdict["checks"]


@pytest.mark.parametrize(("change", "check"), [
    ({"recall": 0.20}, "recall@100 above popularity"),  # as good as popularity is not better
    ({"recall": math.nan}, "recall@100 above popularity"),
    ({"auc": 0.5999}, "auc"),
    ({"auc": None}, "auc"),
    ({"parity": {"dlrm.onnx": 1.1e-5}}, "parity of dlrm.onnx"),
    ({"parity": {"dlrm.onnx": math.nan}}, "parity of dlrm.onnx"),
    ({"parity": {}}, "models with parity"),
    ({"index_agreement": 0.99}, "index agreement"),
])
def test_a_bad_release_is_blocked(change, check):
    assert failed(gates.full_release(**{**FULL, **change})) == [check]


def test_at_the_limits_a_release_passes():
    assert gates.full_release(**{**FULL, "auc": 0.6, "parity": {"a": 1e-5}, "index_agreement": 0.999})["passed"]


def test_a_fine_tune_within_tolerance_passes():
    assert gates.fine_tune(**FINE)["passed"]


@pytest.mark.parametrize(("change", "check"), [
    ({"candidate_auc": 0.6499}, "auc against the champion"),
    ({"candidate_recall": 0.2799}, "recall@100 against the champion"),
    ({"champion_auc": math.nan}, "auc against the champion"),
    ({"rows": 199}, "held-out rows"),
    ({"parity": {"dlrm.onnx": 1e-3}}, "parity of dlrm.onnx"),
])
def test_a_worse_fine_tune_is_blocked(change, check):
    verdict = gates.fine_tune(**{**FINE, **change})
    assert failed(verdict) == [check]
    assert len(gates.failures(verdict)) == 1 and gates.failures(verdict)[0].startswith(check)


def test_thresholds_can_be_set():
    assert not gates.full_release(**FULL, auc_floor=0.7)["passed"]
    assert gates.fine_tune(**{**FINE, "rows": 5}, minimum_rows=5)["passed"]
    assert not gates.fine_tune(**FINE, auc_tolerance=0.001)["passed"]
