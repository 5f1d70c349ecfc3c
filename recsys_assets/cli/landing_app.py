"""Add the commands that write into the landing zone, and those of the ads ranker."""

from __future__ import annotations

import typer

from recsys_assets.cli.ads import demo_ads, ingest_ads, promote_ads, rollback_ads, simulate_ads
from recsys_assets.cli.ingest import ingest


def add_landing(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command()(ingest)
    app.command()(ingest_ads)
    app.command()(simulate_ads)
    app.command()(promote_ads)
    app.command()(rollback_ads)
    app.command()(demo_ads)
