"""Define the settings of events: what they are worth, and whether answers are logged as events."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from recsys_assets.event_values import DEFAULT, normalised


class EventSettings(BaseSettings):
    """Holds what events are worth, and which answers become impressions."""

    event_values: Annotated[str, AfterValidator(normalised)] = Field(
        DEFAULT,
        description="What events are worth in training and evaluation, such as "
        "View=1,AddToCart=4,Purchase=10. A value is a number of at least 0, price (over the median "
        "price of the catalogue), or number*price. Events that are not named are worth 0, View 1.",
    )
    served_log: Literal["off", "on"] = Field("off", description="Whether answers are logged.")
    served_log_share: float = Field(
        1.0, gt=0, le=1, description="Share of visitors whose answers are logged, by their hash."
    )
    served_features_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of logged answers whose features and sources are logged too, by the "
        "hash of the request id; monitor/skew compares the features with those of training. Needs "
        "the fused model.",
    )
    served_impressions: Literal["own", "both", "none"] = Field(
        "own",
        description="Which logged answers become impressions. own: those of days without an "
        "impression of the shop's own; both: all, and an item that both have counts once; none.",
    )
