"""Shows how far clicks move a list: a table and plots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsys_assets.lib.evaluation.list_metrics import SHOWN
from recsys_assets.lib.evaluation.measures import Estimate, MoveFigures
from recsys_assets.lib.evaluation.session_moves import (
    LEAST_HISTORY,
    LEAST_QUERIES,
    TASTES,
    USUAL_SHARE,
)
from recsys_assets.lib.figures import plots
from recsys_assets.lib.figures.tables import markdown_table

TITLE = "How far the clicks of a session move the list"
NOTE = (
    "A session is a visitor's held-out clicks of one day. Each list after some of its clicks is "
    "compared with the list of the same moment without them, which a nightly list has. Within: "
    f"each of these clicks is in a category with at least {USUAL_SHARE:.0%} of the visitor's "
    "clicks before the session. Outside: each is in a category without such a click. All: any "
    f"session. Visitors have at least {LEAST_HISTORY} clicks before. Intervals are 95 % bootstraps "
    "by visitor."
)
_CHANGED = f"changed of {SHOWN}"
_AFTER, _BEFORE = "nDCG@10 after the clicks", "nDCG@10 without them"
COLUMNS = ("clicks", "queries", _CHANGED, "median", _AFTER, _BEFORE, "difference", "remark")
Moves = Mapping[str, Mapping[str, MoveFigures]]
Row = tuple[
    str, int, Estimate | None, float | None, Estimate | None, Estimate | None, Estimate | None, str
]


def rows(moves: Moves) -> list[Row]:
    """Return one row of COLUMNS per taste and number of clicks.

    A cell with too few queries has no figures, and the remark says so.
    """
    return [
        (
            name,
            cell["queries"],
            cell["changed"],
            cell["median_changed"],
            cell["after"],
            cell["before"],
            cell["gain"],
            f"fewer than {LEAST_QUERIES} queries" if cell["changed"] is None else "",
        )
        for name, cell in _cells(moves)
    ]


def parts(moves: Moves) -> tuple[str, tuple[str, ...], list[Row], str]:
    """Return title, columns, rows and note of the report's table; no rows without ``moves``."""
    return TITLE, COLUMNS, rows(moves), NOTE


def table(moves: Moves) -> pl.DataFrame:
    """Return ``rows`` as text."""
    return pl.DataFrame(
        [
            (
                name,
                f"{queries:,}",
                _text(changed, ".1f"),
                "–" if median is None else f"{median:g}",
                *(_text(one, ".4f") for one in (after, before)),
                _text(gain, "+.4f"),
                remark,
            )
            for name, queries, changed, median, after, before, gain, remark in rows(moves)
        ],
        schema=dict.fromkeys(COLUMNS, pl.String),
        orient="row",
    )


def figures(moves: Moves) -> dict[str, plots.Figure]:
    """Return the plots by name; there are none where no cell has figures."""
    changed: dict[str, dict[str, dict[str, float]]] = {}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, cell in _cells(moves):
        if cell["changed"] and cell["after"] and cell["before"]:
            changed[name] = {_CHANGED: _drawn(cell["changed"])}
            found[name] = {_AFTER: _drawn(cell["after"]), _BEFORE: _drawn(cell["before"])}
    if not changed:
        return {}
    return {
        "session_moves": plots.interval_plot(f"Items of {SHOWN} that clicks change", changed),
        "session_ndcg@10": plots.interval_plot(
            "nDCG@10 of the next click, with the clicks and without them", found
        ),
    }


def write(moves: Moves, folder: Path) -> None:
    """Write the table and the plots as Markdown files, which the UI shows."""
    (folder / "session_moves_table.md").write_text(f"{markdown_table(table(moves))}\n\n{NOTE}\n")
    for name, figure in figures(moves).items():
        (folder / f"{name}.md").write_text(figure.markdown())


def _cells(moves: Moves) -> list[tuple[str, MoveFigures]]:
    """Return the name and the figures of each cell, in order."""
    return [
        (f"{clicks} {taste}", cell)
        for taste in TASTES
        for clicks, cell in moves.get(taste, {}).items()
    ]


def _drawn(estimate: Estimate) -> dict[str, float]:
    """Return an estimate as plots take it."""
    return {"value": estimate["value"], "low": estimate["low"], "high": estimate["high"]}


def _text(estimate: Estimate | None, form: str) -> str:
    """Return an estimate with its interval as text."""
    if estimate is None:
        return "–"
    return f"{estimate['value']:{form}} [{estimate['low']:{form}}, {estimate['high']:{form}}]"
