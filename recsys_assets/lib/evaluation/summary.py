"""Joins all figures of a generation and its targets into one structure: ``evaluation.json``.

A figure that was not measured is absent or None, never a number. A figure that is not finite is
None, because JSON cannot hold it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from recsys_assets.lib.evaluation.ablation_variants import COLD_ITEMS, COLD_ITEMS_NO_CONTENT
from recsys_assets.lib.evaluation.measures import (
    PRIMARY,
    EvaluationSummary,
    MeasuredGeneration,
    best_baseline,
    value_of,
)
from recsys_assets.lib.landing.zone import was_ingested

#: Bounds of the targets, as the report states them.
ORACLE_SHARE, RANKER_SHARE, COLD_ITEM_FACTOR = 0.85, 0.95, 3.0
INGESTED = "ingested"
#: The slice of cold visitors, and the baseline that it is compared with.
POPULARITY, COLD_USERS = "popularity", "cold_users"
#: The slice of the queries whose item had no click in the training days.
NEW_ITEMS = "new_items"
#: Mean true click probability of the first 10 shown, at the query's moment; simulated data only.
CLICK_RATE = "truth_click_rate@10"

#: Words whose label differs from their key.
PROPER = {
    "ndcg": "nDCG",
    "value_ndcg": "value-weighted nDCG",
    "mrr": "MRR",
    "auc": "AUC",
    "oracle_auc": "oracle's AUC",
    "gini": "Gini",
    "item_knn": "item-kNN",
    "session_knn": "session-kNN",
    "follow_ups": "follow-ups",
    "ease": "EASE",
    "ials": "iALS",
    "share_of_oracle": "share of the oracle's (AUC − 0.5)",
    "rows": "exposures",
}

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """One target of a generation and its result."""

    name: str
    text: str
    value: float | None
    target: float | None
    met: bool | None  # None where the figure was not measured; ``note`` has the reason
    note: str = ""


def scale_of(landing: str, configured: str) -> str:
    """Return the name of the evaluated data.

    It is ``ingested``, or the scale at which a local landing zone was simulated, or else the
    configured scale.
    """
    from recsys_assets.lib.landing.zone import PARAMETERS_FILE

    if was_ingested(landing):
        return INGESTED
    path = Path(landing) / PARAMETERS_FILE
    if "://" in landing or not path.exists():
        return configured
    return str(json.loads(path.read_text())["name"])


def summarise(
    scale: str,
    as_of: str,
    offline: Metrics,
    baselines: Metrics,
    oracle: Metrics,
    ablations: Metrics | None = None,
    *,
    differences: Metrics | None = None,
    baseline_slices: Metrics | None = None,
    queries: Metrics | None = None,
    notes: list[str] | None = None,
    click_rates: Metrics | None = None,
) -> EvaluationSummary:
    """Join the metrics of the evaluation's artifacts.

    Args:
        scale: of ``scale_of``.
        as_of: the as-of day, ISO.
        offline: metrics of ``evaluation/offline``.
        baselines: metrics of ``evaluation/baselines``.
        oracle: metrics of ``evaluation/oracle``.
        ablations: metrics of ``evaluation/ablations``; None: not run.
        differences: baseline → served minus baseline, nDCG@10 on the same queries.
        baseline_slices: slice → baseline → list metrics.
        queries: metrics of ``evaluation/queries``, and ``days``, the validation days.
        notes: sentences for the reader.
        click_rates: system → CLICK_RATE {value, low, high}; None without a truth.
    """
    available = bool(oracle.get("available"))
    ranker = dict(offline["ranker"])
    ranker["oracle_auc"] = oracle.get("auc") if available else None
    ranker["share_of_oracle"] = _share(
        _above_chance(ranker.get("auc")), _above_chance(ranker["oracle_auc"])
    )

    def rated(name: str, metrics: Metrics) -> dict[str, Any]:
        return {
            **metrics,
            **({CLICK_RATE: click_rates[name]} if click_rates and name in click_rates else {}),
        }

    measured: MeasuredGeneration = {
        "scale": scale,
        "as_of": as_of,
        "simulated": available,
        "served": rated("served", offline["served"]),
        "models": dict(offline.get("models", offline["served"])),
        "retrieval": rated("retrieval", offline["retrieval"]),
        "oracle": rated("oracle", oracle["list"]) if available else None,
        "baselines": {
            name: {**rated(name, metrics), "served_minus": (differences or {}).get(name)}
            for name, metrics in baselines.items()
        },
        "best_baseline": _best(baselines, differences or {}),
        "ranker": ranker,
        "slices": _joined_slices(offline, oracle, ablations or {}, baseline_slices, queries),
        "ablations": {
            name: {
                **part.get("served", {}),
                **{key: value for key, value in part.items() if key != "served"},
            }
            for name, part in (ablations or {}).items()
        },
        "beyond_accuracy": offline.get("beyond_accuracy", {}),
        "session_moves": offline.get("session_moves", {}),
        "queries": dict(queries or {}),
        "notes": notes or [],
    }
    finite: MeasuredGeneration = _finite(measured)
    return {**finite, "targets": [asdict(target) for target in targets(finite)]}


def _best(baselines: Metrics, differences: Metrics) -> dict[str, Any] | None:
    name = best_baseline(baselines)
    if name is None:
        return None
    best = {"name": name, PRIMARY: baselines[name][PRIMARY]}
    return {**best, "served_minus": differences.get(name)}


def _joined_slices(
    offline: Metrics,
    oracle: Metrics,
    ablations: Metrics,
    baseline_slices: Metrics | None,
    queries: Metrics | None,
) -> dict[str, dict[str, Any]]:
    """Join the figures of each slice; arguments as for ``summarise``."""
    slices = {
        name: {
            **part,
            "retrieval": offline.get("slices_retrieval", {}).get(name),
            "oracle": oracle.get("slices", {}).get(name),
            "baselines": (baseline_slices or {}).get(name, {}),
        }
        for name, part in offline.get("slices", {}).items()
    }
    if COLD_USERS in slices:
        slices[COLD_USERS]["simulated"] = bool((queries or {}).get("cold_users_simulated"))
    if withheld := cold_items(ablations, COLD_ITEMS):
        slices[COLD_ITEMS] = {
            **withheld,
            "retrieval": ablations[COLD_ITEMS].get("slices_retrieval", {}).get(COLD_ITEMS),
            "oracle": None,
            "baselines": {},
            "ablation": COLD_ITEMS,
        }
    return slices


def label(name: str) -> str:
    """Return a key as words.

    >>> label("recent_popularity"), label("ndcg@10"), label("device:mobile")
    ('recent popularity', 'nDCG@10', 'device: mobile')
    """
    stem, at, depth = name.partition("@")
    return f"{PROPER.get(stem, stem)}{at}{depth}".replace("_", " ").replace(":", ": ")


def targets(summary: MeasuredGeneration) -> list[Target]:
    """Return the targets of a generation, in the order of the report."""
    return [
        _above_baselines(summary),
        _share_of_oracle(summary),
        _ranker_share(summary),
        _cold_users(summary),
        _cold_items_random(summary),
        _cold_items_content(summary),
    ]


def systems(summary: MeasuredGeneration) -> dict[str, Metrics]:
    """Return every system that makes whole lists.

    The order is served, retrieval, oracle where there is one, then the baselines, best first.
    """
    baselines = sorted(
        summary["baselines"].items(), key=lambda one: -(value_of(one[1].get(PRIMARY)) or 0.0)
    )
    first = {
        "served": summary.get("served"),
        "retrieval": summary.get("retrieval"),
        "oracle": summary.get("oracle"),
    }
    return {**{name: own for name, own in first.items() if own}, **dict(baselines)}


def cold_items(ablations: Metrics, name: str) -> Metrics:
    """Return an ablation's slice of the items that it withheld; empty where it was not run."""
    found: Metrics = ablations.get(name, {}).get("slices", {}).get(COLD_ITEMS, {})
    return found


def share_of_oracle(summary: MeasuredGeneration) -> float | None:
    """Return served nDCG@10 divided by the oracle's; None without an oracle."""
    oracle = (summary.get("oracle") or {}).get(PRIMARY)
    return _share(value_of(summary["served"].get(PRIMARY)), value_of(oracle))


def _above_baselines(summary: MeasuredGeneration) -> Target:
    name, text = (
        "served_above_baselines",
        "served nDCG@10: lower bound above every baseline's upper bound",
    )
    highs = {
        one: high
        for one, metrics in summary["baselines"].items()
        if (high := value_of(metrics.get(PRIMARY), "high")) is not None
    }
    low = value_of(summary["served"].get(PRIMARY), "low")
    if low is None or not highs:
        return Target(
            name,
            text,
            low,
            None,
            None,
            "no baseline was measured" if not highs else "served lists were not measured",
        )
    strongest = max(highs, key=lambda one: highs[one])
    missing = sorted(set(summary["baselines"]) - set(highs))
    note = f"the strongest of {len(highs)} is {label(strongest)}" + (
        f"; not measured: {', '.join(map(label, missing))}" if missing else ""
    )
    # a baseline without a figure may be the strongest: then only a missed target is certain
    return Target(
        name,
        text,
        low,
        highs[strongest],
        None if missing and low > highs[strongest] else low > highs[strongest],
        note,
    )


def _share_of_oracle(summary: MeasuredGeneration) -> Target:
    share = share_of_oracle(summary)
    return Target(
        "share_of_oracle",
        "served nDCG@10 as a share of the oracle's",
        share,
        ORACLE_SHARE,
        None if share is None else share >= ORACLE_SHARE,
        _no_truth(summary),
    )


def _ranker_share(summary: MeasuredGeneration) -> Target:
    share = summary["ranker"].get("share_of_oracle")
    return Target(
        "ranker_share_of_oracle",
        "ranker's (AUC − 0.5) as a share of the oracle's",
        share,
        RANKER_SHARE,
        None if share is None else share >= RANKER_SHARE,
        _no_truth(summary),
    )


def _no_truth(summary: MeasuredGeneration) -> str:
    return "" if summary.get("oracle") else "no truth to compare with: the log was not simulated"


def _cold_users(summary: MeasuredGeneration) -> Target:
    part = summary["slices"].get(COLD_USERS, {})
    popular = part.get("baselines", {}).get(POPULARITY, {}).get(PRIMARY)
    value, bound = value_of(part.get(PRIMARY)), value_of(popular)
    return _greater(
        "cold_users_above_popularity",
        "cold users' nDCG@10 above popularity's for them",
        value,
        bound,
        "cold users or popularity for them were not measured",
        _count(part),
    )


def _cold_items_random(summary: MeasuredGeneration) -> Target:
    name, text = (
        "cold_items_above_random",
        f"cold items' recall@50 at least {COLD_ITEM_FACTOR:g} × a random order's",
    )
    part = cold_items(summary["ablations"], COLD_ITEMS)
    shown = part or summary["slices"].get(NEW_ITEMS, {})
    value, random = value_of(shown.get("recall@50")), value_of(shown.get("random_recall@50"))
    bound = None if random is None else COLD_ITEM_FACTOR * random
    if not part or value is None or bound is None:
        instead = (
            f"; shown instead: {label(NEW_ITEMS)}, {_count(shown)}"
            if value is not None and bound is not None
            else ""
        )
        return Target(name, text, value, bound, None, _not_run(summary, COLD_ITEMS) + instead)
    return Target(
        name,
        text,
        value,
        bound,
        value >= bound,
        _count(part)
        + ("; the catalogue is so small that no list can reach it" if bound > 1 else ""),
    )


def _cold_items_content(summary: MeasuredGeneration) -> Target:
    part, without = (
        cold_items(summary["ablations"], one) for one in (COLD_ITEMS, COLD_ITEMS_NO_CONTENT)
    )
    return _greater(
        "cold_items_above_no_content",
        "cold items' recall@50 above that without texts and pictures",
        value_of(part.get("recall@50")),
        value_of(without.get("recall@50")),
        _not_run(summary, COLD_ITEMS, COLD_ITEMS_NO_CONTENT),
        _count(part),
    )


def _not_run(summary: MeasuredGeneration, *names: str) -> str:
    """Return the reason for a missing figure of withheld items."""
    absent = [name for name in names if name not in summary["ablations"]]
    if not absent:
        return "no held-out click is on an item that was withheld"
    return f"not run: the ablation{'s' if len(absent) > 1 else ''} {' and '.join(absent)}"


def _greater(
    name: str, text: str, value: float | None, bound: float | None, absent: str, note: str
) -> Target:
    met = None if value is None or bound is None else value > bound
    return Target(name, text, value, bound, met, absent if met is None else note)


def _count(part: Metrics) -> str:
    said = f"{part['queries']:,} queries" if part.get("queries") else ""
    return f"{said}, simulated by masking the visitor" if said and part.get("simulated") else said


def _above_chance(auc: Any) -> float | None:
    value = value_of(auc)
    return None if value is None else value - 0.5


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or whole is None or whole <= 0 else part / whole


def _finite(value: Any) -> Any:
    """Replace every number that is not finite by None."""
    if isinstance(value, Mapping):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value
