"""Define ``recsys drill``: break the running home under load and judge it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from recsys_assets.bench.harness.requests import Request
from recsys_assets.drills.figures import Bar
from recsys_assets.settings import Settings, get_settings

app = typer.Typer(
    no_args_is_help=True,
    help="Break the running home under load; figures go to RECSYS_HOME/bench/drill_<name>.json.",
)
Rate = Annotated[
    float,
    typer.Option(
        min=0.1, help="Requests per second, sent even while earlier requests have no answer."
    ),
]


@app.callback()
def drill() -> None:
    """Break the home that `recsys up` has started.

    A drill starts every part again that it ended.
    """


@app.command()
def outage(
    seconds: Annotated[float, typer.Option(min=1, help="Seconds without Valkey.")] = 60,
    rate: Rate = 50,
) -> None:
    """Kill Valkey under load and start it again.

    Passes if every request is answered,
    and answers are normal soon after the restart.
    """
    from recsys_assets.drills import outage as part

    _hold(
        "outage",
        lambda settings, requests, say: part.outage(
            settings, requests, part.Timing(seconds), rate, say
        ),
    )


@app.command()
def overload(
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of overload.")] = 30,
) -> None:
    """Send three times the load that the home can serve.

    Passes if the gateway rejects the excess with 429 and keeps its goodput.
    """
    from recsys_assets.drills import overload as part

    _hold(
        "overload", lambda settings, requests, say: part.overload(settings, requests, seconds, say)
    )


@app.command()
def soak(
    minutes: Annotated[
        float, typer.Option(min=0.5, help="Minutes of load after the warm-up.")
    ] = 60,
    rate: Rate = 50,
) -> None:
    """Send steady load.

    Passes if memory does not grow and answers do not become slower.
    """
    from recsys_assets.drills import soak as part

    _hold(
        "soak",
        lambda settings, requests, say: part.soak(settings, requests, minutes * 60, rate, say),
    )


@app.command()
def restart(rate: Rate = 50) -> None:
    """Send SIGTERM to gateway, Triton and consumer under load.

    Passes if no request in flight fails.
    """
    from recsys_assets.drills import restart as part

    _hold("restart", lambda settings, requests, say: part.restart(settings, requests, rate, say))


def _hold(
    name: str,
    body: Callable[
        [Settings, list[Request], Callable[[str], None]], tuple[dict[str, Any], list[Bar]]
    ],
) -> None:
    """Run a drill, show its table and write its file.

    Ends with exit code 1 if a bar is not met.
    """
    from recsys_assets.drills.home import require_running, visitors, write_report
    from recsys_assets.operations.jobs import Clock

    settings, clock = get_settings(), Clock()
    require_running(settings)
    figures, bars = body(settings, visitors(settings), clock.say)
    path = write_report(settings, name, figures, bars)
    table = Table("figure", "value", "bar", "met", box=SIMPLE_HEAD, title=f"drill {name}")
    for bar in bars:
        table.add_row(bar.name, *bar.words)
    Console().print(table)
    clock.say(f"written to {path}")
    if any(bar.met is False for bar in bars):
        raise typer.Exit(1)
