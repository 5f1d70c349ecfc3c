"""Define ``recsys check eks``: check an installation and list the resources per asset."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys_assets.operations.eks.checks import Line
from recsys_assets.operations.eks.pods import AssetPod

app = typer.Typer(no_args_is_help=True, help="Check an installation.")
WORDS = {True: "[green]ok[/]", False: "[red]FAILED[/]", None: "[yellow]?[/]"}


@app.callback()
def _group() -> None:
    """Keep ``eks`` a subcommand: Typer would drop the name of an only command."""


@app.command()
def eks(
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of the charts.")
    ] = "recsys",
    context: Annotated[
        str | None, typer.Option(help="Context of the kubeconfig; default: the current one.")
    ] = None,
    pods: Annotated[bool, typer.Option(help="List the pod of each asset.")] = True,
) -> None:
    """Check the platform on a cluster. Reads by your kubeconfig; changes nothing.

    Prints one line per check, with the remedy if it fails, then the resources per asset. Ends with
    status 1 if a check failed.
    """
    from pydantic import ValidationError

    from recsys_assets.operations.eks import checks, installed
    from recsys_assets.operations.eks.pods import asset_pods

    console = Console()
    try:
        found = installed.read(namespace, context)
    except installed.NoCluster as error:
        raise typer.BadParameter(str(error)) from error
    lines = checks.all_lines(found)
    console.print(table_of_lines(lines))
    if pods:
        try:
            settings = checks.settings_of(found)
        except ValidationError:
            settings = checks.default_settings()
        console.print(table_of_pods(asset_pods(settings)))
    failed = [line for line in lines if line.held is False]
    if failed:
        console.print(f"{len(failed)} of {len(lines)} checks failed")
        raise typer.Exit(1)


def table_of_lines(lines: list[Line]) -> Table:
    """Return a row per check."""
    table = Table("", "check", "found", box=SIMPLE_HEAD)
    for line in lines:
        table.add_row(WORDS[line.held], escape(line.what), escape(line.found))
    return table


def table_of_pods(pods: list[AssetPod]) -> Table:
    """Return a row per asset."""
    table = Table(box=SIMPLE_HEAD, title="resources per asset")
    table.add_column("asset", no_wrap=True, min_width=max(len(pod.asset) for pod in pods))
    for name in ("image", "profile", "CPU", "memory", "GPU", "hours"):
        table.add_column(name, no_wrap=True)
    for pod in pods:
        image = "training" if pod.pod == "training" else "platform"
        gpus = str(pod.gpus) if pod.gpus else ""
        table.add_row(pod.asset, image, pod.profile, pod.cpu, pod.memory, gpus, f"{pod.hours:g}")
    return table
