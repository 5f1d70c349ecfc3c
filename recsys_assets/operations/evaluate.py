"""Evaluates the models of an as-of day and publishes the report."""

from __future__ import annotations

import json
import os
import uuid
from datetime import date
from pathlib import Path
from typing import Any

import typer

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.files import write_json
from recsys_assets.operations import full_graph, jobs
from recsys_assets.settings import Settings

#: Steps whose verdict is part of what is reported: their asset is there, and nothing below them is
#: needed here.
VERDICTS = frozenset({"evaluation__offline", "serving__release"})


def evaluate(
    settings: Settings, as_of: str | None = None, ablations: bool = True
) -> dict[str, Any]:
    """Materialise what is missing, then the evaluation; returns what ``evaluation.json`` holds.

    Nothing is asserted: a gate that blocks the release, and a target that is not met, are reported.
    """
    from recsys_assets.operations import services
    from recsys_assets.orchestration.resources import Platform

    clock = jobs.Clock()
    day = as_of_day(settings, as_of)
    services.up(settings, only=["valkey"], progress=clock.say)
    _unless_blocked(lambda: full_graph.materialize(settings, day, clock), clock)
    whole = _unless_blocked(lambda: jobs.run_jobs(settings, [("evaluation", day)], clock), clock)
    if not whole:  # a blocking check held the report back
        jobs.run_jobs(settings, [("evaluation_report", day)], clock)
    store = Platform().store
    summary = publish(store.current("evaluation/report", day), settings.home)
    if ablations:
        # what was measured so far is on disk: ablations train every model several times more
        jobs.run_jobs(settings, [("evaluation_ablations", day), ("evaluation_report", day)], clock)
        summary = publish(store.current("evaluation/report", day), settings.home)
    clock.say(
        f"written to {settings.home / 'evaluation.json'} and {settings.home / 'evaluation.html'}"
    )
    return summary


def as_of_day(settings: Settings, as_of: str | None) -> str:
    """The as-of day to evaluate; raises typer.BadParameter for one that no whole window of the log
    ends on.
    """
    try:
        wanted = None if as_of is None else date.fromisoformat(as_of).isoformat()
    except ValueError as error:
        raise typer.BadParameter(
            f"{as_of!r} must be a day of the form 2026-11-20", param_hint="--as-of"
        ) from error
    days = full_graph.history(settings)
    possible = [day for day in days if day >= partitions.first_as_of(settings)]
    if wanted is not None and wanted not in possible:
        raise typer.BadParameter(
            f"{wanted} must be from {possible[0]} to {possible[-1]}: the {partitions.WINDOW_DAYS} "
            "days that end "
            "with it are trained and judged on",
            param_hint="--as-of",
        )
    return wanted or full_graph.default_as_of(settings, days)


def publish(report: Artifact, home: Path) -> dict[str, Any]:
    """evaluation.json and evaluation.html in the home, each replaced as a whole; returns the
    former.
    """
    from recsys_assets.lib.evaluation.report import PAGE_FILE, SUMMARY_FILE

    summary = json.loads(report.path(SUMMARY_FILE).read_text())
    write_json(home / "evaluation.json", summary)
    temporary = home / f".evaluation.{uuid.uuid4().hex}"
    temporary.write_bytes(report.path(PAGE_FILE).read_bytes())
    os.replace(temporary, home / "evaluation.html")
    return summary


def _unless_blocked(run: Any, clock: jobs.Clock) -> bool:
    """Run; False where all that stopped it is a verdict on the models."""
    try:
        run()
    except jobs.PipelineFailed as failed:
        if not failed.blocked or not failed.blocked <= VERDICTS:
            raise
        clock.say(f"{failed}: the evaluation goes on, to show why")
        return False
    return True
