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
from recsys_assets.lib.release.rung import described
from recsys_assets.operations import full_graph, jobs
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    from recsys_assets.lib.evaluation.measures import EvaluationSummary

#: Steps whose blocking checks do not end the evaluation: the report shows their verdicts.
VERDICTS = frozenset({"serving__release"})


def evaluate(
    settings: Settings,
    as_of: str | None = None,
    ablations: bool = True,
    accept_volume: Sequence[str] = (),
) -> EvaluationSummary | None:
    """Materialise what is missing, evaluate, and return ``evaluation.json``.

    Returns None where the window has too few clicks for the full models: the figures of the simple
    rung are printed instead.

    A gate that blocks the release and a target that is not met are reported; they raise nothing.

    Args:
        settings: of the home.
        as_of: ISO day; None: the default of ``full_graph.default_as_of``.
        ablations: train and judge the ablations too.
        accept_volume: days to take whatever their volume; "all": every day.
    """
    from recsys_assets.operations import services
    from recsys_assets.orchestration.resources import Platform

    clock = jobs.Clock()
    day = as_of_day(settings, as_of)
    services.up(settings, only=["valkey"], progress=clock.say)
    _unless_blocked(
        lambda: full_graph.materialize(settings, day, clock, accept_volume=accept_volume), clock
    )
    if not Platform().store.exists("exports/onnx", day):
        store = Platform().store
        rung, fusion = (store.current(f"ladder/{kind}", day) for kind in ("simple_rung", "fusion"))
        _say_simple(rung, fusion, clock)
        return None
    whole = _unless_blocked(lambda: jobs.run_jobs(settings, [("evaluation", day)], clock), clock)
    if not whole:  # a blocking check stopped the run before the report
        jobs.run_jobs(settings, [("evaluation_report", day)], clock)
    store = Platform().store
    summary = publish(store.current("evaluation/report", day), settings.home)
    if ablations and not summary["queries"]["queries"]:
        clock.say("ablations are left out: no held-out click could be asked for")
    elif ablations:
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
        typer.BadParameter: ``as_of`` is no day, or the log has no such day.
    """
    try:
        wanted = None if as_of is None else date.fromisoformat(as_of).isoformat()
    except ValueError as error:
        raise typer.BadParameter(
            f"{as_of!r} must be a day of the form 2026-11-20", param_hint="--as-of"
        ) from error
    days = full_graph.history(settings)
    if wanted is not None and wanted not in days:
        raise typer.BadParameter(
            f"{wanted} must be from {days[0]} to {days[-1]}: the models are trained and judged on "
            f"the {partitions.window_size(settings)} days that end with it",
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


def _say_simple(simple_rung: Artifact, fusion: Artifact, clock: jobs.Clock) -> None:
    """Print the figures of the simple rungs, and why the full models were not trained."""
    figures = fusion.metrics
    clock.say(
        f"the full models of {simple_rung.partition} were not trained: they lack "
        f"{'; '.join(simple_rung.metrics['window']['lacking'])}"
    )
    for name, metrics in figures["lists"].items():
        value = metrics["ndcg@10"]
        clock.say(
            f"{name}: nDCG@10 {value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}] on "
            f"{figures['queries']:,} held-out clicks"
        )
    clock.say(f"rung: {described(figures['rung'])}")
