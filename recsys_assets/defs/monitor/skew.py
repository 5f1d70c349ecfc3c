"""Define the daily asset that compares the features of serving with those of training."""

from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, days, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

SKEW = ["monitor", "skew"]
CHECKS = {
    "features": "No input of the ranker differs between serving and training in surely more "
    "answers than the tolerance allows. Warns otherwise."
}


class SkewInputs(TypedDict):
    """Inputs of ``monitor/skew``, without the releases."""

    interactions: Annotated[Artifact, Upstream("raw/interactions", SAME)]
    features: Annotated[Artifact, Upstream("features/interactions", SAME)]


@dg.asset(
    key=SKEW,
    kinds={"polars", "parquet"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.daily(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="cpu",
    deps=dependencies(SkewInputs),
    check_specs=reporting.check_specs(SKEW, CHECKS, partitions.daily(), blocking=False),
)
def skew(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> days.DayEvents:
    """Compares what the models read for served answers with what training computes for them.

    Reads the log of answers with its features, the features of the day, and the releases that
    answered. Writes one row per input of the ranker: the share of answers in which it differs, with
    an example.
    """
    yield from days.each_day(context, lambda day: _skew_of(context, config, platform, day))


def _skew_of(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform, day: str
) -> reporting.Events:
    from recsys_assets.lib.drift import served_day, served_releases
    from recsys_assets.lib.drift import skew as comparing

    inputs = open_inputs(SkewInputs, platform, day)
    opened = served_releases.releases_of(
        platform.store, served_day.releases_that_answered(inputs["interactions"])
    )
    tolerance = platform.settings.drift_skew
    built = platform.build(
        context,
        "monitor/skew",
        partition=day,
        inputs={**inputs, "releases": opened},
        params={"drift_skew": tolerance},
        force=config.force,
        write=lambda staged: comparing.write_skew(
            inputs["interactions"], inputs["features"], opened, tolerance, staged.path
        ),
    )
    metrics = built.artifact.metrics
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        checks=[
            reporting.check(
                "features",
                not metrics["skewed"],
                value=metrics["skewed"] or metrics["reason"] or "none",
                threshold=tolerance,
                blocking=False,
                answers=metrics["answers"],
                rows=metrics["rows"],
            )
        ],
    )
