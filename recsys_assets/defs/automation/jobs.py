"""Define the jobs that people and sensors start."""

import dagster as dg

from recsys_assets import partitions
from recsys_assets.orchestration.compute import LANE
from recsys_assets.settings import get_settings
from recsys_assets.source_names import SOURCE_NAMES

_SOURCES = [["sources", name] for name in SOURCE_NAMES]
#: Runs of one lane run one at a time, in the order of their requests: those of a backfill too.
_DAYS, _ONLINE, _FINE_TUNE = {LANE: "days"}, {LANE: "online"}, {LANE: "fine_tune"}
_MONITOR = {LANE: "monitor"}

catalogue = dg.define_asset_job(
    "catalogue",
    description="Imports users and items, embeds the catalogue and applies the feature store's "
    "definitions.",
    # a day may name items of a catalogue that landed with it
    tags=_DAYS,
    selection=dg.AssetSelection.assets(
        ["raw", "users"],
        ["raw", "items"],
        ["embeddings", "text"],
        ["embeddings", "training_catalogue"],
        ["embeddings", "image_encoder"],
        ["embeddings", "image"],
        ["embeddings", "pca"],
        ["embeddings", "items"],
        ["feature_store", "definitions"],
    ),
)

daily_ingest = dg.define_asset_job(
    "daily_ingest",
    description="Imports one day: raw interactions, features and the masked train set.",
    partitions_def=partitions.daily(),
    # features of a day read the days before it
    tags=_DAYS,
    selection=dg.AssetSelection.assets(
        ["raw", "interactions"], ["features", "interactions"], ["features", "masked_train"]
    ),
)

daily_features = dg.define_asset_job(
    "daily_features",
    description="Computes features and the masked train set of days again whose earlier days were "
    "corrected.",
    partitions_def=partitions.daily(),
    tags=_DAYS,
    selection=dg.AssetSelection.assets(["features", "interactions"], ["features", "masked_train"]),
)

feature_store_refresh = dg.define_asset_job(
    "feature_store_refresh",
    description="Writes features and popularity as of the end of a day to the online store.",
    partitions_def=partitions.daily(),
    # the popularity of an older day must not replace that of a newer one
    tags=_ONLINE,
    selection=dg.AssetSelection.assets(
        ["feature_store", "online"], ["feature_store", "popularity"]
    ),
)

monitor = dg.define_asset_job(
    "monitor",
    description="Measures the served answers of a day against their clicks, its inputs against "
    "those of the training, and what serving read against what training computes.",
    partitions_def=partitions.daily(),
    # the verdict of a day reads the measures of the days before it
    tags=_MONITOR,
    selection=dg.AssetSelection.assets(
        ["monitor", "served"], ["monitor", "quality"], ["monitor", "inputs"], ["monitor", "skew"]
    ),
)

full_training = dg.define_asset_job(
    "full_training",
    description="Builds the release of a simple rung as of a day; trains and evaluates both models "
    "and builds their release, where the window has enough clicks.",
    partitions_def=partitions.as_of(),
    selection=dg.AssetSelection.assets(
        ["features", "workflows"],
        ["features", "datasets"],
        ["embeddings", "aligned"],
        ["retrieval", "two_tower"],
        ["retrieval", "item_vectors"],
        ["retrieval", "faiss_index"],
        ["features", "popularity"],
        ["ranking", "dlrm"],
        ["exports", "onnx"],
        ["features", "seen_rule"],
        ["evaluation", "queries"],
        *_SOURCES,
        ["evaluation", "blend"],
        ["evaluation", "offline"],
        ["evaluation", "oracle"],
        ["ladder", "simple_rung"],
        ["ladder", "fusion"],
        ["ladder", "simple_models"],
        ["ladder", "release"],
        ["serving", "release"],
    ),
)

evaluation = dg.define_asset_job(
    "evaluation",
    description="Compares the served lists with baselines and the simulator's truth, as of a day, "
    "and writes the report.",
    partitions_def=partitions.as_of(),
    selection=dg.AssetSelection.assets(
        ["features", "seen_rule"],
        ["evaluation", "queries"],
        ["evaluation", "oracle"],
        ["evaluation", "baselines"],
        ["evaluation", "offline"],
        ["evaluation", "report"],
    ),
)

evaluation_ablations = dg.define_asset_job(
    "evaluation_ablations",
    description="Trains the models again without one part each. Run evaluation_report afterwards "
    "to see the effect of each part.",
    partitions_def=partitions.as_of(),
    selection=dg.AssetSelection.assets(["evaluation", "ablations"]),
)

backtest = dg.define_asset_job(
    "backtest",
    description="Trains and evaluates a generation as of a day, without a release. A backfill over "
    "several days shows quality over time.",
    partitions_def=partitions.as_of(),
    selection=dg.AssetSelection.assets(
        ["features", "workflows"],
        ["features", "datasets"],
        ["embeddings", "aligned"],
        ["features", "popularity"],
        ["retrieval", "two_tower"],
        ["retrieval", "item_vectors"],
        ["ranking", "dlrm"],
        ["exports", "onnx"],
        ["features", "seen_rule"],
        ["evaluation", "queries"],
        *_SOURCES,
        ["evaluation", "blend"],
        ["evaluation", "offline"],
        ["evaluation", "backtest"],
    ),
)

evaluation_report = dg.define_asset_job(
    "evaluation_report",
    description="Writes the evaluation report again from existing measurements.",
    partitions_def=partitions.as_of(),
    selection=dg.AssetSelection.assets(["evaluation", "report"]),
)

promote = dg.define_asset_job(
    "promote",
    description="Promotes a release to all Triton servers; by default the newest release whose "
    "gate passed.",
    selection=dg.AssetSelection.assets(["serving", "champion"]),
)

fine_tune = dg.define_asset_job(
    "fine_tune",
    description="Fine-tunes the champion on a new day, and judges the result by the gates. "
    + (
        "The release that passed waits: materialise serving/champion (RECSYS_PROMOTION=manual)."
        if get_settings().promotion == "manual"
        else "Promotes the release that passed."
    ),
    partitions_def=partitions.daily(),
    # each day starts from the champion of the day before
    tags=_FINE_TUNE,
    selection=dg.AssetSelection.assets(
        ["fine_tune", "rows"],
        ["fine_tune", "query_tower"],
        ["fine_tune", "dlrm"],
        ["fine_tune", "items"],
        ["fine_tune", "sources"],
        ["fine_tune", "blend"],
        ["fine_tune", "release"],
        *([["serving", "champion"]] if get_settings().promotion == "auto" else []),
    ),
)
