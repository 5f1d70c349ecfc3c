"""Define the daily assets that watch served answers and inputs for drift."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, Staged
from recsys_assets.orchestration import compute, days, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

if TYPE_CHECKING:
    from recsys_assets.lib.monitor.rolling import Minimum, Tolerance

SERVED, QUALITY, INPUTS = ["monitor", "served"], ["monitor", "quality"], ["monitor", "inputs"]
QUALITY_CHECKS = {
    "auc": "AUC of the served scores against the clicks has not surely fallen from that of the "
    "first days of the same full training, by more than the tolerance. Warns otherwise.",
    "ndcg": "nDCG@10 of the answers with a click has not surely fallen, likewise. Warns otherwise.",
    "calibration": "Clicks over predicted clicks have not surely changed, likewise. Warns "
    "otherwise. Judged only where scores are probabilities.",
}
#: Check → measure of ``lib.drift.answers``.
MEASURE_OF = {"auc": "auc", "ndcg": "ndcg@10", "calibration": "calibration"}
INPUT_CHECKS = {
    "features": "The Jensen-Shannon divergence of each feature from the training days of the "
    "release in service, or from its first days in service, is at most the tolerance and what "
    "chance gives. Warns otherwise.",
    "vocabulary": "The share of rows whose item or category the training days lack is not beyond "
    "that of a usual day by more than the tolerance. Warns otherwise.",
}


class ServedInputs(TypedDict):
    """Inputs of ``monitor/served``, without the releases (see upstream.py)."""

    interactions: Annotated[Artifact, Upstream("raw/interactions", SAME)]


class QualityInputs(TypedDict):
    """Inputs of ``monitor/quality``."""

    served: Annotated[
        Sequence[Artifact], Upstream("monitor/served", partitions.MONITORED, chosen=True)
    ]


class DriftInputs(TypedDict):
    """Inputs of ``monitor/inputs``."""

    features: Annotated[Artifact, Upstream("features/interactions", SAME)]
    training: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.MONITORED, chosen=True)
    ]
    first: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.MONITORED, chosen=True)
    ]


@dg.asset(
    key=SERVED,
    kinds={"polars", "parquet"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.daily(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="cpu",
    deps=dependencies(ServedInputs),
)
def served(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> days.DayEvents:
    """Measures the answers of a day against the clicks on them, per release.

    Reads the day's log of answers with its joined events, and the releases that answered. Writes
    AUC, nDCG@10 and calibration per release, and one row per release and visitor, by which days are
    pooled with an interval. Answers of the day's last hour and degraded answers are left out.
    """
    yield from days.each_day(context, lambda day: _served_of(context, config, platform, day))


def _served_of(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform, day: str
) -> reporting.Events:
    from recsys_assets.lib.drift import answers, served_day, served_releases

    interactions = open_inputs(ServedInputs, platform, day)["interactions"]
    numbers = served_day.releases_that_answered(interactions)
    opened = served_releases.releases_of(platform.store, numbers)
    zone = partitions.time_zone(platform.settings)
    end_of_day = partitions.day_bounds(day, zone)[1]
    built = platform.build(
        context,
        "monitor/served",
        partition=day,
        inputs={"interactions": interactions, "releases": opened},
        params={"time_zone": zone},
        force=config.force,
        write=lambda staged: answers.write_answers(
            *served_day.shown_and_times(interactions),
            end_of_day,
            served_releases.scored(opened, numbers),
            staged.path,
        ),
    )
    yield reporting.result(built.artifact, reused=built.reused)


@dg.asset(
    key=QUALITY,
    kinds={"polars", "json"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.daily(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="cpu",
    deps=dependencies(QualityInputs),
    check_specs=reporting.check_specs(QUALITY, QUALITY_CHECKS, partitions.daily(), blocking=False),
)
def quality(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> days.DayEvents:
    """Judges whether the answers of the newest days have drifted, per day.

    Reads the measures of the day, of days before it, and of the first days of the full training in
    service. Writes the verdict on each measure, and a figure by day with the releases marked.
    """
    yield from days.each_day(context, lambda day: _quality_of(context, config, platform, day))


def _quality_of(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform, day: str
) -> reporting.Events:
    from recsys_assets.lib.drift import quality as judging
    from recsys_assets.lib.drift.served_day import families_by_day

    families = families_by_day(
        platform.store, day, -partitions.MONITORED.distances(platform.settings)[0]
    )
    inputs = open_inputs(QualityInputs, platform, day, served=judging.compared_days(families))
    minimum, tolerances = _rules(platform)
    built = platform.build(
        context,
        "monitor/quality",
        partition=day,
        inputs=inputs,
        params={
            name: getattr(platform.settings, name)
            for name in type(platform.settings).model_fields
            if name.startswith("drift_") and name not in _OF_INPUTS
        },
        force=config.force,
        write=lambda staged: judging.write_quality(
            inputs["served"], minimum, tolerances, staged.path
        ),
    )
    metrics = built.artifact.metrics
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        checks=[
            _quality_check(
                name, metrics["verdicts"][MEASURE_OF[name]], tolerances[MEASURE_OF[name]]
            )
            for name in QUALITY_CHECKS
        ],
    )


#: Settings of ``monitor/inputs`` and of the sensor, which the verdict does not depend on.
_OF_INPUTS = ("drift_divergence", "drift_unknown", "drift_cool_down_days")


def _rules(platform: Platform) -> tuple["Minimum", dict[str, "Tolerance"]]:
    """Return which windows are judged, and which change of a measure is drift."""
    from recsys_assets.lib.drift.quality import tolerances
    from recsys_assets.lib.monitor.rolling import Minimum

    settings = platform.settings
    return (
        Minimum(
            rows=settings.drift_min_rows,
            positives=settings.drift_min_clicks,
            days=settings.drift_days,
            reference_days=settings.drift_reference_days,
        ),
        tolerances(
            settings.drift_auc,
            settings.drift_auc_floor,
            settings.drift_ndcg,
            math.log(settings.drift_calibration),
        ),
    )


def _quality_check(
    name: str, verdict: dict[str, Any], tolerance: "Tolerance"
) -> dg.AssetCheckResult:
    change = verdict.get("change")
    made = reporting.check(
        name,
        not verdict["drifted"],
        value="not judged" if change is None else change["value"],
        threshold=f"surely beyond {tolerance.change:.3g}",
        blocking=False,
        **{part: verdict[part] for part in ("now", "reference", "change") if part in verdict},
        days=verdict["days"],
        reference_days=verdict["reference_days"],
    )
    return made._replace(description=verdict["reason"])


@dg.asset(
    key=INPUTS,
    kinds={"polars", "parquet"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.daily(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="cpu",
    deps=dependencies(DriftInputs),
    check_specs=reporting.check_specs(INPUTS, INPUT_CHECKS, partitions.daily(), blocking=False),
)
def inputs(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> days.DayEvents:
    """Compares the features of a day with the training days of the release in service, per day.

    Reads the features of the day, of those training days and of the first days in service. Writes
    one row per feature: its divergences, their limits and what chance gives, and the shares of
    unknown items and categories.
    """
    yield from days.each_day(context, lambda day: _inputs_of(context, config, platform, day))


def _inputs_of(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform, day: str
) -> reporting.Events:
    from recsys_assets.lib.drift import inputs as comparing
    from recsys_assets.lib.drift.served_releases import served_on

    settings, store = platform.settings, platform.store
    present = served_on(settings, store, day, settings.drift_reference_days)
    first = [one for one in present.first if store.exists("features/interactions", one)]
    opened = open_inputs(DriftInputs, platform, day, training=present.training, first=first)
    rules = comparing.InputRules(
        first_day=partitions.calendar_start(settings).isoformat(),
        look_back_days=settings.look_back_days,
        minimum_rows=settings.drift_min_rows,
        reference_days=settings.drift_reference_days,
        tolerance=settings.drift_divergence,
        unknown_tolerance=settings.drift_unknown,
        zone=partitions.time_zone(settings),
    )

    def write(staged: Staged) -> dict[str, Any]:
        found = comparing.input_drift(
            opened["features"], opened["training"], opened["first"], rules
        )
        return comparing.write_inputs(found, staged.path)

    built = platform.build(
        context,
        "monitor/inputs",
        partition=day,
        inputs=opened,
        params=dataclasses.asdict(rules),
        force=config.force,
        write=write,
    )
    metrics = built.artifact.metrics
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        extra={"release": present.release or "none in service"},
        checks=[
            reporting.check(
                "features",
                not metrics["drifted"],
                value=metrics["drifted"] or metrics["reason"] or "none",
                threshold=metrics["limit"],
                blocking=False,
                divergence=metrics["divergence"],
            ),
            reporting.check(
                "vocabulary",
                not metrics["vocabularies"],
                value=metrics["unknown"],
                threshold={
                    name: share + settings.drift_unknown
                    for name, share in metrics["usual_unknown"].items()
                },
                blocking=False,
            ),
        ],
    )
