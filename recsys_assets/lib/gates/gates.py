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
from collections.abc import Mapping
from dataclasses import dataclass

from recsys_assets.lib.gates.checks import at, compared, fact, is_number, product, total
from recsys_assets.lib.gates.evidence_types import Evidence, RungEvidence, SliceEvidence
from recsys_assets.lib.ladder.rungs import MINIMUM_QUERIES
from recsys_assets.lib.release.verdict import Check, Verdict, stops

#: AUC is judged only where chance stays below this. Logged items were chosen by a model already, so
#: AUC seldom exceeds 0.8.
AUC_CEILING_OF_CHANCE = 0.6


@dataclass(frozen=True)
class Limits:
    """Holds the limits of all checks, each with its reason."""

    auc_chance: float = AUC_CEILING_OF_CHANCE
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
    #: With fewer items, ten of them are a large part of the catalogue in any list.
    exposure_items: int = 100
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
    "popularity": "Served nDCG@10 is not surely below recent popularity's on the same queries: the "
    "upper bound of the paired difference is at least 0.",
    "rung": "Served nDCG@10 is above that of the simple rung (popularity or item-to-item), whose "
    "release is promoted otherwise.",
    "champion": "Served nDCG@10, retrieval's recall@100 and AUC are not below the champion's on "
    "the same rows by more than the tolerance.",
    "slices": "New visitors' recall is not surely below popularity's; new items' recall is not "
    "surely below that of a random order.",
    "ranker": "AUC is above what chance gives at that size, and probabilities are calibrated.",
    "exposure": "Lists differ: the most shown items do not take too many places, and enough of "
    "the catalogue is shown.",
    "latency": "The exported models answer within their budgets.",
    "drift": "No feature's distribution differs much from the training days.",
    "freshness": "The last day that the release has learnt is not before the champion's.",
    "exports": "ONNX outputs equal TensorFlow's; the index finds the items of exact search.",
}
FINE_TUNE_GROUPS = tuple(name for name in GROUPS if name not in ("popularity", "rung"))
#: Groups that block a promotion over a champion only. Without one they warn: a first release is
#: never kept back by what is unusual.
STATISTICAL = frozenset({"popularity", "slices", "ranker", "exposure", "latency", "drift"})

#: Value of the ranker's checks where every exposure is clicked. The lists are judged all the same,
#: and the ranker orders them.
NO_UNCLICKED = "no unclicked row to judge by"


def full_release(evidence: Evidence, limits: Limits = Limits()) -> Verdict:
    """Judge a new generation by every group of GROUPS."""
    index = evidence.get("index")
    return _verdict(
        [
            compared(
                "popularity: served ndcg@10 − recent popularity's, upper bound",
                at(evidence.get("popularity"), "high"),
                operator.ge,
                0.0,
            ),
            _rung(evidence.get("rung")),
            *_common(evidence, limits, at(evidence.get("ranker"), "clicks_alone") is True),
            compared(
                "exports: index agreement",
                at(index, "recall"),
                operator.ge,
                at(index, "recall_floor"),
            ),
        ],
        first="champion" in evidence and evidence["champion"] is None,
    )


def fine_tune(evidence: Evidence, limits: Limits = Limits()) -> Verdict:
    """Judge a day's fine-tune on the day's held-out rows; a missing champion fails."""
    # fine-tunes learn from logged negatives, so a day of clicks alone is a fault of the log
    checks = _common(evidence, limits, clicks_alone=False)
    if evidence.get("champion") is None:
        checks.append(
            fact("champion: the one it started from", "missing", "a champion", passed=False)
        )
    return _verdict(checks)


def _rung(rung: RungEvidence | None) -> Check:
    """Return the check of the choice between the full models and the simple rung."""
    name = "rung: served ndcg@10 − the simple rung's"
    if rung is None or not is_number(rung.get("queries")):
        return fact(name, None, "a comparison with the simple rung", passed=False)
    difference = rung["difference"]
    if difference is None or rung["queries"] < MINIMUM_QUERIES:
        text = f"too few to judge: {rung['queries']} held-out clicks; {rung['name']} stays"
        return fact(name, text, MINIMUM_QUERIES, passed=False)
    shown = {key: difference[key] for key in ("value", "low", "high")}
    threshold = f"value above 0, against {rung['name']}"
    passed = is_number(difference["value"]) and difference["value"] > 0
    return fact(name, shown, threshold, passed=passed)


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
            compared(f"exports: parity of {name}", parity[name], operator.le, limits.parity)
            for name in sorted(parity)
        ),
        compared("exports: models with parity", len(parity), operator.ge, 2),
    ]


def _exposure(evidence: Evidence, limits: Limits) -> list[Check]:
    shown = evidence.get("exposure")
    names = ("exposure: share of the most shown items", "exposure: coverage@10")
    items = at(shown, "items")
    if is_number(items) and items < limits.exposure_items:
        text = f"too few to judge: {items} items"
        return [fact(name, text, limits.exposure_items) for name in names]
    most = product(limits.concentration, at(shown, "popularity_concentration"))
    least = product(limits.coverage, at(shown, "possible_coverage"))
    # a shop whose visitors all click the same items, such as news, is no worse than its champion
    own_most, own_least = at(shown, "champion_concentration"), at(shown, "champion_coverage")
    if is_number(most) and is_number(own_most):
        most = max(most, own_most)
    if is_number(least) and is_number(own_least):
        least = min(least, own_least)
    return [
        compared(names[0], at(shown, "concentration"), operator.le, most),
        compared(names[1], at(shown, "coverage@10"), operator.ge, least),
    ]


def _latency(evidence: Evidence, limits: Limits) -> list[Check]:
    taken = evidence.get("latency_ms")
    return [
        compared(
            "latency: query tower, ms", at(taken, "query_tower"), operator.le, limits.query_tower_ms
        ),
        compared("latency: ranker, ms", at(taken, "ranker"), operator.le, limits.ranker_ms),
    ]


def _champion(evidence: Evidence, limits: Limits, clicks_alone: bool) -> list[Check]:
    if "champion" not in evidence:
        return [fact("champion: release", "not looked for", "its number, or none", passed=False)]
    champion = evidence["champion"]
    if champion is None:
        return [fact("champion: release", "none yet", "nothing to be worse than")]
    judged = f"release {champion.get('release')} on {champion.get('judged_on')}"
    return [
        fact("champion: release", judged, "days that it has not learnt, where there are any"),
        *(
            _no_worse(f"champion: {name}", at(champion, name), tolerance, True)
            for name, tolerance in (
                ("served ndcg@10", limits.ndcg_tolerance),
                ("retrieval recall@100", limits.recall_tolerance),
            )
        ),
        fact("champion: auc", NO_UNCLICKED, limits.auc_tolerance)
        if clicks_alone
        else _no_worse("champion: auc", champion.get("auc"), limits.auc_tolerance, False),
    ]


def _ranker(evidence: Evidence, limits: Limits, clicks_alone: bool) -> list[Check]:
    ranker = evidence.get("ranker")
    rows, names = at(ranker, "rows"), ("ranker: auc", "ranker: calibration error")
    if not is_number(rows):
        return [fact("ranker: held-out rows", rows, limits.minimum_rows, passed=False)]
    counted = fact("ranker: held-out rows", rows, limits.minimum_rows)
    if clicks_alone:
        return [counted, *(fact(name, NO_UNCLICKED, None) for name in names)]
    if rows < limits.minimum_rows:
        text = f"too few to judge: {rows} rows"
        return [counted, *(fact(name, text, limits.minimum_rows) for name in names)]
    return [
        counted,
        _auc(rows, at(ranker, "click_rate"), at(ranker, "auc"), limits),
        compared(
            names[1],
            at(ranker, "calibration_error"),
            operator.le,
            total(limits.calibration_error, at(ranker, "calibration_noise")),
        ),
    ]


def _auc(rows: float, click_rate: object, auc: object, limits: Limits) -> Check:
    """Return the check of AUC against what chance gives."""
    name = "ranker: auc"
    if not is_number(click_rate):
        return fact(name, auc, "a click rate", passed=False)
    bound = chance_auc(round(rows * click_rate), round(rows * (1 - click_rate)))
    if bound > limits.auc_chance:
        text = f"too few to judge: chance reaches {bound:.3f} with {rows} rows"
        return fact(name, text, limits.auc_chance, passed=is_number(auc))
    return compared(name, auc, operator.gt, bound)


def chance_auc(clicked: int, unclicked: int) -> float:
    """Return the AUC that scores without signal exceed in one of 20 cases.

    Their AUC is normal around 0.5, with the variance (n₁ + n₀ + 1) / (12 n₁ n₀) of the rank-sum
    statistic (Mann and Whitney 1947).

    >>> round(chance_auc(3_000, 7_000), 3), round(chance_auc(20, 100), 3)
    (0.51, 0.617)
    """
    if not clicked or not unclicked:
        return 1.0
    error = math.sqrt((clicked + unclicked + 1) / (12 * clicked * unclicked))
    return min(1.0, 0.5 + 1.645 * error)


def _no_worse(name: str, difference: object, tolerance: float, share: bool) -> Check:
    """Return the check of one metric against the champion's.

    Args:
        difference: a ChampionDifference; anything else fails the check.
        share: whether the tolerance is a share of the champion's own figure.
    """
    wanted = ("value", "low", "high", "champion")
    given = difference if isinstance(difference, Mapping) else {}
    known = {key: value for key in wanted if is_number(value := given.get(key))}
    if len(known) < len(wanted):
        return fact(name, difference, "a difference with its interval", passed=False)
    allowed = tolerance * known["champion"] if share else tolerance
    return fact(
        name,
        {key: round(known[key], 6) for key in ("value", "low", "high")},
        f"high at least 0, or low at least {-allowed:.4g}",
        passed=known["high"] >= 0 or known["low"] >= -allowed,
    )


def _slices(evidence: Evidence, limits: Limits) -> list[Check]:
    items, checks = at(evidence.get("exposure"), "items"), []
    for slice_, metric, k, other in (
        ("cold_users", "recall@100", 100, "popularity's"),
        ("new_items", "recall@50", 50, "random's"),
    ):
        name = f"slices: {slice_}, served {metric} above {other}"
        found = (evidence.get("slices") or {}).get(slice_)
        if found is None or not is_number(found.get("queries")) or not is_number(items):
            checks.append(
                fact(
                    name,
                    None,
                    f"a count of the slice's queries, {limits.slice_queries} to be judged",
                    passed=False,
                )
            )
        elif found["queries"] < limits.slice_queries:
            checks.append(
                fact(name, f"too few to judge: {found['queries']} queries", limits.slice_queries)
            )
        elif items < limits.catalogue_depth * k:
            checks.append(
                fact(name, f"too few to judge: {items} items", limits.catalogue_depth * k)
            )
        else:
            checks.append(_slice(name, found))
    return checks


def _slice(name: str, found: SliceEvidence) -> Check:
    """Return the check of a slice: it fails where the recall is surely below the other's."""
    value, other, high = (found.get(key) for key in ("value", "other", "high"))
    passed = all(map(is_number, (value, other, high))) and (value > other or high >= 0)  # type: ignore[operator]  # numbers
    return fact(name, value, other, passed=passed)


def _drift(evidence: Evidence, limits: Limits) -> list[Check]:
    if evidence.get("drift") is None:
        return [fact("drift: largest of a feature", None, limits.drift, passed=False)]
    if not evidence["drift"]:
        return [fact("drift: largest of a feature", "too few rows to judge", limits.drift)]
    # every comparison with NaN is False, so max would pass over it
    feature, value = max(
        evidence["drift"].items(), key=lambda pair: pair[1] if is_number(pair[1]) else math.inf
    )
    return [compared(f"drift: {feature}, the largest", value, operator.le, limits.drift)]


def _freshness(evidence: Evidence) -> list[Check]:
    freshness = evidence.get("freshness")
    day = freshness.get("day") if freshness else None
    champion = freshness.get("champion_day") if freshness else None
    name = "freshness: day that was learnt"
    if day is None:
        return [fact(name, day, champion, passed=False)]
    return [
        fact(
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
def _verdict(checks: list[Check], first: bool = False) -> Verdict:
    """Return the verdict; in a first release, statistical checks that could be judged only warn."""
    for check in checks:
        judged = check["value"] is not None and check["value"] == check["value"]
        if first and judged and check["name"].split(":")[0] in STATISTICAL:
            check["blocks"] = False
    return {"passed": not any(map(stops, checks)), "checks": checks}
