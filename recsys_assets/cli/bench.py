"""Define ``recsys bench``: measure data, trainings, serving and shops."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from recsys_assets.cli.bench_app import app, end_as_interrupted, exit_where_it_failed, print_table
from recsys_assets.settings import Settings, get_settings


@app.command()
def data(
    scale: Annotated[
        str | None, typer.Option(help="tiny, demo or seed; default: RECSYS_SCALE.")
    ] = None,
    history_days: Annotated[
        int, typer.Option(min=2, help="Days of the log whose ingest by one run is measured.")
    ] = 365,
) -> None:
    """Measure simulation, features, transforms and the ingest of a long log.

    The features are compared with plain reads and writes of the same files,
    the compiled transforms with NVTabular.
    """
    from recsys_assets.bench.data.run import bench_data, table_rows
    from recsys_assets.operations.jobs import Clock

    settings, clock = get_settings(), Clock()
    if scale is not None:  # validated as RECSYS_SCALE is
        settings = Settings(**{**settings.model_dump(), "scale": scale})
    report = bench_data(settings, clock.say, history_days)
    title = f"bench data · {report['scale']} · {report['cpu_count']} cores"
    table = Table(
        Column("part", min_width=17),
        "seconds",
        "rows",
        "rows/s",
        "GiB",
        "compared",
        box=SIMPLE_HEAD,
        title=title,
    )
    print_table(table, table_rows(report))
    clock.say(f"written to {settings.home / 'bench' / 'data.json'}")


@app.command()
def training(
    users: Annotated[
        int, typer.Option(min=100, help="Visitors; each has a row in the user embedding table.")
    ] = 300_000,
    rows: Annotated[
        int | None,
        typer.Option(
            min=2_000, help="Number of clicks, and also of exposures; default: 1.2 million."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each training.")] = 1,
) -> None:
    """Train both models here and with Merlin's stock set-up, and compare.

    Also shows how long this home's graph took.
    """
    from recsys_assets.bench.training.run import bench_training, table_rows
    from recsys_assets.operations.jobs import Clock

    settings, clock = get_settings(), Clock()
    report = bench_training(settings, clock.say, users, rows, epochs)
    title = f"bench training · {users:,} users · {report['cpu_count']} cores"
    table = Table(
        "model",
        "rows/s",
        "stock",
        "speed-up",
        "quality",
        "stock",
        "GiB",
        box=SIMPLE_HEAD,
        title=title,
    )
    print_table(table, table_rows(report))
    graph = report["full_graph"]
    took = (
        "nothing materialised"
        if graph["seconds"] is None
        else f"{graph['seconds']:,.0f} s in its assets"
    )
    clock.say(
        f"graph of this home ({graph['scale']}): {took}; written to "
        f"{settings.home / 'bench' / 'training.json'}"
    )


@app.command()
def serving(
    requests: Annotated[int, typer.Option(min=20, help="Number of different requests.")] = 400,
    rounds: Annotated[
        int, typer.Option(min=1, help="How often each system answers all requests.")
    ] = 5,
    items: Annotated[
        int, typer.Option(min=400, help="Number of items of the synthetic catalogue.")
    ] = 1_000_000,
    million: Annotated[bool, typer.Option(help="Also measure on the synthetic catalogue.")] = True,
) -> None:
    """Measure the serving latency of this home's release.

    The systems are the reference's way, the ensemble, the fused model,
    the gateway, and the stages alone.
    """
    from recsys_assets.bench.serving.measured import ServingBenchPlan
    from recsys_assets.bench.serving.report import (
        PERCENTILES,
        memory_rows,
        ratio_rows,
        source_rows,
        stage_rows,
        table_rows,
    )
    from recsys_assets.bench.serving.run import bench_serving
    from recsys_assets.operations.jobs import Clock

    settings, clock = get_settings(), Clock()
    end_as_interrupted()
    with exit_where_it_failed(clock):
        report = bench_serving(
            settings,
            clock.say,
            ServingBenchPlan(requests, rounds, items=items if million else None),
        )
    title = (
        f"bench serving · {report['candidates']} candidates · {report['cpu_count']} cores · "
        f"{report['client']}"
    )
    systems = Table(
        "system",
        *(f"p{q} ms" for q in PERCENTILES),
        *(f"/s at {n}" for n in report["fused"]["throughput"]),
        box=SIMPLE_HEAD,
        title=title,
    )
    stages = Table(
        "ms of a request", "reference", "ensemble", "fused", "floor", "gateway", box=SIMPLE_HEAD
    )
    sources = Table(
        "source", "ms", "MiB", "ms, large catalogue", "MiB, large catalogue", box=SIMPLE_HEAD
    )
    memory = Table(
        "large catalogue",
        "p50 ms",
        "private MiB",
        "mapped MiB",
        "together",
        box=SIMPLE_HEAD,
        caption="mapped: resident pages of files, which the kernel can drop at any time",
    )
    ratios = Table("ratio", "value", "wanted", "met", box=SIMPLE_HEAD)
    for table, rows in (
        (systems, table_rows(report)),
        (stages, stage_rows(report)),
        (sources, source_rows(report)),
        (memory, memory_rows(report)),
        (ratios, ratio_rows(report)),
    ):
        if rows:
            print_table(table, rows)
    clock.say(f"written to {settings.home / 'bench' / 'serving.json'}")


@app.command()
def shops(
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A shop to run; give it once per shop.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the files and homes in RECSYS_HOME/bench/shops.")
    ] = False,
    draw: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            help="Number of the draw (default 0); another one has other visitors. Given more than "
            "once, the visitors of all draws are pooled.",
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="RECSYS_SEED of the run; its default if none is given. Given more than once, each "
            "shop runs once per seed, and the runs are compared.",
        ),
    ] = None,
) -> None:
    """Take small shops from their files to a recommendation over HTTP.

    The files have the forms of public logs, and only the commands of the
    README run. Ends with code 1 if a shop does not end in recommendations.
    """
    from recsys_assets.bench.shops.pooled import pooled_rows
    from recsys_assets.bench.shops.run import bench_shops, table_rows
    from recsys_assets.bench.shops.seeds import seed_rows
    from recsys_assets.operations.jobs import Clock

    settings, clock = get_settings(), Clock()
    end_as_interrupted()
    with exit_where_it_failed(clock):
        report = bench_shops(settings, clock.say, only or (), keep, draw or (0,), seed or (None,))
    table = Table(
        Column("shop", no_wrap=True),
        Column("form", min_width=12),
        *(Column(name, no_wrap=True) for name in ("rows", "rung", "s")),
        Column("nDCG@10", min_width=15),  # as narrow as a terminal: "0.1234 streamed"
        box=SIMPLE_HEAD,
        title=f"bench shops · draw {report['draw']} · {report['cpu_count']} cores",
    )
    print_table(table, table_rows(report))
    if "pooled" in report:
        names = ("shop", "draws", "visitors", "served", "best baseline", "served − it, 95 %")
        pooled = Table(*names, box=SIMPLE_HEAD, title="all draws together, nDCG@10")
        print_table(pooled, pooled_rows(report["pooled"]))
    if "seeds" in report:
        names = ("shop", "seeds", "served", "ratio to the best baseline", "mean", "lowest")
        print_table(
            Table(*names, box=SIMPLE_HEAD, title="all seeds, nDCG@10"), seed_rows(report["seeds"])
        )
    clock.say(f"written to {settings.home / 'bench' / 'shops.json'}")
    if report["served"] is not None and report["served"] < 1:
        raise typer.Exit(1)


@app.command()
def peers(
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A kept shop, or `home` for this home; give it once per shop."
        ),
    ] = None,
    peer: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A peer; give it once per peer.")
    ] = None,
    ask: Annotated[
        bool, typer.Option(help="Start each kept shop and time its answers over HTTP.")
    ] = True,
) -> None:
    """Compare what serves with iALS, EASE and SASRec of other packages.

    The shops are those that `recsys bench shops --keep` left in this home.
    The peers run in an environment of their own: `make peers`.
    """
    from recsys_assets.bench.peers.run import bench_peers, table_rows
    from recsys_assets.operations.jobs import Clock

    settings, clock = get_settings(), Clock()
    end_as_interrupted()
    with exit_where_it_failed(clock):
        report = bench_peers(settings, clock.say, only or (), peer or (), ask)
    table = Table(
        Column("shop", no_wrap=True),
        Column("system", no_wrap=True),
        "nDCG@10",
        "served − it, 95 %",
        "s to train",
        "ms to answer",
        box=SIMPLE_HEAD,
        title=f"bench peers · {report['cpu_count']} cores",
    )
    print_table(table, table_rows(report))
    clock.say(f"written to {settings.home / 'bench' / 'peers.json'}")


@app.command()
def files(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A case to judge; give it once per case."),
    ] = None,
    fuzz: Annotated[
        int, typer.Option(min=0, help="Number of mutated files that the readers get.")
    ] = 100_000,
    rows: Annotated[
        int, typer.Option(min=0, help="Rows of the log on which the readers are timed.")
    ] = 10_000_000,
) -> None:
    """Ingest small files of every form and compare each with its right reading.

    Then give the readers mutated files, and time them beside Polars' own
    reader. Ends with code 1 if a file is read wrong or a reader has a fault.
    """
    from recsys_assets.bench.files.run import bench_files, failed, table_rows
    from recsys_assets.operations.jobs import Clock

    settings, clock = get_settings(), Clock()
    end_as_interrupted()
    with exit_where_it_failed(clock):
        report = bench_files(settings, clock.say, only or (), fuzz, rows)
    table = Table("case", "form", "ended", box=SIMPLE_HEAD, title="bench files")
    print_table(table, table_rows(report))
    if "rows_per_second" in report:
        speed = report["rows_per_second"]
        clock.say(
            f"rows/s: reader {speed['reader']:,}, Polars {speed['polars']:,}, whole ingest "
            f"{speed['ingest']:,}"
        )
    clock.say(f"written to {settings.home / 'bench' / 'files.json'}")
    if failed(report):
        raise typer.Exit(1)
