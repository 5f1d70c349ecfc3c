"""``recsys drill``: hurts the running home under load and tells whether it holds what must-survive
promises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from recsys_assets.drills.figures import Bar
from recsys_assets.settings import Settings, get_settings

app = typer.Typer(
    no_args_is_help=True,
    help="Hurt the running home under load; figures go to RECSYS_HOME/bench/drill_<name>.json.",
)
Rate = Annotated[
    float,
    typer.Option(min=0.1, help="Requests a second, whether or not those before are answered."),
]


@app.callback()
def drill() -> None:
    """On the home that `recsys up` has started; what a drill has ended runs again when it is
    over.
    """


@app.command()
def outage(
    seconds: Annotated[float, typer.Option(min=1, help="How long Valkey is away.")] = 60,
    rate: Rate = 50,
) -> None:
    """Kill Valkey in the middle of requests; every one is answered, and all is normal soon after
    its return.
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
    seconds: Annotated[float, typer.Option(min=1, help="How long too much is offered.")] = 30,
) -> None:
    """Offer three times what can be served; it sheds, and what it serves stays what it was."""
    from recsys_assets.drills import overload as part

    _hold(
        "overload", lambda settings, requests, say: part.overload(settings, requests, seconds, say)
    )


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(min=0.5, help="How long, after warming up.")] = 60,
    rate: Rate = 50,
) -> None:
    """Steady load; memory does not grow and answers do not become slower."""
    from recsys_assets.drills import soak as part

    _hold(
        "soak",
        lambda settings, requests, say: part.soak(settings, requests, minutes * 60, rate, say),
    )


@app.command()
def restart(rate: Rate = 50) -> None:
    """SIGTERM to gateway, Triton and consumer under load; nothing that was in flight fails."""
    from recsys_assets.drills import restart as part

    _hold("restart", lambda settings, requests, say: part.restart(settings, requests, rate, say))


def _hold(
    name: str,
    body: Callable[
        [Settings, list[dict[str, Any]], Callable[[str], None]], tuple[dict[str, Any], list[Bar]]
    ],
) -> None:
    """Hold a drill, show its table, write its file; ends with code 1 where a bar is not met."""
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
