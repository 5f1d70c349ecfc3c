"""Define the commands of the ads ranker: land logs of shown ads, promote and roll back."""

from __future__ import annotations

import json
import os
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from recsys_assets import ads_partitions, partitions
from recsys_assets.cli import ingest_check
from recsys_assets.cli.configured import configured
from recsys_assets.settings import Settings, get_settings

if TYPE_CHECKING:
    from recsys_assets.lib.ads_ctr.ads_landing import AdsLanded

_errors = Console(stderr=True)
FirstDay = Annotated[
    str | None,
    typer.Option(
        metavar="DAY", help="Day of the first file (ISO); default: the last day is yesterday."
    ),
]


def ingest_ads(
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOG…",
            help="Files in the form of Criteo's public logs: TSV, CSV, gzip of them, or Parquet; "
            "each is a day, in this order.",
        ),
    ],
    first_day: FirstDay = None,
    days: Annotated[
        int | None,
        typer.Option(help="Split one file, whose rows are in order of time, into so many days."),
    ] = None,
) -> None:
    """Land logs of shown ads for the ads ranker; malformed rows are set aside with their count."""
    from recsys_assets.lib.ads_ctr import ads_landing
    from recsys_assets.lib.landing.zone import IngestError

    settings = get_settings()
    try:
        landing = ingest_check.local_landing(settings)
        begin = _begin(first_day, days or len(logs), settings)
        with _bar() as bar:
            tasks = {path: bar.add_task(path.name, total=None) for path in dict.fromkeys(logs)}
            landed = ads_landing.land_files(
                landing,
                logs,
                begin,
                days,
                lambda path, done, whole: bar.update(tasks[path], completed=done, total=whole),
            )
    except IngestError as error:
        _errors.print(f"ingest-ads: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    _show(landed, settings)


def simulate_ads(
    days: Annotated[int, typer.Option(min=1, max=366, help="Number of days.")] = 4,
    rows: Annotated[int, typer.Option(min=1, help="Shown ads per day.")] = 50_000,
    drift: Annotated[
        str, typer.Option(help="What changes: none, abrupt, slow, seasonal or broken.")
    ] = "none",
    at: Annotated[float, typer.Option(help="Days after which the drift begins.")] = 2.5,
    first_day: FirstDay = None,
) -> None:
    """Land simulated logs of shown ads, whose true click probabilities are known."""
    from recsys_assets.lib.ads_ctr import ads_landing
    from recsys_assets.lib.ads_ctr.ads_truth import KINDS, AdsDrift, AdsTruth
    from recsys_assets.lib.landing.zone import IngestError

    settings = get_settings()
    kind = next((one for one in KINDS if one == drift), None)
    try:
        if kind is None or at < 0:
            raise IngestError(f"--drift must be one of {', '.join(KINDS)} and --at 0 or more")
        landing = ingest_check.local_landing(settings)
        begin = _begin(first_day, days, settings)
        with _bar() as bar:
            task = bar.add_task("days", total=days)
            landed = ads_landing.land_simulated(
                landing,
                AdsTruth(settings.seed, AdsDrift(kind, at)),
                begin,
                days,
                rows,
                lambda done, whole: bar.update(task, completed=done, total=whole),
            )
    except IngestError as error:
        _errors.print(f"simulate-ads: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    _show(landed, settings)


def promote_ads(
    release: Annotated[
        int | None,
        typer.Argument(help="Number of the release; default: the newest that passed its gate."),
    ] = None,
) -> None:
    """Promote a release of the ads ranker into the running Triton servers.

    The promotion is undone if a step fails. The recommender's models are not touched.
    """
    from recsys_assets.lib.release import releases
    from recsys_assets.lib.release.lines import ADS
    from recsys_assets.orchestration.resources import Platform
    from recsys_assets.serving.promotion import promotion

    settings = configured()
    number = release or releases.newest_passed(Platform().store, settings, ADS)
    report = promotion.promote(settings, number, ADS, log=_say)
    _say(f"release {report.release} of the ads ranker serves ({report.seconds:.1f} s)")


def rollback_ads() -> None:
    """Promote the release of the ads ranker that served before its champion."""
    from recsys_assets.lib.release.lines import ADS
    from recsys_assets.serving.promotion import promotion

    report = promotion.rollback(configured(), ADS, log=_say)
    _say(f"release {report.release} of the ads ranker serves again ({report.seconds:.1f} s)")


def demo_ads() -> None:
    """Run the ads ranker: train, serve, traffic that drifts, detection, retrain, promotion.

    It runs in a home of its own, RECSYS_HOME/ads-demo, with ports 300 above the usual ones, and
    leaves its services running. That home is emptied first.
    """
    from recsys_assets.operations.ads_demo import ads_demo, demo_settings

    own = demo_settings(configured())
    for name in [one for one in os.environ if one.startswith("RECSYS_")]:
        del os.environ[name]
    os.environ.update(own.environment())
    summary = ads_demo(configured())
    table = Table("traffic", "predictions", "release", "AUC", "the truth's AUC")
    for title, phase in (
        ("before the drift", summary["before"]),
        ("after it", summary["drifted"]),
        ("retrained", summary["after"]),
    ):
        table.add_row(
            title,
            f"{phase['predictions']:,}",
            ", ".join(map(str, phase["releases"])),
            f"{phase['auc']:.4f}",
            f"{phase['oracle']:.4f}",
        )
    Console().print(table)
    print(json.dumps({name: summary[name] for name in ("urls", "seconds")}, indent=2))
    _say(
        f"written to {own.home / 'ads_demo.json'}; the plot is the asset ads_ctr/quality of today "
        "in the UI; `make stop` ends every part"
    )


def _say(text: str) -> None:
    _errors.print(text, highlight=False, markup=False, soft_wrap=True)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=_errors
    )


def _begin(first_day: str | None, days: int, settings: Settings) -> date:
    """Return the first day.

    Raises:
        IngestError: it is no ISO day, or the last day is after today.
    """
    from recsys_assets.lib.landing.zone import IngestError

    today = partitions.today(settings)
    if first_day is None:
        return today - timedelta(days=days)
    try:
        begin = datetime.strptime(first_day, "%Y-%m-%d").date()
    except ValueError as error:
        raise IngestError(f"--first-day {first_day}: give a day such as 2026-11-20") from error
    if begin + timedelta(days=days - 1) > today:
        raise IngestError(
            f"--first-day {first_day}: {days} days from it end after today ({today}); give an "
            "earlier day"
        )
    return begin


def _show(landed: AdsLanded, settings: Settings) -> None:
    """Print what was landed, and let the calendar of ads begin with it."""
    ads_partitions.begin_with(settings, min(landed.days))
    table = Table("day", "rows", title=settings.landing)
    for day, rows in landed.days.items():
        table.add_row(day, f"{rows:,}")
    _errors.print(table)
    for reason, count in landed.rejected.items():
        _errors.print(f"{count:,} rows set aside: {reason}", highlight=False, markup=False)
    if landed.rejected:
        _errors.print(
            f"they are kept in {settings.landing}/quarantine/ads, each with its reason",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
