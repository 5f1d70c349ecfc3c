"""Define the sensor that watches the ads ranker's labelled predictions."""

import dagster as dg

from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import get_settings

from . import due_tuning
from .jobs import ads_incremental


@dg.sensor(
    job=ads_incremental,
    name="ads_drift",
    description="Starts `ads_incremental` of today where the ads ranker has drifted: where the "
    "rolling AUC of its labelled predictions falls below the threshold of its release, or their "
    "log loss rises. Nothing is started while a training of the ads ranker is pending, in the "
    "RECSYS_ADS_COOL_DOWN labelled predictions after the last one that an alarm asked for, or with "
    "fewer than RECSYS_ADS_TUNE_ROWS predictions that were settled since the window of the alarm "
    "began; the alarm then waits. The cursor holds both monitors, so that no prediction is counted "
    "twice. A new champion begins with an empty window.",
    default_status=dg.DefaultSensorStatus.RUNNING
    if get_settings().automation
    else dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
)
def ads_drift(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult:
    """Watch the predictions that were settled since the last tick."""
    return due_tuning.evaluate(context, platform)
