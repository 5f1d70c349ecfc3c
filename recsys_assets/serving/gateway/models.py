"""Requests and responses of the gateway; unknown fields, NaN and wrong types are refused by name."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from recsys_assets.columns import DEVICES, EVENT_TYPES, MISSING, VIEW
from recsys_assets.serving.events import Event, EventId, Identifier, new_event_id

#: A moment that a shop can mean: 2000-01-01 to 2100-01-01.
EARLIEST, LATEST = 946_684_800, 4_102_444_800
#: Events are news: at most this old, and ahead of our clock by at most this skew (seconds).
EVENT_AGE, EVENT_SKEW = 30 * 86_400, 300
MAX_TOP_K, MAX_EVENTS = 100, 500


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
        raise ValueError(f"must be at most {EVENT_AGE // 86_400} days ago and at most {EVENT_SKEW} s ahead of the "
                         f"server's clock")
    return moment


def _visitor(value: str) -> str:
    if value == MISSING:
        raise ValueError(f"{MISSING!r} means an unknown visitor, who has no events")
    return value


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RecommendRequest(Strict):
    user_id: Identifier
    device_type: Literal[DEVICES] | None = None
    timestamp: Annotated[int | None, BeforeValidator(_unix_seconds)] = Field(None, description="Absent: now.")
    top_k: Annotated[int, BeforeValidator(_whole)] = Field(10, ge=1, le=MAX_TOP_K)


class EventRequest(Strict):
    user_id: Annotated[Identifier, AfterValidator(_visitor)]
    item_id: Identifier
    event_type: Literal[EVENT_TYPES] = VIEW
    timestamp: Annotated[int | None, BeforeValidator(_event_seconds)] = Field(None, description="Absent: now.")
    device_type: Literal[DEVICES] | None = None
    event_id: EventId | None = Field(None, description="Repeat a delivery with the same id: it counts once.")

    def event(self) -> Event:
        return Event(event_id=self.event_id or new_event_id(), user_id=self.user_id, item_id=self.item_id,
                     timestamp=int(time.time()) if self.timestamp is None else self.timestamp,
                     device_type=self.device_type or MISSING, event_type=self.event_type)


class EventBatch(Strict):
    events: list[EventRequest] = Field(min_length=1, max_length=MAX_EVENTS)


def _form(value: Any) -> str:
    return "batch" if isinstance(value, EventBatch) or (isinstance(value, dict) and "events" in value) else "single"


#: One event, or {"events": [...]}; the tags are left out of error messages.
EventForms = Annotated[
    Annotated[EventRequest, Tag("single")] | Annotated[EventBatch, Tag("batch")], Discriminator(_form)]
FORM_TAGS = ("single", "batch")


class Item(BaseModel):
    """One card; what the catalogue does not know is null."""

    item_id: str
    score: float
    title: str | None
    category_l1: str | None
    category_l2: str | None
    price: float | None
    image: str


class Release(BaseModel):
    query: int
    ranker: int


class RecommendResponse(BaseModel):
    user_id: str
    release: Release | None = Field(description="Versions that answered; null where popular items stand in.")
    degraded: bool
    reasons: list[str]
    items: list[Item]
    request_id: str


class EventsResponse(BaseModel):
    accepted: int
    event_ids: list[str]
