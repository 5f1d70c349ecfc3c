"""Show the result of ``recsys evaluate`` in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

if TYPE_CHECKING:
    from recsys_assets.lib.evaluation.measures import EvaluationSummary

COLOURS = {True: "green", False: "red", None: "yellow"}


def show(summary: EvaluationSummary, console: Console) -> None:
    """Print the figures of the lists and one line per target."""
    from recsys_assets.lib.evaluation import views
    from recsys_assets.lib.evaluation.best_baseline import sentence
    from recsys_assets.lib.evaluation.measures import value_of
    from recsys_assets.lib.evaluation.summary import label

    systems = views.tables(summary)["systems"]
    shown = 1 + len(views.SHOWN)
    table = Table(
        Column("system", no_wrap=True),
        *(Column(name, justify="right") for name in systems.columns[1:shown]),
        box=SIMPLE_HEAD,
        title=f"evaluation as of {summary['as_of']} · {summary['scale']}",
    )
    for row in systems.rows:
        # with a dash, a narrow terminal does not break the interval
        intervals = [views.interval_text(cell).replace(" to ", "–") for cell in row[1:shown]]
        table.add_row(
            row[0],
            *(
                f"{views.number(value_of(cell))}\n[dim]{interval}[/]"
                for cell, interval in zip(row[1:shown], intervals, strict=True)
            ),
        )
    console.print(table)
    for line in sentence(summary):
        console.print(escape(line), highlight=False, soft_wrap=True)
    ranker = summary["ranker"]
    figures = (
        f"{label(name)} {views.number(ranker.get(name))}"
        for name in ("auc", "oracle_auc", "calibration_error")
    )
    console.print(f"ranker: {', '.join(figures)}", highlight=False)
    if not summary["simulated"]:
        console.print(
            "the log is not simulated: there is no oracle to compare with", highlight=False
        )
    for one in summary["targets"]:
        value = "" if one["value"] is None else f": {views.number(one['value'])}"
        goal = (
            ""
            if one["value"] is None or one["target"] is None
            else f" against {views.number(one['target'])}"
        )
        note = f" ({one['note']})" if one["note"] else ""
        console.print(
            f"[{COLOURS[one['met']]}]{views.VERDICTS[one['met']]:>12}[/]  "
            f"{escape(one['text'] + value + goal + note)}",
            highlight=False,
            soft_wrap=True,
        )
