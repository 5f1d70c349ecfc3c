"""Define the group ``recsys bench`` and what its commands share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from recsys_assets.operations.jobs import Clock

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


@contextmanager
def exit_where_it_failed(clock: Clock) -> Iterator[None]:
    """Tell why a bench failed, and end with code 1."""
    from recsys_assets.bench.harness.part import BenchFailed

    try:
        yield
    except BenchFailed as error:
        clock.say(str(error))
        raise typer.Exit(1) from error
