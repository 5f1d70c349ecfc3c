"""All that was measured of a generation, as one structure: ``evaluation.json``, its targets and
their verdicts included.

A figure that was not measured is absent or None, never a number; so is what is not finite, which
JSON cannot hold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recsys_assets.lib.landing.zone import was_ingested

#: The targets, as issue and report state them.
ORACLE_SHARE, RANKER_SHARE, COLD_ITEM_FACTOR = 0.85, 0.95, 3.0
INGESTED = "ingested"
#: The baseline that cold visitors are held against, and their slice.
POPULARITY, COLD_USERS = "popularity", "cold_users"
#: Items that an ablation withholds from training, and the same without texts and pictures: names of
#: ablations, and the first of their slice too. New items are those that nobody happened to click in
#: the training days.
COLD_ITEMS, COLD_ITEMS_NO_CONTENT, NEW_ITEMS = "cold_items", "cold_items_no_content", "new_items"
PRIMARY = "ndcg@10"
#: Mean true click probability of the first 10 shown, at the query's moment; simulated data only.
CLICK_RATE = "truth_click_rate@10"

#: Names that are written otherwise than their key.
PROPER = {
    "ndcg": "nDCG",
    "mrr": "MRR",
    "auc": "AUC",
    "oracle_auc": "oracle's AUC",
    "gini": "Gini",
    "item_knn": "item-kNN",
    "ease": "EASE",
    "ials": "iALS",
    "share_of_oracle": "share of the oracle's (AUC − 0.5)",
    "rows": "exposures",
}

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """One target: ``met`` is None where the figure was not measured, and ``note`` says why."""

    name: str
    text: str
    value: float | None
    target: float | None
    met: bool | None
    note: str = ""


def scale_of(landing: str, configured: str) -> str:
    """The name of what was measured: ``ingested``, the scale that a local landing zone was
    simulated at, else the configured one.
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
) -> dict[str, Any]:
    """The metrics of the evaluation's artifacts, joined.

    Args:
        offline, baselines, oracle, ablations: metrics of evaluation/…; ablations None: not run.
        differences: baseline → served minus baseline, nDCG@10 on the same queries.
        baseline_slices: slice → baseline → list metrics.
        queries: metrics of evaluation/queries, and ``days``, the validation days.
        notes: sentences for the reader.
        click_rates: system → CLICK_RATE {value, low, high}; None without a truth.

    Returns ``evaluation.json``; see docs/evaluation.md for its keys.
    """
    available = bool(oracle.get("available"))
    ranker = dict(offline["ranker"])
    ranker["oracle_auc"] = oracle.get("auc") if available else None
    ranker["share_of_oracle"] = _share(
        _above_chance(ranker.get("auc")), _above_chance(ranker["oracle_auc"])
    )
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
    if withheld := cold_items(ablations or {}, COLD_ITEMS):
        slices[COLD_ITEMS] = {
            **withheld,
            "retrieval": (ablations or {})[COLD_ITEMS].get("slices_retrieval", {}).get(COLD_ITEMS),
            "oracle": None,
            "baselines": {},
            "ablation": COLD_ITEMS,
        }

    def rated(name: str, metrics: Metrics) -> dict[str, Any]:
        return {
            **metrics,
            **({CLICK_RATE: click_rates[name]} if click_rates and name in click_rates else {}),
        }

    summary = {
        "scale": scale,
        "as_of": as_of,
        "simulated": available,
        "served": rated("served", offline["served"]),
        "retrieval": rated("retrieval", offline["retrieval"]),
        "oracle": rated("oracle", oracle["list"]) if available else None,
        "baselines": {
            name: {**rated(name, metrics), "served_minus": (differences or {}).get(name)}
            for name, metrics in baselines.items()
        },
        "ranker": ranker,
        "slices": slices,
        "ablations": {
            name: {
                **part.get("served", {}),
                **{key: value for key, value in part.items() if key != "served"},
            }
            for name, part in (ablations or {}).items()
        },
        "beyond_accuracy": offline.get("beyond_accuracy", {}),
        "queries": queries or {},
        "notes": notes or [],
    }
    summary = _finite(summary)
    summary["targets"] = [asdict(target) for target in targets(summary)]
    return summary


def label(name: str) -> str:
    """A key as words.

    >>> label("recent_popularity"), label("ndcg@10"), label("device:mobile")
    ('recent popularity', 'nDCG@10', 'device: mobile')
    """
    stem, at, depth = name.partition("@")
    return f"{PROPER.get(stem, stem)}{at}{depth}".replace("_", " ").replace(":", ": ")


def targets(summary: Metrics) -> list[Target]:
    """The targets of a generation, in the order in which they are reported."""
    return [
        _above_baselines(summary),
        _share_of_oracle(summary),
        _ranker_share(summary),
        _cold_users(summary),
        _cold_items_random(summary),
        _cold_items_content(summary),
    ]


def systems(summary: Metrics) -> dict[str, Metrics]:
    """Every system that makes whole lists: served, retrieval, oracle where there is one, then
    baselines, best first.
    """
    baselines = sorted(
        summary["baselines"].items(), key=lambda one: -(value_of(one[1].get(PRIMARY)) or 0.0)
    )
    first = {name: summary[name] for name in ("served", "retrieval", "oracle") if summary.get(name)}
    return {**first, **dict(baselines)}


def cold_items(ablations: Metrics, name: str) -> Metrics:
    """What an ablation gives for the items that it withheld: like ``served``, "queries",
    "random_recall@50"; empty if not run.
    """
    return ablations.get(name, {}).get("slices", {}).get(COLD_ITEMS, {})


def value_of(estimate: Any, part: str = "value") -> float | None:
    """A part of an estimate {value, low, high}, or a plain number; None where it is absent."""
    found = estimate.get(part) if isinstance(estimate, Mapping) else estimate
    return None if found is None or not math.isfinite(found) else float(found)


def share_of_oracle(summary: Metrics) -> float | None:
    """Served nDCG@10 by the oracle's; None without an oracle."""
    oracle = (summary.get("oracle") or {}).get(PRIMARY)
    return _share(value_of(summary["served"].get(PRIMARY)), value_of(oracle))


def _above_baselines(summary: Metrics) -> Target:
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
    # a baseline without a figure may have been the strongest: only a defeat is certain then
    return Target(
        name,
        text,
        low,
        highs[strongest],
        None if missing and low > highs[strongest] else low > highs[strongest],
        note,
    )


def _share_of_oracle(summary: Metrics) -> Target:
    share = share_of_oracle(summary)
    return Target(
        "share_of_oracle",
        "served nDCG@10 as a share of the oracle's",
        share,
        ORACLE_SHARE,
        None if share is None else share >= ORACLE_SHARE,
        _no_truth(summary),
    )


def _ranker_share(summary: Metrics) -> Target:
    share = summary["ranker"].get("share_of_oracle")
    return Target(
        "ranker_share_of_oracle",
        "ranker's (AUC − 0.5) as a share of the oracle's",
        share,
        RANKER_SHARE,
        None if share is None else share >= RANKER_SHARE,
        _no_truth(summary),
    )


def _no_truth(summary: Metrics) -> str:
    return "" if summary.get("oracle") else "no truth to compare with: the log was not simulated"


def _cold_users(summary: Metrics) -> Target:
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


def _cold_items_random(summary: Metrics) -> Target:
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


def _cold_items_content(summary: Metrics) -> Target:
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


def _not_run(summary: Metrics, *names: str) -> str:
    """Why there is no figure of withheld items."""
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
    """The same structure with None for every number that is not finite."""
    if isinstance(value, Mapping):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
