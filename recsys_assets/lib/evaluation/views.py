"""Makes the tables and figures of ``evaluation.json``.

The Dagster UI, the HTML report and the terminal show the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsys_assets.lib.evaluation import session_figures
from recsys_assets.lib.evaluation.ablation_variants import COLD_ITEMS, COLD_ITEMS_NO_CONTENT
from recsys_assets.lib.evaluation.measures import (
    DISMISSED_AT,
    PRIMARY,
    VALUE_NDCG,
    EvaluationSummary,
    value_of,
)
from recsys_assets.lib.evaluation.query_slices import slice_order
from recsys_assets.lib.evaluation.summary import (
    CLICK_RATE,
    NEW_ITEMS,
    POPULARITY,
    cold_items,
    label,
    systems,
)
from recsys_assets.lib.figures import plots
from recsys_assets.source_names import YOUNG_CLICKS

#: Columns of every table of whole lists, and the depths of the recall curve.
SHOWN = (PRIMARY, "recall@10", "recall@100", "recall@300")
DEPTHS = (10, 50, 100, 300)
LISTED = 10  # items of a list in CLICK_RATE
VERDICTS = {True: "met", False: "not met", None: "not measured"}

Cell = Any  # text, a number, an estimate {"value", "low", "high"}, or None


@dataclass(frozen=True)
class ReportTable:
    """Holds rows of cells; the first cell of a row is its name."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def cell_text(cell: Cell) -> str:
    """Return a cell as plain text, an estimate with its interval."""
    if isinstance(cell, Mapping):
        text, interval = number(value_of(cell)), interval_text(cell)
        return f"{text} [{interval}]" if interval else text
    return cell if isinstance(cell, str) else number(cell)


def interval_text(cell: Cell) -> str:
    """Return the interval of an estimate as text; empty where it has none."""
    low, high = (
        value_of(cell, part) if isinstance(cell, Mapping) else None for part in ("low", "high")
    )
    return "" if low is None or high is None or low == high else f"{number(low)} to {number(high)}"


def number(value: float | int | None) -> str:
    """Return a number as text, with three decimals or one.

    >>> number(None), number(12345), number(0.15708), number(12.345)
    ('–', '12,345', '0.157', '12.3')
    >>> number(-0.02)
    '−0.020'
    """
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
    return "0.000" if text == "-0.000" else text.replace("-", "−")


def tables(summary: EvaluationSummary) -> dict[str, ReportTable]:
    """Return the tables by name; empty ones are left out."""
    found = {
        "targets": _targets(summary),
        "systems": _systems(summary),
        "differences": _differences(summary),
        "slices": _slices(summary),
        "ranker": _ranker(summary),
        "beyond_accuracy": _beyond_accuracy(summary),
        "session_moves": ReportTable(*session_figures.parts(summary["session_moves"])),
        "ablations": _ablations(summary),
        "cold_items": _cold_items(summary),
    }
    return {name: table for name, table in found.items() if table.rows}


def figures(summary: EvaluationSummary) -> dict[str, plots.Figure]:
    """Return the figures by name; those without a value to draw are left out."""
    return {
        name: figure
        for name, figure in {
            "ndcg@10": _forest(summary),
            "recall_curve": _recall_curve(summary),
            "slices": _slice_plot(summary),
            "reliability": _reliability(summary),
            "ablations": _ablation_plot(summary),
            **session_figures.figures(summary["session_moves"]),
        }.items()
        if figure is not None
    }


def _targets(summary: EvaluationSummary) -> ReportTable:
    return ReportTable(
        "Targets",
        ("target", "value", "goal", "verdict", "remark"),
        [
            (one["text"], one["value"], one["target"], VERDICTS[one["met"]], one["note"])
            for one in summary["targets"]
        ],
    )


def _systems(summary: EvaluationSummary) -> ReportTable:
    found = systems(summary)
    valued = any(VALUE_NDCG in own for own in found.values())
    disliked = any(DISMISSED_AT in own for own in found.values())
    further = ([VALUE_NDCG] if valued else []), ([DISMISSED_AT] if disliked else [])
    metrics = (PRIMARY, *further[0], *SHOWN[1:], "mrr@10", *further[1])
    rows = [(label(name), *(own.get(metric) for metric in metrics)) for name, own in found.items()]
    columns, note = (
        ("system", *map(label, metrics)),
        "Mean over users, below it the 95 % bootstrap interval by user.",
    )
    if valued:
        note += (
            " Value-weighted: the clicks of a visitor weigh by their values (RECSYS_EVENT_VALUES)."
        )
    if disliked:
        note += (
            f" {label(DISMISSED_AT)}: share of the lists with an item that their visitor dismisses "
            "later, of the visitors who do; the lower the better."
        )
    if any(CLICK_RATE in own for own in found.values()):
        whole = value_of(found["oracle"].get(CLICK_RATE)) if "oracle" in found else None
        rows = [
            (*row, *_expected_clicks(own.get(CLICK_RATE), whole))
            for row, own in zip(rows, found.values(), strict=True)
        ]
        columns = (*columns, "expected clicks a list", "share of the oracle's")
        note += (
            " Expected clicks: the sum of the true click probabilities of the first 10 at the "
            "query's moment. They depend neither on the logged clicks nor on what the shop showed."
        )
    return ReportTable("Whole lists", columns, rows, note)


def _expected_clicks(rate: Cell, whole: float | None) -> tuple[Cell, Cell]:
    """Return the expected clicks on a list of 10 and their share of the oracle's.

    The visitor is assumed to look at the whole list.
    """
    value = value_of(rate)
    share = None if value is None or not whole else value / whole
    clicks = {
        part: None if one is None else LISTED * one
        for part in ("value", "low", "high")
        for one in (value_of(rate, part),)
    }
    return (clicks, share) if value is not None else (None, None)


def _differences(summary: EvaluationSummary) -> ReportTable:
    rows = [
        (label(name), metrics.get("served_minus"))
        for name, metrics in systems(summary).items()
        if metrics.get("served_minus")
    ]
    return ReportTable(
        "Served minus baseline, nDCG@10",
        ("baseline", "difference"),
        rows,
        "Paired: both lists answer the same clicks, so this interval is narrower than those of the "
        "two systems.",
    )


def _slices(summary: EvaluationSummary) -> ReportTable:
    def row(name: str, part: Mapping[str, Any]) -> tuple[Cell, ...]:
        popular = part.get("baselines", {}).get(POPULARITY) or {}
        return (
            label(name),
            part.get("queries"),
            part.get(PRIMARY),
            popular.get(PRIMARY),
            part.get("recall@50"),
            part.get("random_recall@50"),
            part.get("recall@100"),
        )

    return ReportTable(
        "Slices, as served",
        (
            "slice",
            "queries",
            "nDCG@10",
            "popularity's nDCG@10",
            "recall@50",
            "random's recall@50",
            "recall@100",
        ),
        [row(name, summary["slices"][name]) for name in slice_order(summary["slices"])],
        f"{label(NEW_ITEMS)}: items that had no click in the training days; young items: fewer "
        f"than {YOUNG_CLICKS}. New visitors: without a click before the query in the look-back; "
        "light and heavy visitors: up to the median of the clicks of all others, and above it. "
        f"{label(COLD_ITEMS)}: items that the ablation of this name withholds from training, as it "
        "serves them.",
    )


def _ranker(summary: EvaluationSummary) -> ReportTable:
    ranker = summary["ranker"]
    return ReportTable(
        "Ranker, on the validation days' exposures",
        ("figure", "value"),
        [
            (label(name), value)
            for name, value in ranker.items()
            if value is None
            or isinstance(value, (int, float))
            or (isinstance(value, Mapping) and "value" in value)
        ],
    )


def _beyond_accuracy(summary: EvaluationSummary) -> ReportTable:
    parts = {
        name: summary["beyond_accuracy"][name]
        for name in ("served", "retrieval")
        if summary["beyond_accuracy"].get(name)
    }
    names = list(dict.fromkeys(name for part in parts.values() for name in part))
    return ReportTable(
        "Beyond accuracy, the first 10 shown",
        ("figure", *map(label, parts)),
        [(label(name), *(part.get(name) for part in parts.values())) for name in names],
        "Coverage: share of the catalogue that is in any list. Novelty: mean self-information, "
        "bits. Diversity: mean distance of two items of a list. Gini: 0 when every item is shown "
        "equally often. Popularity lift: mean clicks of a shown item over mean clicks of a clicked "
        "one; above 1, lists are more popular than the clicked items.",
    )


def _ablations(summary: EvaluationSummary) -> ReportTable:
    def row(name: str, part: Mapping[str, Any]) -> tuple[Cell, ...]:
        return (
            label(name),
            part.get(PRIMARY),
            (part.get("retrieval") or {}).get("recall@100"),
            (part.get("ranker") or {}).get("auc"),
            (part.get("slices") or {}).get(NEW_ITEMS, {}).get("recall@50"),
        )

    rows = [row(name, part) for name, part in summary["ablations"].items()]
    whole = {
        **(summary.get("models") or summary["served"]),
        "retrieval": summary["retrieval"],
        "ranker": summary["ranker"],
        "slices": summary["slices"],
    }
    return ReportTable(
        "Ablations, each trained anew",
        ("trained", "nDCG@10", "retrieval's recall@100", "AUC", "new items' recall@50"),
        [row("everything", whole), *rows] if rows else [],
    )


def _cold_items(summary: EvaluationSummary) -> ReportTable:
    """Compare the withheld items with and without content, at random, and learnt."""
    parts = {
        name: part
        for name in (COLD_ITEMS, COLD_ITEMS_NO_CONTENT)
        if (part := cold_items(summary["ablations"], name))
    }
    if not parts:
        return ReportTable("Cold items", (), [])
    first = next(iter(parts.values()))
    said = {COLD_ITEMS: "withheld", COLD_ITEMS_NO_CONTENT: "withheld, no texts and pictures"}
    rows = [
        (said[name], part.get("recall@50"), part.get("recall@100"), part.get(PRIMARY))
        for name, part in parts.items()
    ]
    of_base = (summary["ablations"][name].get("base_slices", {}).get(COLD_ITEMS) for name in parts)
    learnt: Mapping[str, Any] = next((one for one in of_base if one), {})
    rows.append(("in a random order", first.get("random_recall@50"), None, None))
    if learnt:
        rows.append(
            (
                "learnt, as all others",
                learnt.get("recall@50"),
                learnt.get("recall@100"),
                learnt.get(PRIMARY),
            )
        )
    return ReportTable(
        "Cold items: the newest fifth of the items",
        ("these items were", "recall@50", "recall@100", "nDCG@10"),
        rows,
        f"{number(first.get('queries'))} held-out clicks on these items. Those withheld are judged "
        "as on the day of their launch: known by attributes and content alone, without a click.",
    )


def _drawable(estimate: Any) -> dict[str, float] | None:
    """Return an estimate with all three numbers, or None where one is missing."""
    parts = (
        {part: value_of(estimate, part) for part in ("value", "low", "high")}
        if isinstance(estimate, Mapping)
        else {}
    )
    return (
        {name: value for name, value in parts.items() if value is not None}
        if parts and None not in parts.values()
        else None
    )


def _forest(summary: EvaluationSummary) -> plots.Figure | None:
    rows = {
        label(name): {"nDCG@10": one}
        for name, metrics in systems(summary).items()
        if (one := _drawable(metrics.get(PRIMARY)))
    }
    return (
        plots.interval_plot(
            "nDCG@10, 95 % intervals; dashed: served, lower bound",
            rows,
            threshold=value_of(summary["served"].get(PRIMARY), "low"),
        )
        if rows
        else None
    )


def _recall_curve(summary: EvaluationSummary) -> plots.Figure | None:
    found = {
        name: [_drawable(metrics.get(f"recall@{depth}")) for depth in DEPTHS]
        for name, metrics in systems(summary).items()
    }
    series = {
        label(name): drawn
        for name, points in found.items()
        if len(drawn := [point for point in points if point]) == len(points)
    }
    return (
        plots.curves(
            "Recall by list length, whole catalogue", [f"@{depth}" for depth in DEPTHS], series
        )
        if series
        else None
    )


def _slice_plot(summary: EvaluationSummary) -> plots.Figure | None:
    rows = {}
    for name in slice_order(summary["slices"]):
        part = summary["slices"][name]
        shown = {"served": part, "oracle": part.get("oracle"), **part.get("baselines", {})}
        row = {
            label(which): one
            for which, metrics in shown.items()
            if (one := _drawable((metrics or {}).get(PRIMARY)))
        }
        if row:
            rows[label(name)] = row
    return plots.interval_plot("nDCG@10 by slice, with 95 % intervals", rows) if rows else None


def _reliability(summary: EvaluationSummary) -> plots.Figure | None:
    title, table = "Ranker: predicted and observed click rate", summary["ranker"].get("reliability")
    return plots.reliability_figure(title, table) if table else None


def _ablation_plot(summary: EvaluationSummary) -> plots.Figure | None:
    if not summary["ablations"]:
        return None
    parts = {"everything": summary.get("models") or summary["served"], **summary["ablations"]}
    rows = {
        label(name): {"nDCG@10": one}
        for name, part in parts.items()
        if (one := _drawable(part.get(PRIMARY)))
    }
    return plots.interval_plot("Ablations: served nDCG@10, 95 % intervals", rows) if rows else None
