"""Define the group ``recsys bench`` and what its commands share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    no_args_is_help=True, help="Measure the platform; write the figures to RECSYS_HOME/bench."
)


@app.callback()
def bench() -> None:
    """Measure a part of the platform; each command writes its own file."""


def print_table(table: Table, rows: Iterable[Sequence[str]]) -> None:
    """Add rows to a table and print it."""
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def end_as_interrupted() -> None:
    """Let SIGTERM end the servers of a bench too, as an interrupt does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
