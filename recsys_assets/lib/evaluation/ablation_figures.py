"""Draws the ablations beside their base: plots and a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets.lib.evaluation.ablation_variants import BASE, COLD_ITEMS, VARIANTS
from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.figures import plots
from recsys_assets.lib.figures.tables import markdown_table


def write_figures(base: Mapping[str, Any], variants: Mapping[str, Any], folder: Path) -> None:
    """Write two plots and a table of all variants into a new folder.

    Args:
        base: metrics of ``evaluation/offline``.
        variants: as ``ablations.write_ablations`` returns them.
        folder: to create.
    """
    folder.mkdir()
    everything = {BASE: base, **variants}
    for name, title, rows, threshold in (
        (
            "ndcg@10",
            "Served nDCG@10, 95 % intervals; dashed: the base",
            {label: part["served"]["ndcg@10"] for label, part in everything.items()},
            base["served"]["ndcg@10"]["value"],
        ),
        (
            "minus_base",
            "Served nDCG@10 minus the base's, same queries",
            {label: part["minus_base"]["ndcg@10"] for label, part in variants.items()},
            0.0,
        ),
    ):
        figure = plots.interval_plot(
            title,
            {label.replace("_", " "): {"nDCG@10": one} for label, one in rows.items()},
            threshold,
        )
        (folder / f"{name}.md").write_text(figure.markdown())
    (folder / "ablations_table.md").write_text(
        markdown_table(pl.DataFrame([_row(name, part) for name, part in everything.items()]))
    )


def _row(name: str, part: Mapping[str, Any]) -> dict[str, str]:
    """Return the table's row of a variant or of the base."""
    cold, ranker = part.get("slices", {}).get(COLD_ITEMS), part["ranker"]
    known = part.get("base_slices", {}).get(COLD_ITEMS)
    difference = part.get("minus_base", {}).get("ndcg@10")
    return {
        "models": name,
        "what": VARIANTS[name].text if name in VARIANTS else "as they are",
        "nDCG@10": _interval(part["served"]["ndcg@10"]),
        "minus base": _interval(difference) if difference else "",
        "recall@100": _interval(part["served"]["recall@100"]),
        "retrieval's recall@100": _interval(part["retrieval"]["recall@100"]),
        **{
            title: "" if ranker[metric] is None else f"{ranker[metric]:.4f}"
            for title, metric in (("AUC", "auc"), ("log loss", "log_loss"))
        },
        "withheld items' "
        "recall@50": f"{_interval(cold['recall@50'])}, random {cold['random_recall@50']:.3f}, "
        f"learnt {known['recall@50']['value']:.3f}"
        if cold and known
        else "",
    }


def _interval(one: Estimate) -> str:
    return f"{one['value']:.4f} [{one['low']:.4f}, {one['high']:.4f}]"
