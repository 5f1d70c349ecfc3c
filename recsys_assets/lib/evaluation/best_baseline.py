"""Tells how far the served lists are above the best tuned baseline."""

from __future__ import annotations

from recsys_assets.lib.evaluation.measures import PRIMARY, EvaluationSummary
from recsys_assets.lib.evaluation.summary import label
from recsys_assets.lib.evaluation.views import cell_text


def sentence(summary: EvaluationSummary) -> list[str]:
    """Return one sentence with the best tuned baseline; none where there was no query."""
    best = summary["best_baseline"]
    if best is None:
        return []
    difference = best["served_minus"]
    return [
        f"The best tuned baseline is {label(best['name'])}, with an nDCG@10 of "
        f"{cell_text(best[PRIMARY])}."
        + ("" if difference is None else f" Served minus it, paired: {cell_text(difference)}.")
    ]
