"""Decides whether a release may be promoted: pure functions from evidence to a verdict.

``gates.evidence`` gathers the evidence; ``evidence_types`` and ``release.verdict`` hold both forms.
The name of a check begins with its group (GROUPS). A missing figure or NaN fails its check.

**No worse than the champion.** The evidence holds the paired difference candidate − champion with
its 95 % interval [low, high]. The check passes in either of two cases:

- high ≥ 0: the data do not show that the candidate is worse.
- low ≥ −tolerance: if the candidate is worse, the loss is within the tolerance.

A model that is worse by more than the tolerance is blocked as soon as the data can show it. An
equal model passes in 39 of 40 cases, however few the queries. With many queries, where any small
difference is significant, the tolerance alone decides. A rule by the point estimate alone would
block a third of all equal models at 200 queries, where nDCG@10 differences are known to ± 0.04.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from recsys_assets.lib.gates.evidence_types import Evidence
from recsys_assets.lib.release.verdict import Check, Verdict

#: Lowest AUC of the ranker on held-out exposures. 0.5 is chance. Logged items were chosen by a
#: model already, so AUC seldom exceeds 0.8.
AUC_FLOOR = 0.6


@dataclass(frozen=True)
class Limits:
    """Holds the limits of all checks, each with its reason."""

    auc_floor: float = AUC_FLOOR
    #: Mean gap between predicted and observed click rate, beyond the gap by chance. Click rates
    #: are about 0.05 to 0.3, so a gap of 0.05 is large.
    calibration_error: float = 0.05
    #: Shares of the champion's own figure. With the demo's 9,000 queries, nDCG@10 of one model is
    #: known to ± 5.5 % and recall@100 to ± 2.2 %; paired differences are known better. Visitors do
    #: not notice a loss within 3 %.
    ndcg_tolerance: float = 0.03
    recall_tolerance: float = 0.03
    #: In units of AUC: 2 % of the way from chance to the demo's 0.75.
    auc_tolerance: float = 0.005
    #: Share of the places that the most shown items take, relative to popularity's lists. Demo:
    #: 0.2. Identical lists: 1.
    concentration: float = 0.6
    #: Share of the catalogue that is in any list, relative to the possible share. Demo: 0.8.
    #: Popularity: 0.03.
    coverage: float = 0.2
    #: Milliseconds, median, one thread. A request may take 1,000 (settings.triton_timeout_ms) and
    #: passes 14 stages.
    query_tower_ms: float = 5.0
    ranker_ms: float = 25.0
    #: Jensen-Shannon divergence, bits, of a feature's validation days from its training days. The
    #: demo's largest is 0.006. A feature in other units, or suddenly empty, gives 0.5 to 1.
    drift: float = 0.25
    #: Difference of onnxruntime from TensorFlow. float32 resolves 6e-8 of values near 1.
    parity: float = 1e-6
    #: Fewer held-out exposures are too few to judge by.
    minimum_rows: int = 200
    #: With fewer queries in a slice, one query moves recall by 1 % or more.
    slice_queries: int = 100
    #: recall@k is judged only where the catalogue holds at least this many times k items. In a
    #: smaller one, any list shows nearly all items.
    catalogue_depth: int = 3


#: Group of checks → its description. Each group is a blocking check of the release in Dagster.
GROUPS = {
    "popularity": "Served nDCG@10 is above recent popularity's on the same queries: the lower "
    "bound of the paired difference is above 0.",
    "champion": "Served nDCG@10, retrieval's recall@100 and AUC are not below the champion's on "
    "the same rows by more than the tolerance.",
    "slices": "New visitors' recall is above popularity's; new items' recall is above that of a "
    "random order.",
    "ranker": "AUC is above its floor, and probabilities are calibrated.",
    "exposure": "Lists differ: the most shown items do not take too many places, and enough of "
    "the catalogue is shown.",
    "latency": "The exported models answer within their budgets.",
    "drift": "No feature's distribution differs much from the training days.",
    "freshness": "The last day that the release has learnt is not before the champion's.",
    "exports": "ONNX outputs equal TensorFlow's; the index finds the items of exact search.",
}
FINE_TUNE_GROUPS = tuple(name for name in GROUPS if name != "popularity")

#: Value of the ranker's checks where every exposure is clicked. The lists are judged all the same,
#: and the ranker orders them.
NO_UNCLICKED = "no unclicked row to judge by"


def full_release(evidence: Evidence, limits: Limits = Limits()) -> Verdict:
    """Judge a new generation by every group of GROUPS."""
    index = evidence.get("index")
    return _verdict(
        [
            _check(
                "popularity: served ndcg@10 above recent popularity's, lower bound",
                _at(evidence.get("popularity"), "low"),
                operator.gt,
                0.0,
            ),
            *_common(evidence, limits, _at(evidence.get("ranker"), "clicks_alone") is True),
            _check(
                "exports: index agreement",
                _at(index, "recall"),
                operator.ge,
                _at(index, "recall_floor"),
            ),
        ]
    )


def fine_tune(evidence: Evidence, limits: Limits = Limits()) -> Verdict:
    """Judge a day's fine-tune on the day's held-out rows; a missing champion fails."""
    # fine-tunes learn from logged negatives, so a day of clicks alone is a fault of the log
    checks = _common(evidence, limits, clicks_alone=False)
    if evidence.get("champion") is None:
        checks.append(
            _fact("champion: the one it started from", "missing", "a champion", passed=False)
        )
    return _verdict(checks)


def _common(evidence: Evidence, limits: Limits, clicks_alone: bool) -> list[Check]:
    """Return the checks of both kinds of release."""
    parity = evidence.get("parity") or {}
    return [
        *_champion(evidence, limits, clicks_alone),
        *_slices(evidence, limits),
        *_ranker(evidence, limits, clicks_alone),
        *_exposure(evidence, limits),
        *_latency(evidence, limits),
        *_drift(evidence, limits),
        *_freshness(evidence),
        *(
            _check(f"exports: parity of {name}", parity[name], operator.le, limits.parity)
            for name in sorted(parity)
        ),
        _check("exports: models with parity", len(parity), operator.ge, 2),
    ]


def _exposure(evidence: Evidence, limits: Limits) -> list[Check]:
    shown = evidence.get("exposure")
    return [
        _check(
            "exposure: share of the most shown items",
            _at(shown, "concentration"),
            operator.le,
            _product(limits.concentration, _at(shown, "popularity_concentration")),
        ),
        _check(
            "exposure: coverage@10",
            _at(shown, "coverage@10"),
            operator.ge,
            _product(limits.coverage, _at(shown, "possible_coverage")),
        ),
    ]


def _latency(evidence: Evidence, limits: Limits) -> list[Check]:
    taken = evidence.get("latency_ms")
    return [
        _check(
            "latency: query tower, ms",
            _at(taken, "query_tower"),
            operator.le,
            limits.query_tower_ms,
        ),
        _check("latency: ranker, ms", _at(taken, "ranker"), operator.le, limits.ranker_ms),
    ]


def _champion(evidence: Evidence, limits: Limits, clicks_alone: bool) -> list[Check]:
    if "champion" not in evidence:
        return [_fact("champion: release", "not looked for", "its number, or none", passed=False)]
    champion = evidence["champion"]
    if champion is None:
        return [_fact("champion: release", "none yet", "nothing to be worse than")]
    judged = f"release {champion.get('release')} on {champion.get('judged_on')}"
    return [
        _fact("champion: release", judged, "days that it has not learnt, where there are any"),
        *(
            _no_worse(f"champion: {name}", _at(champion, name), tolerance, True)
            for name, tolerance in (
                ("served ndcg@10", limits.ndcg_tolerance),
                ("retrieval recall@100", limits.recall_tolerance),
            )
        ),
        _fact("champion: auc", NO_UNCLICKED, limits.auc_tolerance)
        if clicks_alone
        else _no_worse("champion: auc", champion.get("auc"), limits.auc_tolerance, False),
    ]


def _ranker(evidence: Evidence, limits: Limits, clicks_alone: bool) -> list[Check]:
    ranker = evidence.get("ranker")
    rows = _check("ranker: held-out rows", _at(ranker, "rows"), operator.ge, limits.minimum_rows)
    if clicks_alone:
        return [
            rows,
            _fact("ranker: auc", NO_UNCLICKED, limits.auc_floor),
            _fact("ranker: calibration error", NO_UNCLICKED, limits.calibration_error),
        ]
    return [
        rows,
        _check("ranker: auc", _at(ranker, "auc"), operator.ge, limits.auc_floor),
        _check(
            "ranker: calibration error",
            _at(ranker, "calibration_error"),
            operator.le,
            _sum(limits.calibration_error, _at(ranker, "calibration_noise")),
        ),
    ]


def _no_worse(name: str, difference: object, tolerance: float, share: bool) -> Check:
    """Return the check of one metric against the champion's.

    Args:
        difference: a ChampionDifference; anything else fails the check.
        share: whether the tolerance is a share of the champion's own figure.
    """
    wanted = ("value", "low", "high", "champion")
    given = difference if isinstance(difference, Mapping) else {}
    known = {key: value for key in wanted if _is_number(value := given.get(key))}
    if len(known) < len(wanted):
        return _fact(name, difference, "a difference with its interval", passed=False)
    allowed = tolerance * known["champion"] if share else tolerance
    return _fact(
        name,
        {key: round(known[key], 6) for key in ("value", "low", "high")},
        f"high at least 0, or low at least {-allowed:.4g}",
        passed=known["high"] >= 0 or known["low"] >= -allowed,
    )


def _slices(evidence: Evidence, limits: Limits) -> list[Check]:
    items, checks = _at(evidence.get("exposure"), "items"), []
    for slice_, metric, k, other in (
        ("cold_users", "recall@100", 100, "popularity's"),
        ("new_items", "recall@50", 50, "random's"),
    ):
        name = f"slices: {slice_}, served {metric} above {other}"
        found = (evidence.get("slices") or {}).get(slice_)
        if found is None or not _is_number(found.get("queries")) or not _is_number(items):
            checks.append(
                _fact(
                    name,
                    None,
                    f"a count of the slice's queries, {limits.slice_queries} to be judged",
                    passed=False,
                )
            )
        elif found["queries"] < limits.slice_queries:
            checks.append(
                _fact(name, f"too few to judge: {found['queries']} queries", limits.slice_queries)
            )
        elif items < limits.catalogue_depth * k:
            checks.append(
                _fact(name, f"too few to judge: {items} items", limits.catalogue_depth * k)
            )
        else:
            checks.append(_check(name, found.get("value"), operator.gt, found.get("other")))
    return checks


def _drift(evidence: Evidence, limits: Limits) -> list[Check]:
    if evidence.get("drift") is None:
        return [_fact("drift: largest of a feature", None, limits.drift, passed=False)]
    if not evidence["drift"]:
        return [_fact("drift: largest of a feature", "too few rows to judge", limits.drift)]
    # every comparison with NaN is False, so max would pass over it
    feature, value = max(
        evidence["drift"].items(), key=lambda pair: pair[1] if _is_number(pair[1]) else math.inf
    )
    return [_check(f"drift: {feature}, the largest", value, operator.le, limits.drift)]


def _freshness(evidence: Evidence) -> list[Check]:
    freshness = evidence.get("freshness")
    day = freshness.get("day") if freshness else None
    champion = freshness.get("champion_day") if freshness else None
    name = "freshness: day that was learnt"
    if day is None:
        return [_fact(name, day, champion, passed=False)]
    return [
        _fact(
            name,
            day,
            champion or "none: there is no champion",
            passed=champion is None or day >= champion,
        )
    ]


def by_group(verdict: Verdict) -> dict[str, list[Check]]:
    """Return the checks of each group, in the order of the verdict."""
    found: dict[str, list[Check]] = {}
    for check in verdict["checks"]:
        found.setdefault(check["name"].split(":")[0], []).append(check)
    return found


# --- parts ----------------------------------------------------------------------------------------
def _verdict(checks: list[Check]) -> Verdict:
    return {"passed": all(check["passed"] for check in checks), "checks": checks}


def _fact(name: str, value: object, threshold: object, *, passed: bool = True) -> Check:
    return {"name": name, "value": value, "threshold": threshold, "passed": bool(passed)}


def _check(
    name: str, value: object, compare: Callable[[float, float], bool], threshold: object
) -> Check:
    return _fact(
        name,
        value,
        threshold,
        passed=_is_number(value) and _is_number(threshold) and compare(value, threshold),
    )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _at(part: Mapping[str, object] | None, name: str) -> object:
    """Return a figure of a part of the evidence; None where either is missing."""
    return (part or {}).get(name)


def _sum(a: float, b: object) -> float | None:
    return a + b if _is_number(b) else None


def _product(a: float, b: object) -> float | None:
    return a * b if _is_number(b) else None
