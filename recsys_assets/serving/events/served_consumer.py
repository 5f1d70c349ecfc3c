"""Land the log of answers: stream → ``served/<day>/served-<stream id>.parquet``."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recsys_assets.columns import ARRIVED
from recsys_assets.lib.landing.arrivals import stream_seconds
from recsys_assets.lib.landing.served_answers import FEATURES, SCHEMA
from recsys_assets.lib.landing.zone import SERVED_FOLDER
from recsys_assets.serving.events.log_consumer import LogConsumer
from recsys_assets.serving.events.served_log import SERVED, ServedAnswer
from recsys_assets.settings import Settings


class ServedConsumer(LogConsumer[ServedAnswer]):
    """One member of the group that lands answers."""

    stream, folder, prefix = SERVED, SERVED_FOLDER, "served"

    @staticmethod
    def is_on(settings: Settings) -> bool:
        """Return whether answers are logged."""
        return settings.served_log == "on"

    @staticmethod
    def moment(record: ServedAnswer) -> float:
        """Return the moment of the answer."""
        return record.at

    @staticmethod
    def frame(records: Sequence[tuple[str, ServedAnswer]]) -> pl.DataFrame:
        """Return one row per answer."""
        rows = [
            {
                **answer.model_dump(),
                FEATURES: answer.features and answer.features.model_dump_json(),
                ARRIVED: stream_seconds(stream_id),
            }
            for stream_id, answer in records
        ]
        return pl.DataFrame(rows, schema=SCHEMA)
