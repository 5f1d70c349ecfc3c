"""Define the asset of daily ads logs from the landing zone."""

import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from recsys_assets import ads_partitions
from recsys_assets.orchestration import compute, days, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform

if TYPE_CHECKING:
    from recsys_assets.lib.ads_ctr.ads_drift import AdsDayDrift

KEY = ["ads_ctr", "logs"]
CONTRACT = {
    "contract": "All rows have the form of the public Criteo logs: a label of 0 or 1, 13 counts, "
    "26 categories. Otherwise nothing is materialised."
}
DRIFT = {
    "drift": "No feature has moved from the days before by a Jensen-Shannon divergence above "
    "RECSYS_ADS_DRIFT_THRESHOLD and above what chance gives at that size. Otherwise it warns, or "
    "stops the day where RECSYS_ADS_DRIFT_BLOCKS is on."
}

SETTLED = {
    "settled": "No prediction of the day waits for its label. Otherwise it warns: the day has its "
    "clicks already, and lacks ads that were not clicked. Import it again after "
    "RECSYS_ADS_LABEL_HOURS."
}


@dg.asset(
    key=KEY,
    kinds={"polars", "parquet"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=ads_partitions.ads_days(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="cpu",
    check_specs=reporting.check_specs(KEY, CONTRACT | DRIFT | SETTLED, ads_partitions.ads_days()),
)
def logs(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> days.DayEvents:
    """Imports the ads log of a day from the landing zone.

    Reads all Parquet files of the day's folder, and the predictions that the gateway gave on the
    day, with their labels. A prediction without a label is left out until RECSYS_ADS_LABEL_HOURS
    have passed; then it counts as not clicked. Writes one row per shown ad with label, 13 counts
    and 26 categories, and a profile of every feature. A day without both has no rows.
    """
    yield from days.each_day(context, lambda day: _one_day(context, config, platform, day))


def _one_day(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform, day: str
) -> reporting.Events:
    from recsys_assets.lib.ads_ctr import ads_day, ads_drift, feedback

    settings, store = platform.settings, platform.store
    window = settings.ads_label_hours * 3_600
    landed = yield from reporting.read_under_contract(
        lambda: ads_day.read_ads_day(
            settings.landing,
            day,
            feedback.read_feedback(settings.landing, day, window, time.time()),
        )
    )
    built = platform.build(
        context,
        "ads_ctr/logs",
        partition=day,
        inputs={"landing": landed.digest},
        force=config.force,
        write=lambda staged: ads_day.write_ads_day(landed, staged.path),
    )
    before = ads_partitions.ADS_BASELINE.days(settings, day)
    earlier = [store.current(*_name(one)) for one in before if store.exists(*_name(one))]
    moved = ads_drift.against_days(built.artifact, earlier, settings.ads_drift_threshold)
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        columns={name: str(kind) for name, kind in landed.rows.schema.items()},
    )
    yield reporting.contract_kept(landed.rows_by_file, landed.extra_columns)
    yield _drift_check(moved, settings.ads_drift_blocks)
    yield reporting.check(
        "settled",
        not landed.feedback.get("waiting"),
        value=landed.feedback.get("waiting", 0),
        threshold=0,
        blocking=False,
        **landed.feedback,
    )


def _name(day: str) -> tuple[str, str]:
    return "ads_ctr/logs", day


def _drift_check(moved: "AdsDayDrift", blocks: bool) -> dg.AssetCheckResult:
    """Return the check ``drift`` with a table and a plot; it passes where nothing is compared."""
    figures: dict[str, Any] = {}
    if moved.features:
        figures["plot"] = dg.MetadataValue.md(moved.figure())
        figures["by chance"] = {
            name: [round(one.divergence, 5), round(one.by_chance, 5)]
            for name, one in moved.features.items()
        }
    return reporting.check(
        "drift",
        not moved.drifted,
        value=max((one.divergence for one in moved.features.values()), default=0.0),
        threshold=moved.threshold,
        blocking=blocks,
        drifted=moved.drifted,
        compared_with=list(moved.days),
        reason=moved.reason,
        **figures,
    )
