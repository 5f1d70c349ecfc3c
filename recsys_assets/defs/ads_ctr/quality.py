"""Define the daily asset that judges the served predictions of the ads ranker."""

import dataclasses
from time import time

import dagster as dg

from recsys_assets import ads_partitions
from recsys_assets.orchestration import compute, days, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform

KEY = ["ads_ctr", "quality"]
DRIFT = {
    "drift": "No release raised an alarm on the labelled predictions of the day: the rolling AUC "
    "stayed above its threshold, and the log loss did not rise. Warns otherwise."
}


@dg.asset(
    key=KEY,
    kinds={"polars", "json"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=ads_partitions.ads_days(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="cpu",
    check_specs=reporting.check_specs(KEY, DRIFT, ads_partitions.ads_days(), blocking=False),
)
def quality(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> days.DayEvents:
    """Judges the ads ranker's predictions of a day by their labels, per release.

    Reads predictions and labels in the landing zone. Writes AUC, log loss and calibration per
    release, and a figure of the rolling AUC over the labelled predictions, with alarms and
    promotions marked. Predictions whose label is not settled are counted as waiting.
    """
    yield from days.each_day(context, lambda day: _one_day(context, config, platform, day))


def _one_day(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform, day: str
) -> reporting.Events:
    from recsys_assets.lib.ads_ctr import ads_quality, incremental

    settings = platform.settings
    rows, waiting = incremental.settled_rows(settings, [day], time())
    numbers = [int(number) for number in rows["release"].unique(maintain_order=True)]
    rules = ads_quality.rules_of(platform.store, settings, numbers)
    changes = ads_quality.promotions(platform.home_settings)
    built = platform.build(
        context,
        "ads_ctr/quality",
        partition=day,
        inputs={"feedback": incremental.rows_digest(rows)},
        params={
            "waiting": waiting,
            "rules": {str(number): dataclasses.asdict(one) for number, one in rules.items()},
            "promotions": [dataclasses.asdict(one) for one in changes],
        },
        force=config.force,
        write=lambda staged: ads_quality.write_quality(rows, waiting, rules, changes, staged.path),
    )
    metrics = built.artifact.metrics
    found = [
        f"release {number}: {alarm}"
        for number, one in metrics["releases"].items()
        for alarm in one["alarms"]
    ]
    yield reporting.result(built.artifact, reused=built.reused)
    yield reporting.check(
        "drift",
        not found,
        value=len(found),
        threshold=0,
        blocking=False,
        alarms=found,
        labelled=metrics["labelled"],
        waiting=metrics["waiting"],
    )
