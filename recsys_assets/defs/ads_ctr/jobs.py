"""Define the jobs of the ads graph."""

import dagster as dg

from recsys_assets import ads_partitions
from recsys_assets.orchestration.compute import LANE
from recsys_assets.settings import get_settings

_BY_HAND = get_settings().promotion == "manual"
_PROMOTION = (
    "The release that passed waits: materialise ads_ctr/champion (RECSYS_PROMOTION=manual)."
    if _BY_HAND
    else "Promotes the release that passed."
)
_CHAMPION: list[list[str]] = [] if _BY_HAND else [["ads_ctr", "champion"]]

ads_ingest = dg.define_asset_job(
    "ads_ingest",
    description="Imports the ads log of one day and compares its features with the days before.",
    partitions_def=ads_partitions.ads_days(),
    # the drift of a day reads the days before it
    tags={LANE: "ads_days"},
    selection=dg.AssetSelection.assets(["ads_ctr", "logs"]),
)

ads_training = dg.define_asset_job(
    "ads_training",
    description="Trains the ads ranker on the days before a day, and judges it on that day beside "
    "its baselines. " + _PROMOTION,
    partitions_def=ads_partitions.ads_days(),
    selection=dg.AssetSelection.assets(
        ["ads_ctr", "workflow"],
        ["ads_ctr", "datasets"],
        ["ads_ctr", "dcn"],
        ["ads_ctr", "evaluation"],
        ["ads_ctr", "release"],
        *_CHAMPION,
    ),
)

ads_promote = dg.define_asset_job(
    "ads_promote",
    description="Promotes a release of the ads ranker to all Triton servers; by default the newest "
    "whose gate passed.",
    selection=dg.AssetSelection.assets(["ads_ctr", "champion"]),
)

ads_incremental = dg.define_asset_job(
    "ads_incremental",
    description="Trains the champion of the ads ranker on, on the labelled predictions that it has "
    "not learnt. The sensor ads_drift starts it. " + _PROMOTION,
    partitions_def=ads_partitions.ads_days(),
    # a second one would learn the same rows
    tags={LANE: "ads_incremental"},
    selection=dg.AssetSelection.assets(
        ["ads_ctr", "feedback_rows"],
        ["ads_ctr", "tuned_dcn"],
        ["ads_ctr", "tuned_release"],
        *_CHAMPION,
    ),
)

ads_monitor = dg.define_asset_job(
    "ads_monitor",
    description="Judges the labelled predictions of the ads ranker of one day, with a figure of "
    "the rolling AUC.",
    partitions_def=ads_partitions.ads_days(),
    selection=dg.AssetSelection.assets(["ads_ctr", "quality"]),
)
