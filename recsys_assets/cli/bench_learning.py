"""Define ``recsys bench prior``, ``ranker`` and ``loop``: measure what is learnt."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from recsys_assets.cli.bench_app import app, end_as_interrupted, exit_where_it_failed, print_table
from recsys_assets.settings import Settings, get_settings


@app.command()
def prior(
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A kept shop; give it once per shop.")
    ] = None,
) -> None:
    """Measure what a net that other shops gave is worth on a shop.

    The shops are those that `recsys bench shops --keep` left in this home.
    Each one's figure is that of a net of all others; no release has one.
    """
    from recsys_assets.bench.prior.run import bench_prior, table_rows
    from recsys_assets.operations.jobs import Clock

    settings, clock = get_settings(), Clock()
    target = settings.home / "bench" / "prior"
    with exit_where_it_failed(clock):
        figures = bench_prior(settings, target, clock.say, only or ())
    table = Table(
        "shop",
        "held-out clicks",
        "default",
        "with the net of others − default, 95 %",
        box=SIMPLE_HEAD,
        title="bench prior · nDCG@10",
    )
    print_table(table, table_rows(figures))
    clock.say(f"written to {target}")


@app.command()
def ranker(
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A kept shop; give it once per shop.")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="What is trained; give it once per variant."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings per variant.")] = 3,
    windows: Annotated[int, typer.Option(help="Label windows of two training days each.")] = 2,
    clicks: Annotated[int, typer.Option(help="Most held-out clicks that judge, about.")] = 3_000,
) -> None:
    """Measure a ranker (DLRM) that is trained listwise on candidates as served.

    The shops are those that `recsys bench shops --keep` left in this home.
    Sources are fitted before the label days; the net is judged as one more
    list of the blend on held-out clicks; no release has one.
    """
    from recsys_assets.bench.ranker.run import bench_ranker, table_rows
    from recsys_assets.operations.jobs import Clock

    settings, clock = get_settings(), Clock()
    with exit_where_it_failed(clock):
        report = bench_ranker(
            settings, clock.say, only or (), variant or (), seeds, windows, clicks
        )
    table = Table(
        "shop",
        "held-out clicks",
        "current",
        "variant",
        "with it",
        "− current, 95 %",
        "− the base, 95 %",
        "each seed − the base",
        box=SIMPLE_HEAD,
        title="bench ranker · nDCG@10, mean of the seeds' scores",
    )
    print_table(table, table_rows(report))
    clock.say(f"written to {settings.home / 'bench' / 'ranker.json'}")


@app.command()
def loop(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A part to measure; give it once per part."),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="tiny, demo or seed, of the shop of the part fine-tune; default: RECSYS_SCALE."
        ),
    ] = None,
) -> None:
    """Measure the loop from an answer to what is learnt from it.

    served-log: what the log of answers costs the median answer, and whether
    it holds every answer. fine-tune: what three daily fine-tunes are worth on
    the day after, beside a frozen model and a full training. drift: how soon a
    change is found, and how often one is found where there is none. days:
    whether a small shop lives 30 days by its schedules alone. Ends with code 1
    if a figure misses its bar.
    """
    from recsys_assets.bench.loop.run import bench_loop, failed, table_rows
    from recsys_assets.operations.jobs import Clock

    settings, clock = get_settings(), Clock()
    if scale is not None:  # validated as RECSYS_SCALE is
        settings = Settings(**{**settings.model_dump(), "scale": scale})
    end_as_interrupted()
    with exit_where_it_failed(clock):
        report = bench_loop(settings, clock.say, only or ())
    table = Table("part", "figure", "value", "wanted", box=SIMPLE_HEAD, title="bench loop")
    print_table(table, table_rows(report))
    clock.say(f"written to {settings.home / 'bench' / 'loop.json'}")
    if failed(report, only or ()):
        raise typer.Exit(1)


@app.command()
def ads(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="drift, quality or training; once per part."),
    ] = None,
    rows: Annotated[
        int, typer.Option(min=1_000, help="Shown ads of each simulated day.")
    ] = 1_000_000,
) -> None:
    """Measure the ads ranker: its monitor, its quality, its training.

    drift: how soon a change is found, and how often one is found where there
    is none. quality: the network beside tuned baselines and the truth, parity
    of the transforms, seconds and memory of each step. training: beside
    Merlin's loader with Keras' Adam. Ends with code 1 if a figure misses its
    bar.
    """
    from recsys_assets.bench.ads.run import bench_ads, failed, table_rows
    from recsys_assets.operations.jobs import Clock

    settings, clock = get_settings(), Clock()
    end_as_interrupted()
    with exit_where_it_failed(clock):
        report = bench_ads(settings, clock.say, only or (), rows)
    table = Table("figure", "value", "wanted", box=SIMPLE_HEAD, title="bench ads")
    print_table(table, table_rows(report))
    clock.say(f"written to {settings.home / 'bench' / 'ads.json'}")
    if failed(report, only or ()):
        raise typer.Exit(1)
