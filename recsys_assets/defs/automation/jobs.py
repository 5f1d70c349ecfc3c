"""Jobs: the units that a person, a schedule or a sensor starts."""

import dagster as dg

from recsys_assets import partitions
from recsys_assets.orchestration.compute import LANE

catalogue = dg.define_asset_job(
    "catalogue",
    description="Users, items, their embeddings, and the feature store's definitions.",
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
    description="One day: raw interactions → features → masked train set.",
    partitions_def=partitions.daily(),
    selection=dg.AssetSelection.assets(
        ["raw", "interactions"], ["features", "interactions"], ["features", "masked_train"]
    ),
)

feature_store_refresh = dg.define_asset_job(
    "feature_store_refresh",
    description="Features as of a day's end and popularity, into the online store.",
    partitions_def=partitions.daily(),
    selection=dg.AssetSelection.assets(
        ["feature_store", "online"], ["feature_store", "popularity"]
    ),
)

full_training = dg.define_asset_job(
    "full_training",
    description="Workflows, data sets, both models, index, evaluation and a release, as of a day.",
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
        ["evaluation", "queries"],
        ["evaluation", "offline"],
        ["evaluation", "oracle"],
        ["serving", "release"],
    ),
)

evaluation = dg.define_asset_job(
    "evaluation",
    description="Whole lists against baselines and the truth, as of a day, and the report.",
    partitions_def=partitions.as_of(),
    selection=dg.AssetSelection.assets(
        ["evaluation", "queries"],
        ["evaluation", "oracle"],
        ["evaluation", "baselines"],
        ["evaluation", "offline"],
        ["evaluation", "report"],
    ),
)

evaluation_ablations = dg.define_asset_job(
    "evaluation_ablations",
    description="The models trained again, less a part each; evaluation_report then shows what it "
    "is worth.",
    partitions_def=partitions.as_of(),
    selection=dg.AssetSelection.assets(["evaluation", "ablations"]),
)

backtest = dg.define_asset_job(
    "backtest",
    description="Quality by as-of day: a backfill over days trains and judges a generation for "
    "each, without releasing any.",
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
        ["evaluation", "queries"],
        ["evaluation", "offline"],
        ["evaluation", "backtest"],
    ),
)

evaluation_report = dg.define_asset_job(
    "evaluation_report",
    description="The report alone, of what was measured before.",
    partitions_def=partitions.as_of(),
    selection=dg.AssetSelection.assets(["evaluation", "report"]),
)

promote = dg.define_asset_job(
    "promote",
    description="Promote a release (by default the newest whose gate passed) into the running "
    "Triton servers.",
    selection=dg.AssetSelection.assets(["serving", "champion"]),
)

fine_tune = dg.define_asset_job(
    "fine_tune",
    description="The champion, fine-tuned on a new day, gated, and promoted.",
    partitions_def=partitions.daily(),
    tags={
        LANE: "fine_tune"
    },  # one after the other: each day starts from the champion that the day before made
    selection=dg.AssetSelection.assets(
        ["fine_tune", "rows"],
        ["fine_tune", "query_tower"],
        ["fine_tune", "dlrm"],
        ["fine_tune", "release"],
        ["serving", "champion"],
    ),
)
