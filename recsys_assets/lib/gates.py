"""Whether a release may be promoted: pure functions from metrics to a verdict that says why.

A verdict is {"passed": bool, "checks": [{"name", "value", "threshold", "passed"}]}. A missing or NaN value fails its
check: a metric that could not be computed is no reason to promote.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

AUC_FLOOR = 0.6
PARITY_LIMIT = 1e-5
INDEX_AGREEMENT = 0.999
#: How much worse than the champion a fine-tune may be on the same held-out rows. One day's rows measure no finer.
AUC_TOLERANCE = 0.01
RECALL_TOLERANCE = 0.02
MINIMUM_ROWS = 200

Verdict = dict[str, Any]
Check = dict[str, Any]


def _check(name: str, value: float | None, compare: Callable[[float, float], bool], threshold: float | None) -> Check:
    usable = all(v is not None and not math.isnan(v) for v in (value, threshold))
    return {"name": name, "value": value, "threshold": threshold, "passed": bool(usable and compare(value, threshold))}


def _parity(differences: Mapping[str, float]) -> list[Check]:
    return [_check(f"parity of {name}", differences[name], operator.le, PARITY_LIMIT) for name in sorted(differences)]


def _verdict(checks: list[Check]) -> Verdict:
    return {"passed": all(check["passed"] for check in checks), "checks": checks}


def full_release(*, recall: float, popularity_recall: float, auc: float, parity: Mapping[str, float],
                 index_agreement: float, auc_floor: float = AUC_FLOOR) -> Verdict:
    """A new generation: better than popularity, able to rank, exported and indexed without loss.

    Args:
        recall: recall@100 over the whole catalogue on the validation days.
        popularity_recall: the same of the popularity ranking, on the same rows.
        auc: of the ranker on the validation days.
        parity: ONNX file → largest absolute difference from TensorFlow.
        index_agreement: share of the brute-force neighbours that the index finds.
    """
    return _verdict([
        _check("recall@100 above popularity", recall, operator.gt, popularity_recall),
        _check("auc", auc, operator.ge, auc_floor),
        *_parity(parity),
        _check("models with parity", len(parity), operator.ge, 1),
        _check("index agreement", index_agreement, operator.ge, INDEX_AGREEMENT),
    ])


def fine_tune(*, candidate_auc: float, champion_auc: float, candidate_recall: float, champion_recall: float, rows: int,
              parity: Mapping[str, float], auc_tolerance: float = AUC_TOLERANCE,
              recall_tolerance: float = RECALL_TOLERANCE, minimum_rows: int = MINIMUM_ROWS) -> Verdict:
    """A day's fine-tune: no worse than the champion on the same held-out rows, and enough of them to say so.

    Args:
        candidate_recall, champion_recall: recall@100 over the whole catalogue.
        rows: held-out rows that both were judged on.
        parity: ONNX file → largest absolute difference from TensorFlow.
    """
    return _verdict([
        _check("held-out rows", rows, operator.ge, minimum_rows),
        _check("auc against the champion", candidate_auc, operator.ge, champion_auc - auc_tolerance),
        _check("recall@100 against the champion", candidate_recall, operator.ge, champion_recall - recall_tolerance),
        *_parity(parity),
    ])


def failures(verdict: Verdict) -> list[str]:
    """One line a failed check: what it is, what it was and what it had to be."""
    return [f"{check['name']}: {check['value']} (threshold {check['threshold']})"
            for check in verdict["checks"] if not check["passed"]]
