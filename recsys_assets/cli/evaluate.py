"""``recsys evaluate``: what the lists are worth, from the landing zone to
``RECSYS_HOME/evaluation.json`` and its page.
"""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

COLOURS = {True: "green", False: "red", None: "yellow"}


def show(summary: dict[str, Any], console: Console) -> None:
    """The lists' figures, and a line for each target: its value, its goal, met or not."""
    from recsys_assets.lib.evaluation import views

    systems = views.tables(summary)["systems"]
    shown = 1 + len(views.SHOWN)
    table = Table(
        Column("system", no_wrap=True),
        *(Column(name, justify="right") for name in systems.columns[1:shown]),
        box=SIMPLE_HEAD,
        title=f"evaluation as of {summary['as_of']} · {summary['scale']}",
    )
    for row in systems.rows:
        intervals = [
            views.interval_text(cell).replace(" to ", "–") for cell in row[1:shown]
        ]  # a narrow terminal breaks no line there
        table.add_row(
            row[0],
            *(
                f"{views.number(views.value_of(cell))}\n[dim]{interval}[/]"
                for cell, interval in zip(row[1:shown], intervals, strict=True)
            ),
        )
    console.print(table)
    ranker = summary["ranker"]
    said = (
        f"{views.label(name)} {views.number(ranker.get(name))}"
        for name in ("auc", "oracle_auc", "calibration_error")
    )
    console.print(f"ranker: {', '.join(said)}", highlight=False)
    if not summary["simulated"]:
        console.print(
            "the log was not simulated: there is no oracle to compare with", highlight=False
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
