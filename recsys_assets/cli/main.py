"""Define the commands: ``recsys up | down | status | simulate | …``."""

from __future__ import annotations

import codecs
import json
import locale
import os
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from recsys_assets.cli import bench as bench  # adds its commands
from recsys_assets.cli import bench_app, check, drill
from recsys_assets.cli import bench_learning as bench_learning  # adds its commands
from recsys_assets.cli.cluster import PASSED_ON, cluster
from recsys_assets.cli.configured import configured
from recsys_assets.cli.landing_app import add_landing
from recsys_assets.exits import run_and_leave

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A multistage recommender as one Dagster asset graph, on this machine.",
)
app.add_typer(bench_app.app, name="bench")
app.add_typer(check.app, name="check")
app.add_typer(drill.app, name="drill")
add_landing(app)
app.command(**PASSED_ON)(cluster)
console = Console(stderr=True)  # standard output carries answers only

#: Parts of demo.json that the demo prints.
SHOWN: tuple[Literal["urls", "seconds", "peak_gib"], ...] = ("urls", "seconds", "peak_gib")

Scale = Annotated[str | None, typer.Option(help="tiny, demo or seed; default: RECSYS_SCALE.")]
Catalogue = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, help="A products.yaml in the Retail Demo Store's format."
    ),
]

AcceptVolume = Annotated[
    list[str] | None,
    typer.Option(
        "--accept-volume",
        metavar="DAY",
        help="A day to accept although its volume differs much from the same weekday of the weeks "
        "before, after you have checked it; all: every day.",
    ),
]


def say(message: str) -> None:
    """Print a line to standard error."""
    console.print(message, highlight=False, markup=False, soft_wrap=True)


@app.command()
def up() -> None:
    """Start Valkey, Triton, gateway, event consumer and Dagster.

    Parts that already run are left alone.
    """
    from recsys_assets.operations import services
    from recsys_assets.serving.promotion import promotion

    settings = configured()
    services.up(settings, progress=say)
    promotion.recover(settings, log=say)
    status()


@app.command()
def down() -> None:
    """Stop every local part and all its processes, and those of the ads ranker's demo."""
    from recsys_assets.operations import services
    from recsys_assets.operations.ads_demo import demo_settings

    settings = configured()
    for one in (settings, demo_settings(settings)):
        if (one.home / "run").is_dir():
            services.down(one)
    say("every local part has ended")


@app.command()
def status() -> None:
    """Show each part: running or stopped, its address, what it serves."""
    from recsys_assets.operations import services

    table = Table("part", "state", "address", "detail")
    for part in services.status(configured()):
        table.add_row(
            part.name,
            "[green]running[/]" if part.running else "[red]stopped[/]",
            part.address,
            part.detail,
        )
    Console().print(table)


@app.command()
def simulate(scale: Scale = None, catalogue: Catalogue = None) -> None:
    """Write the simulated shop into the landing zone; existing parts stay."""
    from recsys_assets.operations import full_graph

    full_graph.simulate(configured(scale=scale, catalogue=catalogue))


@app.command()
def materialize(
    scale: Scale = None,
    catalogue: Catalogue = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            help="As-of day; default: the newest day of an ingested log, the end of the first "
            "whole window of the simulated one."
        ),
    ] = None,
    accept_volume: AcceptVolume = None,
) -> None:
    """Materialise the full graph, from the landing zone to a release."""
    from recsys_assets.operations import full_graph, services

    settings = configured(scale=scale, catalogue=catalogue)
    services.up(settings, only=["valkey"], progress=say)
    full_graph.materialize(settings, as_of, accept_volume=accept_volume or ())


@app.command()
def evaluate(
    scale: Scale = None,
    catalogue: Catalogue = None,
    as_of: Annotated[
        str | None, typer.Option(metavar="DAY", help="As-of day; default: as for materialize.")
    ] = None,
    ablations: Annotated[
        bool, typer.Option(help="Also train without texts, pictures, context, masking and logQ.")
    ] = True,
    accept_volume: AcceptVolume = None,
) -> None:
    """Judge the lists against baselines and, for simulated data, the truth.

    Materialises what is missing. Writes RECSYS_HOME/evaluation.json and .html.
    """
    from recsys_assets.cli import evaluate as evaluate_command
    from recsys_assets.operations.evaluate import evaluate as run_evaluation

    settings = configured(scale=scale, catalogue=catalogue)
    summary = run_evaluation(settings, as_of, ablations, accept_volume or ())
    if summary is not None:
        evaluate_command.show(summary, Console())


@app.command()
def ingest_day(
    day: Annotated[str, typer.Argument(help="ISO day of the landing files (2026-11-20).")],
    accept_volume: AcceptVolume = None,
    until: Annotated[
        str | None, typer.Option(metavar="DAY", help="Last day, to take several days in one run.")
    ] = None,
) -> None:
    """Ingest a landed day, as the sensor does: raw, features, masked train set."""
    from recsys_assets.operations import jobs

    config = jobs.accepting(accept_volume or ())
    days = day if until is None or until == day else (day, until)
    jobs.run_jobs(configured(), [("daily_ingest", days)], config=config)


@app.command()
def fine_tune(day: Annotated[str, typer.Argument(help="The new day, ISO (2026-11-20).")]) -> None:
    """Fine-tune the champion on a day and promote the result.

    The sensor does this when a new day is ingested. With RECSYS_PROMOTION=manual the release waits.
    """
    from recsys_assets.operations import jobs

    jobs.run_jobs(configured(), [("fine_tune", day)])


@app.command()
def promote(
    release: Annotated[
        int | None,
        typer.Argument(help="Number of the release; default: the newest that passed its gate."),
    ] = None,
) -> None:
    """Promote a release into the running Triton servers.

    Steps: gate, publish, load, smoke test, switch, verify.
    The promotion is undone if a step fails.
    """
    from recsys_assets.lib.release import releases
    from recsys_assets.orchestration.resources import Platform
    from recsys_assets.serving.promotion import promotion

    settings = configured()
    number = release or releases.newest_passed(Platform().store, settings)
    report = promotion.promote(settings, number, log=say)
    say(f"release {report.release} serves ({report.seconds:.1f} s)")


@app.command()
def check_served(
    release: Annotated[
        int | None,
        typer.Argument(help="Number of the release; default: the champion, else the newest."),
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="Held-out queries to ask at most.")] = 500,
    triton: Annotated[
        bool,
        typer.Option(help="Serve by Triton, or by the same stages in the process of the gateway."),
    ] = True,
) -> None:
    """Ask a gateway held-out queries; compare its lists with the evaluation's.

    Starts a gateway with stores and ports of its own on the files of the release, so that nothing
    of a running shop is touched. Ends with status 1 if a list differs.
    """
    from recsys_assets.cli import check_served as check_command
    from recsys_assets.operations import served_check

    settings = configured()
    number = release or check_command.default_release(settings)
    found = served_check.check_served(settings, number, sample=queries, triton=triton, say=say)
    check_command.show(found, Console())
    if not found["passed"]:
        raise typer.Exit(1)


@app.command()
def rollback() -> None:
    """Promote the release that served before the champion."""
    from recsys_assets.serving.promotion import promotion

    settings = configured()
    report = promotion.rollback(settings, log=say)
    say(f"release {report.release} serves again ({report.seconds:.1f} s)")


@app.command()
def recommend(
    user_id: str,
    device: Annotated[str | None, typer.Option(help="mobile, desktop or tablet.")] = None,
    timestamp: Annotated[int | None, typer.Option(help="Unix seconds; default: now.")] = None,
    top_k: Annotated[int, typer.Option(min=1, max=100)] = 10,
) -> None:
    """Ask the gateway for a visitor's recommendations."""
    from recsys_assets.serving.gateway import client

    settings = configured()
    answer = client.recommend(
        settings.gateway_url, user_id, device_type=device, timestamp=timestamp, top_k=top_k
    )
    table = Table(
        "item",
        "score",
        "title",
        "category",
        "style",
        "price",
        title=f"{user_id} · release {answer['release']}"
        + (" · degraded" if answer["degraded"] else ""),
    )
    for item in answer["items"]:
        table.add_row(
            item["item_id"],
            f"{item['score']:.4f}",
            item["title"],
            item["category_l1"],
            item["category_l2"],
            price_text(item["price"]),
        )
    Console().print(table)


@app.command()
def demo(
    catalogue: Catalogue = None,
    setup_seconds: Annotated[
        float, typer.Option(hidden=True, help="Seconds of the set-up, for demo.json.")
    ] = 0.0,
) -> None:
    """Run all: data, full graph, services, promotion, recommendations.

    Shows the recommendations for a known and a cold visitor.
    """
    from recsys_assets.operations.demo import demo as run_demo

    settings = configured(catalogue=catalogue)
    summary = run_demo(settings, setup_seconds)
    for who, answer in (("known", summary["known"]), ("cold", summary["cold"])):
        table = Table(
            "item",
            "score",
            "title",
            "category",
            "price",
            title=f"{who} visitor {answer['user_id']}",
        )
        for item in answer["items"]:
            table.add_row(
                item["item_id"],
                f"{item['score']:.4f}",
                item["title"],
                item["category_l1"],
                price_text(item["price"]),
            )
        Console().print(table)
    shown = {name: summary[name] for name in SHOWN}
    print(json.dumps(shown, indent=2))
    say(f"written to {settings.home / 'demo.json'}; `make stop` ends every part")


def price_text(price: float | None) -> str:
    """Return a price with two decimals; nothing for a price that the shop did not give.

    >>> price_text(9.5), price_text(None)
    ('9.50', '')
    """
    return "" if price is None else f"{price:.2f}"


def main() -> NoReturn:
    """Run a command and end the process.

    This project's own errors name the cause and the remedy, so they are printed without a
    traceback.
    """
    use_utf8()
    run_and_leave(_command)


def use_utf8() -> None:
    """Restart in Python's UTF-8 mode if the locale has another encoding.

    All files of this project are UTF-8.
    """
    if (
        not sys.flags.utf8_mode
        and codecs.lookup(locale.getpreferredencoding(False)).name != "utf-8"
    ):
        os.environ["PYTHONUTF8"] = "1"  # also for child processes
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _command() -> None:
    try:
        app()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(["RECSYS", *map(str, problem["loc"])]).upper()
            message = problem["msg"].removeprefix("Value error, ")
            console.print(
                f"{name}={problem['input']!r}: {message}",
                style="red",
                highlight=False,
                markup=False,
            )
        sys.exit(2)
    except (RuntimeError, ValueError, OSError) as error:
        if not type(error).__module__.startswith("recsys_assets"):
            raise
        console.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
