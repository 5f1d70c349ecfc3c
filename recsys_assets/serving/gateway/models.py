"""Requests and responses of the gateway; unknown fields, NaN and wrong types are refused by
name.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
)

from recsys_assets.columns import MISSING, VIEW, Device, EventType
from recsys_assets.serving.events.events import Event, EventId, Identifier, new_event_id

#: A moment that a shop can mean: 2000-01-01 to 2100-01-01.
EARLIEST, LATEST = 946_684_800, 4_102_444_800
#: Events are news: at most this old, and ahead of our clock by at most this skew (seconds).
EVENT_AGE, EVENT_SKEW = 30 * 86_400, 300
MAX_TOP_K, MAX_SIMILAR, MAX_EVENTS, MAX_REQUESTS, MAX_CHANGES = 100, 30, 500, 64, 1_000
MAX_SEED = 2**63 - 1


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


def _unix_seconds(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not EARLIEST <= value < LATEST:
        raise ValueError(f"must be unix seconds (a whole number) from {EARLIEST} to {LATEST - 1}")
    return value


def _event_seconds(value: Any) -> int | None:
    moment = _unix_seconds(value)
    if moment is not None and not -EVENT_AGE <= moment - time.time() <= EVENT_SKEW:
        raise ValueError(
            f"must be at most {EVENT_AGE // 86_400} days ago and at most {EVENT_SKEW} s ahead of "
            "the "
            f"server's clock"
        )
    return moment


def _visitor(value: str) -> str:
    if value == MISSING:
        raise ValueError(f"{MISSING!r} means an unknown visitor, who has no events")
    return value


Visitor = Annotated[Identifier, AfterValidator(_visitor)]


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [fields]})


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


# --- requests


class RecommendRequest(Strict):
    model_config = _example(user_id="1", device_type="mobile", top_k=10)

    user_id: Identifier
    device_type: Device | None = None
    timestamp: Annotated[int | None, BeforeValidator(_unix_seconds)] = Field(
        None, description="Unix seconds. Absent: now."
    )
    top_k: Annotated[int, BeforeValidator(_whole)] = Field(
        10, ge=1, le=MAX_TOP_K, description="Items wanted."
    )
    seed: Annotated[
        int | None, BeforeValidator(lambda value: None if value is None else _whole(value))
    ] = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="Of weighted sampling, where the release orders so: the same seed, the same "
        "list.",
    )


class BatchRequest(Strict):
    model_config = _example(requests=[{"user_id": "1"}, {"user_id": "2", "top_k": 5}])

    requests: Annotated[list[RecommendRequest], FailFast()] = Field(
        min_length=1, max_length=MAX_REQUESTS
    )


class EventRequest(Strict):
    model_config = _example(user_id="1", item_id="a-product", event_type="View")

    user_id: Visitor
    item_id: Identifier
    event_type: EventType = VIEW
    timestamp: Annotated[int | None, BeforeValidator(_event_seconds)] = Field(
        None, description="Absent: now."
    )
    device_type: Device | None = None
    event_id: EventId | None = Field(
        None, description="Repeat a delivery with the same id: it counts once."
    )

    def event(self) -> Event:
        return Event(
            event_id=self.event_id or new_event_id(),
            user_id=self.user_id,
            item_id=self.item_id,
            timestamp=int(time.time()) if self.timestamp is None else self.timestamp,
            device_type=self.device_type or MISSING,
            event_type=self.event_type,
        )


class EventBatch(Strict):
    events: Annotated[list[EventRequest], FailFast()] = Field(min_length=1, max_length=MAX_EVENTS)


def _form(value: Any) -> str:
    return (
        "batch"
        if isinstance(value, EventBatch) or (isinstance(value, dict) and "events" in value)
        else "single"
    )


#: One event, or {"events": [...]}; the tags are left out of error messages.
EventForms = Annotated[
    Annotated[EventRequest, Tag("single")] | Annotated[EventBatch, Tag("batch")],
    Discriminator(_form),
]
FORM_TAGS = ("single", "batch")


class ResetRequest(Strict):
    model_config = _example(user_id="1")

    user_id: Visitor
    event_id: EventId | None = Field(None, description="Repeat a delivery with the same id.")


class AvailabilityChange(Strict):
    item_id: Identifier
    status: Literal["available", "out_of_stock", "hidden"]


class AvailabilityRequest(Strict):
    model_config = _example(changes=[{"item_id": "a-product", "status": "out_of_stock"}])

    changes: Annotated[list[AvailabilityChange], FailFast()] = Field(
        min_length=1, max_length=MAX_CHANGES
    )


# --- responses


class Card(BaseModel):
    """What is shown of an item; what the catalogue does not know is null."""

    item_id: str
    title: str | None
    category_l1: str | None
    category_l2: str | None
    price: float | None
    image: str = Field(description="Path of its picture at this gateway.")


class Item(Card):
    score: float


class ReleaseInfo(BaseModel):
    query: int = Field(description="Version of the query tower.")
    ranker: int = Field(description="Version of the ranker: the release's number.")


class Answer(BaseModel):
    """One visitor's items, best first."""

    user_id: str
    release: ReleaseInfo | None = Field(
        description="Versions that answered; null where popular items stand in."
    )
    degraded: bool
    reasons: list[str] = Field(description="What the answer had to do without.")
    items: list[Item]


class RecommendResponse(Answer):
    request_id: str


class BatchResponse(BaseModel):
    answers: list[Answer] = Field(description="In the order of the requests.")
    request_id: str


class SimilarResponse(BaseModel):
    item_id: str
    items: list[Card] = Field(description="Most similar first.")
    request_id: str


class PopularResponse(BaseModel):
    category: str | None
    degraded: bool
    reasons: list[str]
    items: list[Item] = Field(
        description="Most clicked first; the score is its clicks over those of the first."
    )
    request_id: str


class EventsResponse(BaseModel):
    accepted: int
    event_ids: list[str]


class ResetResponse(BaseModel):
    event_id: str


class Unshown(BaseModel):
    item_id: str
    status: str


class AvailabilityResponse(BaseModel):
    items: list[Unshown] = Field(description="All that is out of stock or hidden.")
    age_seconds: float | None = Field(description="Since the store last said so.")


class ChangedResponse(BaseModel):
    changed: int
    unknown: list[str] = Field(
        description="Ids that the catalogue at hand does not have: noted all the same."
    )


class ReadyResponse(BaseModel):
    ready: bool = Field(description="Triton serves, and a release was promoted.")
    triton: bool
    release: int | None
    valkey: bool = Field(description="Without it answers are degraded, not absent.")
