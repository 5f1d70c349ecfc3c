"""Decides whether a release may be promoted: pure functions from evidence to a verdict.

``gates.evidence`` gathers the evidence; ``evidence_types`` and ``release.verdict`` hold both forms.
The name of a check begins with its group (GROUPS). A missing figure or NaN fails its check, and
blocks. ``gates.statistical`` holds the checks that only warn where nothing serves yet.

**No worse than the champion.** The evidence holds the paired difference candidate − champion with
its 95 % interval [low, high]. The check passes in either of two cases:

- high ≥ 0: the data do not show that the candidate is worse.
- low ≥ −tolerance: if the candidate is worse, the loss is within the tolerance.

A model that is worse by more than the tolerance is blocked as soon as the data can show it. An
equal model passes in 39 of 40 cases, however few the queries. With many queries, where any small
difference is significant, the tolerance alone decides. A rule by the point estimate alone would
block a third of all equal models at 200 queries, where nDCG@10 differences are known to ± 0.04.
With fewer than ``Limits.visitors`` visitors, the interval is too narrow, and nothing is judged.
"""

from __future__ import annotations

import operator

from recsys_assets.lib.gates import statistical
from recsys_assets.lib.gates.checks import at, compared, fact, is_number
from recsys_assets.lib.gates.evidence_types import Evidence, RungEvidence
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.lib.ladder.rungs import MINIMUM_QUERIES
from recsys_assets.lib.release.verdict import Check, Verdict, verdict_of

#: Group of checks → its description. Each group is a check of the release in Dagster.
GROUPS = {
    "popularity": "Served nDCG@10 is surely above recent popularity's on the same queries. Warns "
    "otherwise; blocks a promotion over a champion where it is surely below.",
    "rung": "Served nDCG@10 is above that of the simple rung (popularity or item-to-item), whose "
    "release is promoted otherwise.",
    "champion": "Served nDCG@10, retrieval's recall@100 and AUC are not surely below the "
    "champion's on the same rows by more than the tolerance. Blocks otherwise; AUC warns where "
    "enough visitors judge the lists.",
    "slices": "New visitors' recall is not surely below popularity's; new items' recall is not "
    "surely below that of a random order. Blocks only where it is below the champion's too.",
    "ranker": "AUC is above what chance gives at that size, and probabilities are calibrated. "
    "Warns; blocks where too few visitors judge the lists and the champion's AUC is above chance.",
    "exposure": "Lists differ: the most shown items do not take too many places, and enough of "
    "the catalogue is shown. Blocks only where the champion's lists differ far more.",
    "latency": "The exported models answer within their budgets. Blocks only where they also take "
    "twice the champion's time.",
    "drift": "No feature's distribution differs from the training days by more than the limit and "
    "chance. Blocks only a promotion over a champion.",
    "freshness": "The last day that the release has learnt is not before the champion's. Blocks "
    "otherwise.",
    "exports": "ONNX outputs equal TensorFlow's; the index finds the items of exact search. "
    "Blocks otherwise.",
}
FINE_TUNE_GROUPS = tuple(name for name in GROUPS if name not in ("popularity", "rung"))


def full_release(evidence: Evidence, limits: Limits = Limits()) -> Verdict:
    """Judge a new generation by every group of GROUPS."""
    index = evidence.get("index")
    return verdict_of(
        [
            statistical.popularity(evidence, limits),
            _rung(evidence.get("rung")),
            *_common(evidence, limits, clicks_alone=True),
            compared(
                "exports: index agreement",
                at(index, "recall"),
                operator.ge,
                at(index, "recall_floor"),
            ),
        ]
    )


def fine_tune(
    evidence: Evidence, limits: Limits = Limits(), *, ranker_learns: bool = True
) -> Verdict:
    """Judge a day's fine-tune on the day's held-out rows; a missing champion fails.

    ranker_learns: False where the day's rows are all clicked, so that the ranker is the champion's.
    """
    # a ranker that learns has unclicked rows, so held-out clicks alone are a fault of the log
    checks = _common(evidence, limits, clicks_alone=not ranker_learns)
    return verdict_of([*checks, *_started(evidence)])


def tuned_sources(evidence: Evidence, limits: Limits = Limits()) -> Verdict:
    """Judge a day's fine-tune of a champion of the fusion: its models stay, its sources are new."""
    stays = {
        "ranker: model": "the champion's, which orders nothing",
        "latency: models": "the champion's",
        "drift: features": "no model reads them",
        "exports: models": "the champion's",
    }
    return verdict_of(
        [
            *statistical.of_lists(evidence, limits),
            *statistical.valued(evidence),
            *_freshness(evidence),
            *(fact(name, text, "nothing new to judge") for name, text in stays.items()),
            *_started(evidence),
        ]
    )


def _started(evidence: Evidence) -> list[Check]:
    """Return the check of a fine-tune that has no champion."""
    if evidence.get("champion") is not None:
        return []
    return [fact("champion: the one it started from", "missing", "a champion", passed=False)]


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
    """Return the checks of both kinds of release.

    clicks_alone: whether a log without unclicked rows is accepted.
    """
    parity = evidence.get("parity") or {}
    return [
        *statistical.statistical(evidence, limits, clicks_alone=clicks_alone),
        *statistical.valued(evidence),
        *_freshness(evidence),
        *(
            compared(f"exports: parity of {name}", parity[name], operator.le, limits.parity)
            for name in sorted(parity)
        ),
        compared("exports: models with parity", len(parity), operator.ge, 2),
    ]


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
