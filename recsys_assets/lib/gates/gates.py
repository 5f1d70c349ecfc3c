"""Whether a release may be promoted: pure functions from evidence to a verdict that says why.

A verdict is {"passed": bool, "checks": [{"name", "value", "threshold", "passed"}]}; a check's name
begins with its group (GROUPS). What is missing or NaN fails its check: a figure that could not be
computed is no reason to promote. The evidence is gathered by ``gate_evidence``; its form is that of
``gate_evidence.gather`` and ``release_building``.

**No worse than the champion.** Of the paired difference candidate − champion with its 95 % interval
[low, high], the check passes where high ≥ 0 (nothing says that the candidate is worse) or low ≥
−tolerance (whatever is worse of it is surely small). So a model that is worse by more than the
tolerance is blocked as soon as the data can tell; an equal one passes in 39 of 40 cases however few
the queries (MINIMUM_ROWS at least); and with many of them, where every trifle is significant, the
tolerance alone decides. A rule by the point estimate alone would block a third of all equal models
at 200 queries, where a difference in nDCG@10 is known to ± 0.04.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

#: AUC of the ranker on held-out exposures: 0.5 is chance; logs of shown items, chosen by a model
#: already, seldom give above 0.8.
AUC_FLOOR = 0.6


@dataclass(frozen=True)
class Limits:
    """What a release is held to, and why so."""

    auc_floor: float = AUC_FLOOR
    #: Mean gap of predicted and observed click rate, beyond what chance adds. Click rates are some
    #: 0.05 to 0.3, so that 0.05 is far off.
    calibration_error: float = 0.05
    #: Shares of the champion's own figure. Demo's 9,000 queries know one model's nDCG@10 to ± 5.5
    #: %, its recall@100 to ± 2.2 %; paired differences are known better, and what is lost within 3
    #: % nobody feels.
    ndcg_tolerance: float = 0.03
    recall_tolerance: float = 0.03
    #: Of the ranker's AUC: 2 % of the way from chance to the demo's 0.75.
    auc_tolerance: float = 0.005
    #: Share of the shown places that go to the most shown items, relative to popularity's lists.
    #: Demo: 0.2; lists that are alike: 1.
    concentration: float = 0.6
    #: Share of the catalogue that is in any list, of what the queries have places for. Demo: 0.8;
    #: popularity: 0.03.
    coverage: float = 0.2
    #: Milliseconds, median, one thread: a request may take 1,000 (settings.triton_timeout_ms) and
    #: passes 14 stages.
    query_tower_ms: float = 5.0
    ranker_ms: float = 25.0
    #: Jensen-Shannon divergence, bits, of a feature's validation days from its training days.
    #: Demo's largest is 0.006; a feature that comes in other units, or is suddenly empty, gives 0.5
    #: to 1.
    drift: float = 0.25
    #: Difference of onnxruntime from TensorFlow; float32 resolves 6e-8 of values near 1.
    parity: float = 1e-6
    #: With fewer held-out exposures nothing can be told.
    minimum_rows: int = 200
    #: With fewer queries a slice says nothing: recall moves in steps of its own size.
    slice_queries: int = 100
    #: recall@k is no figure in a catalogue that holds fewer than so many times k items: any list
    #: shows nearly all of it.
    catalogue_depth: int = 3


#: Group of checks → what it asks; each is a blocking check of the release in the Dagster UI.
GROUPS = {
    "popularity": "Served nDCG@10 above recent popularity's on the same queries: lower bound of "
    "the paired difference above 0.",
    "champion": "Served nDCG@10, retrieval's recall@100 and AUC not below the champion's on the "
    "same rows, by more than the tolerance.",
    "slices": "New visitors are served better than by popularity, new items found better than at "
    "random.",
    "ranker": "AUC above its floor, probabilities calibrated.",
    "exposure": "Lists are not all alike: share of the most shown items, coverage of the "
    "catalogue.",
    "latency": "The exported models answer within their budgets.",
    "drift": "No input is distributed quite otherwise than in training.",
    "freshness": "The release has learnt no older a day than the champion.",
    "exports": "ONNX gives TensorFlow's outputs; the index finds what brute force finds.",
}
FINE_TUNE_GROUPS = tuple(name for name in GROUPS if name != "popularity")

#: Of a log of clicks alone: lists are judged by their clicks, with the ranker in them; the ranker
#: by itself cannot be.
NO_UNCLICKED = "no unclicked row to judge by"

Verdict = dict[str, Any]
Check = dict[str, Any]
Evidence = Mapping[str, Any]


def full_release(evidence: Evidence, limits: Limits = Limits()) -> Verdict:
    """A new generation: everything of GROUPS."""
    index = evidence.get("index") or {}
    return _verdict(
        [
            _check(
                "popularity: served ndcg@10 above recent popularity's, lower bound",
                _at(evidence, "popularity", "low"),
                operator.gt,
                0.0,
            ),
            *_common(evidence, limits),
            _check(
                "exports: index agreement",
                index.get("recall"),
                operator.ge,
                index.get("recall_floor"),
            ),
        ]
    )


def fine_tune(evidence: Evidence, limits: Limits = Limits()) -> Verdict:
    """A day's fine-tune, judged on that day's held-out rows; there is a champion that it started
    from, always.
    """
    # fine-tunes learn from logged negatives alone, so a day of clicks alone is a fault of the log,
    # and must not pass unjudged
    evidence = {**evidence, "ranker": {**(evidence.get("ranker") or {}), "clicks_alone": False}}
    checks = _common(evidence, limits)
    if evidence.get("champion") is None:
        checks.append(
            _fact("champion: the one it started from", "missing", "a champion", passed=False)
        )
    return _verdict(checks)


def _common(evidence: Evidence, limits: Limits) -> list[Check]:
    parity = evidence.get("parity") or {}
    return [
        *_champion(evidence, limits),
        *_slices(evidence, limits),
        _check(
            "ranker: held-out rows",
            _at(evidence, "ranker", "rows"),
            operator.ge,
            limits.minimum_rows,
        ),
        *_ranker(evidence, limits),
        _check(
            "exposure: share of the most shown items",
            _at(evidence, "exposure", "concentration"),
            operator.le,
            _product(limits.concentration, _at(evidence, "exposure", "popularity_concentration")),
        ),
        _check(
            "exposure: coverage@10",
            _at(evidence, "exposure", "coverage@10"),
            operator.ge,
            _product(limits.coverage, _at(evidence, "exposure", "possible_coverage")),
        ),
        _check(
            "latency: query tower, ms",
            _at(evidence, "latency_ms", "query_tower"),
            operator.le,
            limits.query_tower_ms,
        ),
        _check(
            "latency: ranker, ms",
            _at(evidence, "latency_ms", "ranker"),
            operator.le,
            limits.ranker_ms,
        ),
        *_drift(evidence, limits),
        *_freshness(evidence),
        *(
            _check(f"exports: parity of {name}", parity[name], operator.le, limits.parity)
            for name in sorted(parity)
        ),
        _check("exports: models with parity", len(parity), operator.ge, 2),
    ]


def _champion(evidence: Evidence, limits: Limits) -> list[Check]:
    if "champion" not in evidence:
        return [_fact("champion: release", "not looked for", "its number, or none", passed=False)]
    champion = evidence["champion"]
    if champion is None:
        return [_fact("champion: release", "none yet", "nothing to be worse than")]
    judged = f"release {champion.get('release')} on {champion.get('judged_on')}"
    return [
        _fact("champion: release", judged, "days that it has not learnt, where there are any"),
        *(
            _no_worse(f"champion: {name}", champion.get(name), tolerance, True)
            for name, tolerance in (
                ("served ndcg@10", limits.ndcg_tolerance),
                ("retrieval recall@100", limits.recall_tolerance),
            )
        ),
        _fact("champion: auc", NO_UNCLICKED, limits.auc_tolerance)
        if _clicks_alone(evidence)
        else _no_worse("champion: auc", champion.get("auc"), limits.auc_tolerance, False),
    ]


def _ranker(evidence: Evidence, limits: Limits) -> list[Check]:
    floor, error = (
        limits.auc_floor,
        _sum(limits.calibration_error, _at(evidence, "ranker", "calibration_noise")),
    )
    if _clicks_alone(evidence):
        return [
            _fact("ranker: auc", NO_UNCLICKED, floor),
            _fact("ranker: calibration error", NO_UNCLICKED, limits.calibration_error),
        ]
    return [
        _check("ranker: auc", _at(evidence, "ranker", "auc"), operator.ge, floor),
        _check(
            "ranker: calibration error",
            _at(evidence, "ranker", "calibration_error"),
            operator.le,
            error,
        ),
    ]


def _clicks_alone(evidence: Evidence) -> bool:
    return _at(evidence, "ranker", "clicks_alone") is True


def _no_worse(
    name: str, difference: Mapping[str, float] | None, tolerance: float, share: bool
) -> Check:
    """difference: {"value", "low", "high", "champion": the champion's own figure}; share: the
    tolerance is one of that figure.
    """
    wanted = ("value", "low", "high", "champion")
    known = {key: value for key in wanted if _is_number(value := (difference or {}).get(key))}
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
    items, checks = _at(evidence, "exposure", "items"), []
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
    # NaN is no larger than anything: it must be the one that is looked at
    feature, value = max(
        evidence["drift"].items(), key=lambda pair: pair[1] if _is_number(pair[1]) else math.inf
    )
    return [_check(f"drift: {feature}, the largest", value, operator.le, limits.drift)]


def _freshness(evidence: Evidence) -> list[Check]:
    day, champion = _at(evidence, "freshness", "day"), _at(evidence, "freshness", "champion_day")
    name = "freshness: day that was learnt"
    if not isinstance(day, str):
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
    """Checks of each group, in order."""
    found: dict[str, list[Check]] = {}
    for check in verdict["checks"]:
        found.setdefault(check["name"].split(":")[0], []).append(check)
    return found


def failures(verdict: Verdict) -> list[str]:
    """One line a failed check: what it is, what it was and what it had to be."""
    return [
        f"{check['name']}: {check['value']} (threshold {check['threshold']})"
        for check in verdict["checks"]
        if not check["passed"]
    ]


# --- parts ----------------------------------------------------------------------------------------
def _verdict(checks: list[Check]) -> Verdict:
    return {"passed": all(check["passed"] for check in checks), "checks": checks}


def _fact(name: str, value: Any, threshold: Any, *, passed: bool = True) -> Check:
    return {"name": name, "value": value, "threshold": threshold, "passed": bool(passed)}


def _check(
    name: str, value: float | None, compare: Callable[[float, float], bool], threshold: float | None
) -> Check:
    return _fact(
        name,
        value,
        threshold,
        passed=_is_number(value) and _is_number(threshold) and compare(value, threshold),
    )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _at(evidence: Evidence, part: str, name: str) -> Any:
    return (evidence.get(part) or {}).get(name)


def _sum(a: float, b: float | None) -> float | None:
    return a + b if _is_number(b) else None


def _product(a: float, b: float | None) -> float | None:
    return a * b if _is_number(b) else None
