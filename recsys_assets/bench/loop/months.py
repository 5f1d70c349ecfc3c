"""Judge months of simulated answers by the monitor's own code, without Dagster.

The log of each day goes through the join with its clicks, the measures and the verdict, as the
assets do it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.drift import answers, quality
from recsys_assets.lib.drift.answers import ScoresOf
from recsys_assets.lib.monitor.rolling import Minimum, Tolerance
from recsys_assets.lib.quality.served_day import ServedDay
from recsys_assets.lib.raw.served import served_impressions
from recsys_assets.lib.simulator.answers import simulate_answers
from recsys_assets.lib.simulator.truth import Truth
from recsys_assets.partitions import day_bounds

RELEASE = 1
SCORES: ScoresOf = {"family": RELEASE, "probabilities": True}


def judge_month(
    folder: Path,
    world: Truth,
    model: Truth,
    days: Sequence[str],
    number: int,
    minimum: Minimum,
    tolerances: Mapping[str, Tolerance],
) -> dict[str, list[str] | None]:
    """Return day → measures that drifted; None: nothing could be judged.

    Args:
        folder: for the artifacts.
        world: decides on the clicks.
        model: scores; one release on all days.
        days: ISO, in order.
        number: answers per day.
        minimum: which windows are judged.
        tolerances: measure → which change is drift.
    """
    store, found = ArtifactStore(folder), dict[str, list[str] | None]()
    served: list[Artifact] = []
    for day in days:
        log, clicks = simulate_answers(world, model, day, number, RELEASE)
        served.append(measure_day(store, day, log, clicks, {RELEASE: SCORES}))
        kept = quality.compared_days({one.partition or "": [RELEASE] for one in served})
        with store.stage("monitor/quality", day) as staged:
            metrics = quality.write_quality(
                [one for one in served if one.partition in kept], minimum, tolerances, staged.path
            )
            staged.publish(metrics)
        found[day] = metrics["drifted"] if metrics["judged"] else None
    return found


def measure_day(
    store: ArtifactStore,
    day: str,
    log: pl.DataFrame,
    clicks: pl.DataFrame,
    scored: Mapping[int, ScoresOf],
) -> Artifact:
    """Join a log of answers with its clicks, and publish the measures.

    Args:
        store: of the artifacts.
        day: ISO, UTC.
        log: of ``simulate_answers``.
        clicks: of ``simulate_answers``.
        scored: release → what its scores are.
    """
    events = clicks.with_columns(pl.col(c.TIMESTAMP).alias(c.ARRIVED)).select(
        *c.ARRIVED_INTERACTIONS
    )
    named = clicks.select(c.EVENT_ID, c.REQUEST_ID)
    joined = served_impressions(ServedDay(log, {}, {}), events, named, None, "own")
    times = pl.concat([events, joined.impressions]).select(c.EVENT_ID, c.TIMESTAMP)
    with store.stage("monitor/served", day) as staged:
        figures = answers.write_answers(
            joined.shown, times, day_bounds(day)[1], scored, staged.path
        )
        return staged.publish(figures)
