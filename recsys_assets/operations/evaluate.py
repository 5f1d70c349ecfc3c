"""Evaluate the models of an as-of day and publish the report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.files import replacing, write_json
from recsys_assets.operations import full_graph, jobs
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    from recsys_assets.lib.evaluation.measures import EvaluationSummary

#: Steps whose blocking checks do not end the evaluation: the report shows their verdicts.
VERDICTS = frozenset({"evaluation__offline", "serving__release"})


def evaluate(
    settings: Settings,
    as_of: str | None = None,
    ablations: bool = True,
    accept_volume: Sequence[str] = (),
) -> EvaluationSummary:
    """Materialise what is missing, evaluate, and return ``evaluation.json``.

    A gate that blocks the release and a target that is not met are reported; they raise nothing.

    Args:
        settings: of the home.
        as_of: ISO day; None: the default of ``full_graph.default_as_of``.
        ablations: train and judge the ablations too.
        accept_volume: days to accept with an unusual volume, or "all".
    """
    from recsys_assets.operations import services
    from recsys_assets.orchestration.resources import Platform

    clock = jobs.Clock()
    day = as_of_day(settings, as_of)
    services.up(settings, only=["valkey"], progress=clock.say)
    _unless_blocked(lambda: full_graph.materialize(settings, day, clock, accept_volume), clock)
    whole = _unless_blocked(lambda: jobs.run_jobs(settings, [("evaluation", day)], clock), clock)
    if not whole:  # a blocking check stopped the run before the report
        jobs.run_jobs(settings, [("evaluation_report", day)], clock)
    store = Platform().store
    summary = publish(store.current("evaluation/report", day), settings.home)
    if ablations:
        # the first report is on disk already: ablations train every model several times more
        jobs.run_jobs(settings, [("evaluation_ablations", day), ("evaluation_report", day)], clock)
        summary = publish(store.current("evaluation/report", day), settings.home)
    clock.say(
        f"written to {settings.home / 'evaluation.json'} and {settings.home / 'evaluation.html'}"
    )
    return summary


def as_of_day(settings: Settings, as_of: str | None) -> str:
    """Return the as-of day to evaluate.

    Raises:
        typer.BadParameter: ``as_of`` is no day, or no whole window of the log ends on it.
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
            f"{wanted} must be from {possible[0]} to {possible[-1]}: the models are trained and "
            f"judged on the {partitions.WINDOW_DAYS} days that end with it",
            param_hint="--as-of",
        )
    return wanted or full_graph.default_as_of(settings, days)


def publish(report: Artifact, home: Path) -> EvaluationSummary:
    """Write evaluation.json and evaluation.html into the home; return the former.

    Each file is replaced as a whole.
    """
    from recsys_assets.lib.evaluation.report import PAGE_FILE, SUMMARY_FILE

    summary: EvaluationSummary = json.loads(report.path(SUMMARY_FILE).read_text())
    write_json(home / "evaluation.json", summary)
    with replacing(home / "evaluation.html") as page:
        page.write_bytes(report.path(PAGE_FILE).read_bytes())
    return summary


def _unless_blocked(run: Callable[[], None], clock: jobs.Clock) -> bool:
    """Return whether ``run`` ended without a verdict of VERDICTS that blocked it."""
    try:
        run()
    except jobs.PipelineFailed as failed:
        if not failed.blocked or not failed.blocked <= VERDICTS:
            raise
        clock.say(f"{failed}: the evaluation continues, so that the report shows why")
        return False
    return True
