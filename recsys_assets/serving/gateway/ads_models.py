"""Define requests and responses of the gateway's routes for ads.

Unknown fields, missing fields and wrong types are refused, and the error names the field.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    FailFast,
    Field,
    PlainValidator,
    StrictBool,
    Tag,
    WithJsonSchema,
)

from recsys_assets.ads_columns import CATEGORIES, INTEGERS, LARGEST, LONGEST
from recsys_assets.lib.landing.ads_predictions import prediction_id
from recsys_assets.serving.events.ads_log import PredictionId
from recsys_assets.serving.gateway.models import EARLIEST, EVENT_SKEW, LATEST, Strict, example

MAX_ADS, MAX_LABELS = 500, 500


def _count(value: Any) -> int | None:
    """Accept whole numbers up to LARGEST, and None; 3.0 is 3, as in an export of floats."""
    if value is None or (type(value) is int and -LARGEST <= value <= LARGEST):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST:
        return int(value)
    raise ValueError(
        f"must be a whole number from -{LARGEST} to {LARGEST}, or null where it is empty"
    )


def _label_seconds(value: Any) -> float | None:
    """Accept Unix seconds that are not ahead of the server's clock, or None."""
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not EARLIEST <= value < LATEST
    ):
        raise ValueError(f"must be unix seconds from {EARLIEST} to {LATEST - 1}")
    if value > time.time() + EVENT_SKEW:
        raise ValueError(f"must be at most {EVENT_SKEW} s ahead of the server's clock")
    return float(value)


Count = Annotated[
    int | None,
    PlainValidator(_count),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": -LARGEST, "maximum": LARGEST},
                {"type": "null"},
            ],
            "description": "A count; null: empty.",
        }
    ),
]
Category = Annotated[
    Annotated[str, Field(min_length=1, max_length=LONGEST)] | None,
    Field(description="A value of a category, also one that was never seen; null: empty."),
]


# --- requests


class AdRequest(Strict):
    """One shown ad: all 13 counts and 26 categories of Criteo's public logs."""

    # no null: FastAPI leaves it out of the document, and all fields must be present
    model_config = example(
        **{name: number for number, name in enumerate(INTEGERS)},
        **{name: f"{number:08x}" for number, name in enumerate(CATEGORIES)},
    )

    I1: Count
    I2: Count
    I3: Count
    I4: Count
    I5: Count
    I6: Count
    I7: Count
    I8: Count
    I9: Count
    I10: Count
    I11: Count
    I12: Count
    I13: Count
    C1: Category
    C2: Category
    C3: Category
    C4: Category
    C5: Category
    C6: Category
    C7: Category
    C8: Category
    C9: Category
    C10: Category
    C11: Category
    C12: Category
    C13: Category
    C14: Category
    C15: Category
    C16: Category
    C17: Category
    C18: Category
    C19: Category
    C20: Category
    C21: Category
    C22: Category
    C23: Category
    C24: Category
    C25: Category
    C26: Category


class AdBatch(Strict):
    """Several shown ads."""

    ads: Annotated[list[AdRequest], FailFast()] = Field(
        min_length=1, max_length=MAX_ADS, description="Predicted as if each were alone."
    )


class AdLabelRequest(Strict):
    """What became of an ad that was shown."""

    model_config = example(
        prediction_id=prediction_id(1_790_000_000_123, "5f2d0c1e", 31), clicked=True
    )

    prediction_id: PredictionId = Field(description="The id of the answer's prediction.")
    clicked: StrictBool = Field(description="Whether the ad was clicked.")
    at: Annotated[float | None, BeforeValidator(_label_seconds)] = Field(
        None,
        description="Unix seconds of the click, or at which it was clear that there is none. "
        "Absent: when the gateway receives it.",
    )


class AdLabelBatch(Strict):
    """Several labels."""

    labels: Annotated[list[AdLabelRequest], FailFast()] = Field(
        min_length=1, max_length=MAX_LABELS, description="Accepted all or none."
    )


def _ad_form(value: Any) -> str:
    """Return the tag of the form that a body of ads has."""
    batch = isinstance(value, AdBatch) or (isinstance(value, dict) and "ads" in value)
    return "batch" if batch else "single"


def _label_form(value: Any) -> str:
    """Return the tag of the form that a body of labels has."""
    batch = isinstance(value, AdLabelBatch) or (isinstance(value, dict) and "labels" in value)
    return "batch" if batch else "single"


#: One ad, or {"ads": [...]}. Error messages leave out the tags, as those of ``models`` do.
AdForms = Annotated[
    Annotated[AdRequest, Tag("single")] | Annotated[AdBatch, Tag("batch")], Discriminator(_ad_form)
]
#: One label, or {"labels": [...]}.
AdLabelForms = Annotated[
    Annotated[AdLabelRequest, Tag("single")] | Annotated[AdLabelBatch, Tag("batch")],
    Discriminator(_label_form),
]


# --- responses


class AdCtr(BaseModel):
    """The prediction for one ad."""

    prediction_id: str = Field(description="Names the prediction in POST /ads/labels.")
    ctr: float = Field(description="Probability that the ad is clicked.")


class AdsResponse(BaseModel):
    """The predictions for one or several ads."""

    predictions: list[AdCtr] = Field(description="In the order of the ads.")
    release: int = Field(description="Number of the release that predicted.")
    request_id: str = Field(description="The header x-request-id of this answer.")


class AdLabelsResponse(BaseModel):
    """The labels that were accepted."""

    accepted: int = Field(description="Number of labels accepted.")
