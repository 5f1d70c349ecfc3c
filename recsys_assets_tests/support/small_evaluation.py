"""Metrics of a made-up evaluation, in the form in which evaluation's artifacts hold them."""

from __future__ import annotations

from typing import Any

SYSTEMS = {
    "random": 0.01,
    "popularity": 0.05,
    "recent_popularity": 0.06,
    "item_knn": 0.09,
    "ease": 0.11,
    "ials": 0.10,
}


def estimate(value: float, half: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def list_metrics(ndcg: float) -> dict[str, Any]:
    """Every metric of a list, growing with its depth; only the nDCG@10 is exact."""
    found = {
        f"recall@{depth}": estimate(min(0.99, ndcg * factor))
        for depth, factor in ((10, 2), (50, 3), (100, 4), (300, 5))
    }
    for depth in (10, 100, 300):
        found |= {
            f"ndcg@{depth}": estimate(ndcg * (1 if depth == 10 else 1.5)),
            f"mrr@{depth}": estimate(ndcg * 0.8),
        }
    return found


def offline() -> dict[str, Any]:
    slices = {
        name: {**list_metrics(ndcg), "queries": 900, "random_recall@50": 0.08}
        for name, ndcg in (
            ("known_users", 0.17),
            ("cold_users", 0.08),
            ("device:mobile", 0.16),
            ("hour:night", 0.15),
            ("activity:low", 0.14),
            ("new_items", 0.10),
            ("weekend", 0.16),
        )
    }
    return {
        "rows": 57_600,
        "clicks": 11_000,
        "items": 600,
        "served": list_metrics(0.16),
        "retrieval": list_metrics(0.15),
        "ranker": {
            "auc": 0.77,
            "log_loss": 0.43,
            "calibration_error": 0.018,
            "rows": 57_600,
            "reliability": [
                {"predicted": 0.05 * n, "observed": 0.048 * n + 0.01, "rows": 100}
                for n in range(1, 11)
            ],
        },
        "slices": slices,
        "slices_retrieval": {name: list_metrics(0.1) for name in slices},
        "beyond_accuracy": {
            name: {
                "coverage@10": 0.81,
                "novelty@10": 9.13,
                "diversity@10": 0.52,
                "gini@10": 0.61,
                "popularity_lift@10": 1.7,
                "top_1_percent_share": 0.09,
            }
            for name in ("served", "retrieval")
        },
        "session_moves": {
            taste: {str(clicks): moved(clicks, scale) for clicks in (1, 2, 5)}
            for taste, scale in (("within", 0.5), ("outside", 1.5), ("all", 1.0))
        },
    }


def moved(clicks: int, scale: float) -> dict[str, Any]:
    """A cell of session_moves; five clicks outside the taste have too few queries."""
    few = clicks == 5 and scale > 1
    changed = 2.5 * scale
    return {
        "queries": 12 if few else 400 // clicks,
        "visitors": 12 if few else 200 // clicks,
        "changed": None if few else estimate(changed, 0.2),
        "median_changed": None if few else float(round(changed)),
        "after": None if few else estimate(0.21),
        "before": None if few else estimate(0.16),
        "gain": None if few else estimate(0.05),
    }


def baselines() -> dict[str, Any]:
    return {
        name: {**list_metrics(ndcg), "params": {"factors": 32}, "tuning": []}
        for name, ndcg in SYSTEMS.items()
    }


def oracle() -> dict[str, Any]:
    return {"available": True, "list": list_metrics(0.18), "auc": 0.78}


def ablations() -> dict[str, Any]:
    """Two with the whole log, and two that withhold items; recall@50 of those is 0.24 and 0.12, of
    a random order 0.07.
    """
    found = {
        name: {
            "served": list_metrics(ndcg),
            "retrieval": list_metrics(ndcg - 0.01),
            "ranker": {"auc": 0.75},
            "slices": {"new_items": list_metrics(new)},
        }
        for name, ndcg, new in (
            ("no_content", 0.14, 0.05),
            ("no_context", 0.15, 0.1),
            ("cold_items", 0.13, 0.09),
            ("cold_items_no_content", 0.12, 0.04),
        )
    }
    for name, cold in (("cold_items", 0.08), ("cold_items_no_content", 0.04)):
        found[name]["slices"]["cold_items"] = {
            **list_metrics(cold),
            "queries": 1_200,
            "random_recall@50": 0.07,
        }
        found[name] |= {
            "slices_retrieval": {"cold_items": list_metrics(cold - 0.01)},
            "base_slices": {"cold_items": {**list_metrics(0.11), "queries": 1_200}},
        }
    return found


def click_rates() -> dict[str, Any]:
    """True click probability of each system's lists: served 0.27, the oracle 0.30."""
    return {
        name: estimate(rate)
        for name, rate in {
            "served": 0.27,
            "retrieval": 0.25,
            "oracle": 0.30,
            **{name: 0.1 + ndcg for name, ndcg in SYSTEMS.items()},
        }.items()
    }


def baseline_slices() -> dict[str, Any]:
    return {
        name: {"popularity": list_metrics(0.05), "ease": list_metrics(0.09)}
        for name in offline()["slices"]
    }


def differences() -> dict[str, Any]:
    return {name: estimate(0.16 - ndcg, 0.004) for name, ndcg in SYSTEMS.items()}


def queries() -> dict[str, Any]:
    return {
        "queries": 11_000,
        "items": 600,
        "clicks": 11_600,
        "sampled_clicks": 11_600,
        "seen_share": 0.052,
        "seen_rule": "any event but Impression in the last 7 days",
        "cold_users_simulated": True,
        "cold_queries": 12,
        "days": ["2026-11-17", "2026-11-18", "2026-11-19"],
    }
