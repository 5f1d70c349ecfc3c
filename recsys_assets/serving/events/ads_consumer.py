"""Land the predictions for ads, and their labels, by the day of the prediction."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recsys_assets.ads_columns import CATEGORIES, INTEGERS, LABEL
from recsys_assets.columns import ARRIVED, REQUEST_ID
from recsys_assets.lib.landing.ads_predictions import (
    AT,
    LABELS_SCHEMA,
    PREDICTION_ID,
    PREDICTIONS_SCHEMA,
    RELEASE,
    SCORE,
    predicted_at,
    stream_moment,
)
from recsys_assets.lib.landing.zone import ADS_LABELS_FOLDER, ADS_PREDICTIONS_FOLDER
from recsys_assets.serving.events.ads_log import LABELS, PREDICTIONS, AdLabel, AdPrediction
from recsys_assets.serving.events.log_consumer import LogConsumer
from recsys_assets.settings import Settings


class AdPredictionConsumer(LogConsumer[AdPrediction]):
    """One member of the group that lands predictions."""

    stream, folder, prefix = PREDICTIONS, ADS_PREDICTIONS_FOLDER, "predictions"

    @staticmethod
    def is_on(settings: Settings) -> bool:
        """Return whether predictions are logged."""
        return settings.ads_log == "on"

    @staticmethod
    def moment(record: AdPrediction) -> float:
        """Return the moment of the prediction by its id, as for its labels."""
        return predicted_at(record.prediction_id)

    @staticmethod
    def frame(records: Sequence[tuple[str, AdPrediction]]) -> pl.DataFrame:
        """Return one row per prediction."""
        made = [one for _, one in records]
        columns = {
            PREDICTION_ID: [one.prediction_id for one in made],
            REQUEST_ID: [one.request_id for one in made],
            AT: [one.at for one in made],
            RELEASE: [one.release for one in made],
            SCORE: [one.score for one in made],
            **dict(zip(INTEGERS, zip(*(one.counts for one in made), strict=True), strict=True)),
            **dict(
                zip(CATEGORIES, zip(*(one.categories for one in made), strict=True), strict=True)
            ),
        }
        return pl.DataFrame(columns, schema=PREDICTIONS_SCHEMA)


class AdLabelConsumer(LogConsumer[AdLabel]):
    """One member of the group that lands labels."""

    stream, folder, prefix = LABELS, ADS_LABELS_FOLDER, "labels"

    @staticmethod
    def is_on(settings: Settings) -> bool:
        """Return True: predictions wait for labels after their log was switched off."""
        return True

    @staticmethod
    def moment(record: AdLabel) -> float:
        """Return the moment of the prediction."""
        return predicted_at(record.prediction_id)

    @staticmethod
    def frame(records: Sequence[tuple[str, AdLabel]]) -> pl.DataFrame:
        """Return one row per label."""
        rows = [
            {
                PREDICTION_ID: one.prediction_id,
                LABEL: one.label,
                AT: stream_moment(stream_id) if one.at is None else one.at,
                ARRIVED: stream_moment(stream_id),
            }
            for stream_id, one in records
        ]
        return pl.DataFrame(rows, schema=LABELS_SCHEMA)
