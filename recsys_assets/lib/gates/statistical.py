"""Makes the checks whose figures are known only within chance.

They say what is *unusual*, and many an honest shop is unusual: everybody clicks the same news, a
catalogue has 12 items, a machine is slow. So three rules hold:

- Where chance alone may give the figure, the check says "too few to judge" and passes.
- Without a champion they warn: nothing that serves would be lost by a first release.
- With a champion they block, but only where it is better. A flaw that the champion shares is no
  reason to keep it.

A figure that should exist and is missing or NaN is *wrong*. It blocks with or without a champion.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping

from recsys_assets import columns as c
from recsys_assets.lib.evaluation.chance import chance_auc
from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.gates.checks import (
    at,
    compared,
    fact,
    is_number,
    no_worse,
    numbers,
    product,
    too_few,
    total,
)
from recsys_assets.lib.gates.evidence_types import Evidence, SliceEvidence
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.lib.release.rung import FULL
from recsys_assets.lib.release.verdict import Check

#: Value of the ranker's checks where the rows have one class. The lists are judged all the same,
#: and the ranker orders them.
NO_UNCLICKED, NO_CLICKED = "no unclicked row to judge by", "no clicked row to judge by"
_INTERVAL = ("value", "low", "high")


def statistical(evidence: Evidence, limits: Limits, *, clicks_alone: bool) -> list[Check]:
    """Return the statistical checks of both kinds of release.

    clicks_alone: whether a log without unclicked rows is accepted.
    """
    return [
        *champion(evidence, limits, clicks_alone),
        *_slices(evidence, limits),
        *_ranker(evidence, limits, clicks_alone),
        *_exposure(evidence, limits),
        *_latency(evidence, limits),
        *_drift(evidence, limits),
    ]


def of_lists(evidence: Evidence, limits: Limits) -> list[Check]:
    """Return the statistical checks of lists alone, where no model is new."""
    return [
        *champion(evidence, limits, clicks_alone=True),
        *_slices(evidence, limits),
        *_exposure(evidence, limits),
    ]


def one_class(clicked: object, rows: object) -> str | None:
    """Return what rows lack for an AUC; None where they have both classes or are not counted.

    >>> one_class(0, 5), one_class(5, 5), one_class(2, 5)
    ('no clicked row to judge by', 'no unclicked row to judge by', None)
    """
    if not is_number(clicked) or not is_number(rows):
        return None
    return NO_CLICKED if clicked == 0 else NO_UNCLICKED if clicked == rows else None


# --- lists ----------------------------------------------------------------------------------------
def popularity(evidence: Evidence, limits: Limits) -> Check:
    """Return the check of the served lists against recent popularity."""
    name = "popularity: served ndcg@10 − recent popularity's"
    if not is_number(evidence.get("visitors")):
        return fact(name, None, "a count of visitors", passed=False)
    if few := _few(evidence.get("visitors"), limits):
        return too_few(name, few, limits.visitors)
    found = numbers(evidence.get("popularity"), _INTERVAL)
    threshold = "low above 0; over a champion, high below 0 blocks"
    if found is None:
        return fact(name, None, threshold, passed=False)
    return fact(
        name,
        found,
        threshold,
        passed=found["low"] > 0,
        blocks=_over(evidence) and found["high"] < 0,
    )


def champion(evidence: Evidence, limits: Limits, clicks_alone: bool) -> list[Check]:
    """Return the checks of "no worse than the champion"; see ``gates``."""
    if "champion" not in evidence:
        return [fact("champion: release", "not looked for", "its number, or none", passed=False)]
    found = evidence["champion"]
    if found is None:
        return [fact("champion: release", "none yet", "nothing to be worse than")]
    judged = f"release {found.get('release')} on {found.get('judged_on')}"
    if (older := found.get("older_by")) is not None:
        judged += f"; release {older}, which it was tuned from, on the days that it has learnt"
    checks = [fact("champion: release", judged, "days that it has not learnt, where there are any")]
    few = _few(found.get("visitors"), limits)
    tolerances = {
        "champion: served ndcg@10": limits.ndcg_tolerance,
        "champion: retrieval recall@100": limits.recall_tolerance,
    }
    rung = found.get("rung", FULL)
    if rung != FULL:  # its whole list would be compared with a first stage
        retrieval = "champion: retrieval recall@100"
        checks.append(fact(retrieval, f"{rung} has no first stage", tolerances.pop(retrieval)))
    for name, tolerance in tolerances.items():
        difference = at(found, name.removeprefix("champion: "))
        checks.append(
            too_few(name, few, limits.visitors)
            if few
            else _no_worse(name, difference, tolerance, True)
        )
    name, lacks = "champion: auc", one_class(found.get("clicked"), found.get("rows"))
    if lacks and (clicks_alone or lacks == NO_CLICKED):
        checks.append(fact(name, lacks, limits.auc_tolerance))
    elif few_rows := _few(found.get("row_visitors"), limits):
        checks.append(too_few(name, few_rows, limits.visitors))
    else:
        # the lists decide; AUC does where too few visitors judge them
        auc = found.get("auc")
        checks.append(
            _no_worse(name, auc, limits.auc_tolerance, False, blocks=bool(few) or not auc)
        )
    return checks


def valued(evidence: Evidence) -> list[Check]:
    """Return the report of the value-weighted nDCG@10; empty where each click counts once.

    It never blocks: the figures that decide count each click once.
    """
    rung, present = evidence.get("rung"), evidence.get("champion")
    differences = {
        "rung: served value_ndcg@10 − the simple rung's": at(rung, "value_difference"),
        "champion: served value_ndcg@10": at(present, "served value_ndcg@10"),
    }
    return [
        fact(name, shown, "a report, which never blocks", blocks=False)
        for name, difference in differences.items()
        if (shown := numbers(difference, _INTERVAL)) is not None
    ]


def _no_worse(
    name: str, difference: object, tolerance: float, share: bool, *, blocks: bool = True
) -> Check:
    """Return the check of one metric against the champion's.

    Args:
        name: of the check.
        difference: a ChampionDifference; anything else fails the check.
        tolerance: loss that is allowed.
        share: whether the tolerance is a share of the champion's own figure.
        blocks: whether a loss blocks; a missing figure always does.
    """
    known = numbers(difference, (*_INTERVAL, "champion"))
    if known is None:
        return fact(name, difference, "a difference with its interval", passed=False)
    allowed = tolerance * known["champion"] if share else tolerance
    paired = Estimate(value=known["value"], low=known["low"], high=known["high"])
    return no_worse(name, paired, allowed, blocks=blocks)


def _slices(evidence: Evidence, limits: Limits) -> list[Check]:
    items, checks = at(evidence.get("exposure"), "items"), []
    for slice_, metric, k, other in (
        ("cold_users", "recall@100", 100, "popularity's"),
        ("new_items", "recall@50", 50, "random's"),
    ):
        name = f"slices: {slice_}, served {metric} not surely below {other}"
        found = (evidence.get("slices") or {}).get(slice_)
        if found is None or not is_number(found.get("queries")) or not is_number(items):
            wanted = f"a count of the slice's queries, {limits.slice_queries} to be judged"
            checks.append(fact(name, None, wanted, passed=False))
        elif found["queries"] < limits.slice_queries:
            checks.append(too_few(name, f"{found['queries']} queries", limits.slice_queries))
        elif items < limits.catalogue_depth * k:
            checks.append(too_few(name, f"{items} items", limits.catalogue_depth * k))
        elif few := _few(found.get("visitors"), limits):
            checks.append(too_few(name, few, limits.visitors))
        else:
            checks.append(_slice(name, found, _over(evidence)))
    return checks


def _slice(name: str, found: SliceEvidence, over: bool) -> Check:
    """Return the check of a slice: it fails where the recall is surely below the other's.

    over: whether there is a champion. The check blocks only where the recall is surely below the
    champion's as well.
    """
    known = numbers(found, ("value", "other", "high"))
    if known is None:
        return fact(name, found.get("value"), found.get("other"), passed=False)
    champion_high = found.get("champion_high")
    shared = is_number(champion_high) and champion_high >= 0
    return fact(
        name,
        {"value": known["value"], "high of the difference": round(known["high"], 6)},
        {"other": known["other"], "high of the difference": 0},
        passed=known["high"] >= 0,
        blocks=over and not shared,
    )


def _exposure(evidence: Evidence, limits: Limits) -> list[Check]:
    shown = evidence.get("exposure")
    names = ("exposure: share of the most shown items", "exposure: coverage@10")
    items = at(shown, "items")
    if is_number(items) and items < limits.exposure_items:
        return [too_few(name, f"{items} items", limits.exposure_items) for name in names]
    if few := _few(evidence.get("visitors"), limits):
        return [too_few(name, few, limits.visitors) for name in names]
    most, covered = at(shown, "concentration"), at(shown, "coverage@10")
    own_most, own_covered = at(shown, "champion_concentration"), at(shown, "champion_coverage")
    over = _over(evidence)
    return [
        compared(
            names[0],
            most,
            operator.le,
            product(limits.concentration, at(shown, "popularity_concentration")),
            blocks=over and _lost(_rest(most), _rest(own_most), limits.exposure_loss),
        ),
        compared(
            names[1],
            covered,
            operator.ge,
            product(limits.coverage, at(shown, "possible_coverage")),
            blocks=over and _lost(covered, own_covered, limits.exposure_loss),
        ),
    ]


def _rest(share: object) -> float | None:
    return 1 - share if is_number(share) else None


def _lost(own: object, champions: object, share: float) -> bool:
    """Return whether a figure is below a share of the champion's, or that is not known."""
    return not is_number(own) or not is_number(champions) or own < share * champions


# --- ranker ---------------------------------------------------------------------------------------
def _ranker(evidence: Evidence, limits: Limits, clicks_alone: bool) -> list[Check]:
    ranker = evidence.get("ranker")
    rows, names = at(ranker, "rows"), ("ranker: auc", "ranker: calibration error")
    if not is_number(rows):
        return [fact("ranker: held-out rows", rows, limits.minimum_rows, passed=False)]
    counted = fact("ranker: held-out rows", rows, limits.minimum_rows)
    clicked = at(ranker, "clicked")
    lacks = one_class(clicked, rows)
    if lacks and not clicks_alone and lacks == NO_UNCLICKED:
        return [counted, *(fact(name, lacks, None, passed=False) for name in names)]
    if lacks:
        return [counted, *(fact(name, lacks, None, blocks=False) for name in names)]
    if rows < limits.minimum_rows:
        return [counted, *(too_few(name, f"{rows} rows", limits.minimum_rows) for name in names)]
    return [
        counted,
        above_chance(
            at(ranker, "auc"),
            clicked,
            rows,
            limits,
            # where enough visitors judge the lists, these decide
            blocks=_over(evidence)
            and bool(_few(at(evidence.get("champion"), "visitors"), limits))
            and not _shares_chance(evidence, rows, clicked),
        ),
        compared(
            names[1],
            at(ranker, "calibration_error"),
            operator.le,
            total(limits.calibration_error, at(ranker, "calibration_noise")),
            # the order of the lists does not depend on it
            blocks=False,
        ),
    ]


def above_chance(
    auc: object, clicked: object, rows: float, limits: Limits, *, blocks: bool = False
) -> Check:
    """Return the check of a ranker's AUC against what chance gives at that size.

    Args:
        auc: on the rows; None where they have one class.
        clicked: number of the clicked rows.
        rows: number of all rows.
        limits: of the gates.
        blocks: whether an AUC that chance reaches blocks.
    """
    name = "ranker: auc"
    if lacks := one_class(clicked, rows):
        return fact(name, lacks, None, blocks=False)
    if not is_number(clicked) or not is_number(auc):
        return fact(name, auc, "AUC, and the number of clicked rows", passed=False)
    unclicked = round(rows - clicked)
    bound = chance_auc(round(clicked), unclicked)
    if bound > limits.auc_chance:
        text = f"chance reaches {bound:.3f} with {clicked} clicked and {unclicked} unclicked rows"
        return too_few(name, text, limits.auc_chance)
    return compared(name, auc, operator.gt, bound, blocks=blocks)


def _shares_chance(evidence: Evidence, rows: float, clicked: object) -> bool:
    """Return whether the champion's AUC is not above chance either."""
    present = evidence.get("champion")
    own = at(present["auc"], "champion") if present and present.get("auc") else None
    if not is_number(own) or not is_number(clicked):
        return False
    return own <= chance_auc(round(clicked), round(rows - clicked))


# --- beside quality -------------------------------------------------------------------------------
def _latency(evidence: Evidence, limits: Limits) -> list[Check]:
    taken = evidence.get("latency_ms")
    names = {"query_tower": "latency: query tower, ms", "ranker": "latency: ranker, ms"}
    if "latency_ms" in evidence and taken is None:
        return [too_few(name, "no held-out row to run the model on", 1) for name in names.values()]
    budgets = {"query_tower": limits.query_tower_ms, "ranker": limits.ranker_ms}
    checks = []
    for model, name in names.items():
        own = at(taken, model)
        slower = _slower(evidence, model, own, limits.latency_factor)
        checks.append(
            compared(name, own, operator.le, budgets[model], blocks=_over(evidence) and slower)
        )
    return checks


def _slower(evidence: Evidence, model: str, own: object, factor: float) -> bool:
    """Return whether a model takes much longer than the champion's on the same machine.

    A champion without learned models has no time to compare with (None): such a model may be
    slower. Where the time is missing, the model counts as slower.
    """
    if "champion_latency_ms" in evidence and evidence["champion_latency_ms"] is None:
        return False
    champions = at(evidence.get("champion_latency_ms"), model)
    return not is_number(champions) or not is_number(own) or own > factor * champions


def _drift(evidence: Evidence, limits: Limits) -> list[Check]:
    name, found = "drift: largest of a feature", evidence.get("drift")
    if found is None:
        return [fact(name, None, limits.drift, passed=False)]
    if not found:
        return [too_few(name, "rows", limits.drift)]
    # where items come and go, such as news, the most clicked ones differ from week to week
    items = {feature: one for feature, one in found.items() if feature == c.ITEM_ID}
    others = {feature: one for feature, one in found.items() if feature != c.ITEM_ID}
    over = _over(evidence)
    return [
        _largest(part, limits, blocks) for part, blocks in ((others, over), (items, False)) if part
    ]


def _largest(drifts: Mapping[str, Mapping[str, object]], limits: Limits, blocks: bool) -> Check:
    """Return the check of the feature that exceeds its threshold most; NaN exceeds all."""

    def excess(one: Mapping[str, object]) -> float:
        known = numbers(one, ("value", "chance"))
        return float("inf") if known is None else known["value"] - known["chance"]

    feature, worst = max(drifts.items(), key=lambda pair: excess(pair[1]))
    threshold = total(limits.drift, worst.get("chance"))
    name = f"drift: {feature}" + (", the largest" if feature != c.ITEM_ID else "")
    return compared(name, worst.get("value"), operator.le, threshold, blocks=blocks)


# --- parts ----------------------------------------------------------------------------------------
def _over(evidence: Evidence) -> bool:
    """Return whether a champion would be replaced, or the evidence does not say."""
    return "champion" not in evidence or evidence["champion"] is not None


def _few(visitors: object, limits: Limits) -> str | None:
    """Return how many visitors there are, where they are too few for an interval."""
    if is_number(visitors) and visitors < limits.visitors:
        return f"{visitors} visitor{'' if visitors == 1 else 's'}"
    return None
