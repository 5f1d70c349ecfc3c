"""Define requests and responses of the gateway.

Unknown fields, NaN and wrong types are refused, and the error names the field.
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
from recsys_assets.lib.release.rung import RungName
from recsys_assets.serving.events.events import (
    Arm,
    Event,
    EventId,
    Identifier,
    RequestId,
    new_event_id,
)

#: Accepted moments: 1990-01-01, from which on logs are ingested, to 2100-01-01.
EARLIEST, LATEST = 631_152_000, 4_102_444_800
#: Accepted events: at most this old, and at most this far ahead of the server's clock (seconds).
EVENT_AGE, EVENT_SKEW = 30 * 86_400, 300
MAX_TOP_K, MAX_SIMILAR, MAX_EVENTS, MAX_REQUESTS, MAX_CHANGES = 100, 30, 500, 64, 1_000
MAX_SEED = 2**63 - 1


def _whole(value: Any) -> int:
    """Accept whole numbers alone, and no booleans."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


def _unix_seconds(value: Any) -> int | None:
    """Accept Unix seconds from EARLIEST to LATEST - 1, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not EARLIEST <= value < LATEST:
        raise ValueError(f"must be unix seconds (a whole number) from {EARLIEST} to {LATEST - 1}")
    return value


def _event_seconds(value: Any) -> int | None:
    """Accept Unix seconds that are near to the server's clock, or None."""
    moment = _unix_seconds(value)
    if moment is not None and not -EVENT_AGE <= moment - time.time() <= EVENT_SKEW:
        raise ValueError(
            f"must be at most {EVENT_AGE // 86_400} days ago and at most {EVENT_SKEW} s ahead of "
            "the server's clock"
        )
    return moment


def _visitor(value: str) -> str:
    """Refuse the id that means an unknown visitor."""
    if value == MISSING:
        raise ValueError(f"{MISSING!r} means an unknown visitor, who has no events")
    return value


Visitor = Annotated[Identifier, AfterValidator(_visitor)]


def example(**fields: Any) -> ConfigDict:
    """Return a model configuration with one example for OpenAPI."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [fields]})


class Strict(BaseModel):
    """A request, which may hold no unknown field."""

    model_config = ConfigDict(extra="forbid")


# --- requests


class RecommendRequest(Strict):
    """One visitor in one context."""

    model_config = example(user_id="1", device_type="mobile", top_k=10)

    user_id: Identifier = Field(description="The visitor; an unknown id is accepted.")
    device_type: Device | None = Field(None, description="Absent: unknown.")
    timestamp: Annotated[int | None, BeforeValidator(_unix_seconds)] = Field(
        None, description="Unix seconds. Absent: now."
    )
    top_k: Annotated[int, BeforeValidator(_whole)] = Field(
        10, ge=1, le=MAX_TOP_K, description="Number of items wanted."
    )
    seed: Annotated[
        int | None, BeforeValidator(lambda value: None if value is None else _whole(value))
    ] = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="Seed of weighted sampling, for a release that uses it: the same seed gives "
        "the same list.",
    )
    arm: Arm | None = Field(
        None,
        description="Arm of the shop's own experiment. It is logged with the answer, and changes "
        "nothing in it.",
    )


class BatchRequest(Strict):
    """Several visitors, each in a context."""

    model_config = example(requests=[{"user_id": "1"}, {"user_id": "2", "top_k": 5}])

    requests: Annotated[list[RecommendRequest], FailFast()] = Field(
        min_length=1, max_length=MAX_REQUESTS, description="One request per visitor."
    )


class EventRequest(Strict):
    """One thing that a visitor did."""

    model_config = example(user_id="1", item_id="a-product", event_type="View")

    user_id: Visitor = Field(description="The visitor.")
    item_id: Identifier = Field(description="An item of the catalogue.")
    event_type: EventType = Field(
        VIEW,
        description="What the visitor did. Dismiss: the visitor is not interested, so the item is "
        "not shown again.",
    )
    timestamp: Annotated[int | None, BeforeValidator(_event_seconds)] = Field(
        None, description=f"Unix seconds, at most {EVENT_AGE // 86_400} days ago. Absent: now."
    )
    device_type: Device | None = Field(None, description="Absent: unknown.")
    event_id: EventId | None = Field(
        None, description="An event that is sent again with the same id counts once."
    )
    request_id: RequestId | None = Field(
        None,
        description="The `request_id` of the answer that showed the item. Absent: the visitor's "
        "latest answer with it.",
    )

    def event(self) -> Event:
        """Return the complete event."""
        return Event(
            event_id=self.event_id or new_event_id(),
            user_id=self.user_id,
            item_id=self.item_id,
            timestamp=int(time.time()) if self.timestamp is None else self.timestamp,
            device_type=self.device_type or MISSING,
            event_type=self.event_type,
            request_id=self.request_id,
        )


class EventBatch(Strict):
    """Several events."""

    events: Annotated[list[EventRequest], FailFast()] = Field(
        min_length=1, max_length=MAX_EVENTS, description="Accepted all or none."
    )


def _form(value: Any) -> str:
    """Return the tag of the form that a body has."""
    return (
        "batch"
        if isinstance(value, EventBatch) or (isinstance(value, dict) and "events" in value)
        else "single"
    )


#: One event, or {"events": [...]}. Error messages leave out the tags.
EventForms = Annotated[
    Annotated[EventRequest, Tag("single")] | Annotated[EventBatch, Tag("batch")],
    Discriminator(_form),
]
FORM_TAGS = ("single", "batch")


class ResetRequest(Strict):
    """A visitor to forget."""

    model_config = example(user_id="1")

    user_id: Visitor = Field(description="The visitor to forget.")
    event_id: EventId | None = Field(
        None, description="A reset that is sent again with the same id counts once."
    )


class AvailabilityChange(Strict):
    """The new availability of one item."""

    item_id: Identifier = Field(description="An id outside the catalogue is stored too.")
    status: Literal["available", "out_of_stock", "hidden"] = Field(description="The new state.")


class AvailabilityRequest(Strict):
    """Several changes of availability."""

    model_config = example(changes=[{"item_id": "a-product", "status": "out_of_stock"}])

    changes: Annotated[list[AvailabilityChange], FailFast()] = Field(
        min_length=1,
        max_length=MAX_CHANGES,
        description="Accepted all or none. For several changes of one item, the last counts.",
    )


# --- responses

_REQUEST_ID = "The header x-request-id of this answer."


class Card(BaseModel):
    """Display data of an item; all are null if the catalogue lacks the item."""

    item_id: str
    title: str | None = Field(description="Its name; its id if the shop gave no name.")
    category_l1: str | None = Field(description="'unknown' if the shop gave none.")
    category_l2: str | None = Field(description="'unknown' if the shop gave none.")
    price: float | None = Field(
        description="In the shop's currency; null if the shop gave no price."
    )
    image: str = Field(description="Path of its image at this gateway.")


class Item(Card):
    """An item with its score."""

    score: float = Field(
        description="The ranking's score; for popular items, clicks over the most clicked item's."
    )


class ReleaseInfo(BaseModel):
    """The versions of the models that made an answer."""

    query: int = Field(description="Version of the query tower.")
    ranker: int = Field(description="Version of the ranker, which is the release's number.")
    rung: RungName = Field(
        description="What the models are: popularity, item_to_item, fusion (of all sources), or "
        "full (two-tower and DLRM)."
    )
    hides: str | None = Field(
        description="What hides an item from a visitor: event types and days; nothing: the "
        "visitor's own items are weighed like all others; null: promoted by an older version."
    )
    learnt_to: str | None = Field(
        description="Last day that the release has learnt, ISO; null: an older version built it."
    )


class Answer(BaseModel):
    """One visitor's items, best first."""

    user_id: str
    release: ReleaseInfo | None = Field(
        description="Versions of the models; null if popular items replace the ranking."
    )
    degraded: bool = Field(description="Whether a part failed while this answer was made.")
    reasons: list[str] = Field(description="The parts that failed, such as ranking_unavailable.")
    items: list[Item] = Field(description="Best first.")


class RecommendResponse(Answer):
    """One visitor's items, best first."""

    request_id: str = Field(description=_REQUEST_ID)


class BatchResponse(BaseModel):
    """The answers of several visitors."""

    answers: list[Answer] = Field(description="In the order of the requests.")
    request_id: str = Field(description=_REQUEST_ID)


class SimilarResponse(BaseModel):
    """The items similar to one item."""

    item_id: str = Field(description="The item of the request.")
    items: list[Card] = Field(description="Most similar first.")
    request_id: str = Field(description=_REQUEST_ID)


class PopularResponse(BaseModel):
    """The most clicked items."""

    category: str | None = Field(description="The category of the request; null: all items.")
    degraded: bool = Field(description="Whether a part failed while this answer was made.")
    reasons: list[str] = Field(description="The parts that failed, such as popularity_unavailable.")
    items: list[Item] = Field(
        description="Most clicked first; the score is the item's clicks over the first item's."
    )
    request_id: str = Field(description=_REQUEST_ID)


class EventsResponse(BaseModel):
    """The events that were accepted."""

    accepted: int = Field(description="Number of events accepted.")
    event_ids: list[str] = Field(description="In the order of the events.")


class ResetResponse(BaseModel):
    """The reset that was accepted."""

    event_id: str = Field(description="The given id, or a new one.")


class Unshown(BaseModel):
    """An item that must not be shown."""

    item_id: str
    status: str = Field(description="out_of_stock or hidden.")


class AvailabilityResponse(BaseModel):
    """The items that must not be shown."""

    items: list[Unshown] = Field(description="All items that are out of stock or hidden.")
    age_seconds: float | None = Field(description="Seconds since they were read from the store.")


class ChangedResponse(BaseModel):
    """The changes of availability that were made."""

    changed: int = Field(description="Number of items changed.")
    unknown: list[str] = Field(
        description="Ids that the present catalogue does not have; their state is stored too."
    )


class ReadyResponse(BaseModel):
    """The state of the gateway and of the services that it needs."""

    ready: bool = Field(
        description="Whether Triton serves, a release was promoted, and the gateway is not ending."
    )
    triton: bool = Field(description="Whether Triton serves.")
    release: int | None = Field(description="Number of the promoted release; null: none.")
    rung: RungName | None = Field(description="Rung of the promoted release; null: none.")
    learnt_to: str | None = Field(
        description="Last day that the release has learnt, ISO; null: none, or not recorded."
    )
    valkey: bool = Field(
        description="Whether Valkey answers; if not, answers are degraded, but not absent."
    )
