"""Define the log of predictions for ads, their labels, and the Valkey streams that carry both."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from recsys_assets.ads_columns import CATEGORIES, INTEGERS
from recsys_assets.lib.landing.ads_predictions import ID_PATTERN, predicted_at
from recsys_assets.serving.events.events import RequestId
from recsys_assets.serving.events.log_stream import LogStream


def _known(value: str) -> str:
    predicted_at(value)
    return value


#: The id of a prediction, from which its day follows.
PredictionId = Annotated[
    str, AfterValidator(_known), Field(json_schema_extra={"pattern": ID_PATTERN})
]


class AdPrediction(BaseModel):
    """One prediction for a shown ad, as it was given.

    Attributes:
        prediction_id: unique.
        request_id: of the call; the predictions of a batch share it.
        at: unix seconds of the answer.
        release: number of the release.
        score: click probability.
        counts: I1 to I13; None: empty.
        categories: C1 to C26; None: empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prediction_id: PredictionId
    request_id: RequestId
    at: float = Field(ge=0, allow_inf_nan=False)
    release: int
    score: float = Field(ge=0, le=1)
    counts: list[int | None] = Field(min_length=len(INTEGERS), max_length=len(INTEGERS))
    categories: list[str | None] = Field(min_length=len(CATEGORIES), max_length=len(CATEGORIES))


class AdLabel(BaseModel):
    """What became of a prediction's ad.

    Attributes:
        prediction_id: of the prediction.
        label: 1: clicked.
        at: unix seconds of the click, or at which the label was made; None: when the stream took
            it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prediction_id: PredictionId
    label: Literal[0, 1]
    at: float | None = Field(None, ge=0, allow_inf_nan=False)


#: 500 predictions whose categories have the largest length, as escaped JSON.
_MOST_BYTES = 64 << 20
PREDICTIONS = LogStream(
    name="ads:predictions",
    group="ads-landing",
    field=b"predictions",
    form=TypeAdapter(list[AdPrediction]),
    length=4_000,  # an hour of one busy gateway
    most_bytes=_MOST_BYTES,
)
LABELS = LogStream(
    name="ads:labels",
    group="ads-landing",
    field=b"labels",
    form=TypeAdapter(list[AdLabel]),
    # an entry per call; a full stream refuses labels, and the caller keeps them
    length=100_000,
    most_bytes=1 << 20,
)
