"""What a visitor did, and the Valkey stream that carries it from the gateway to the consumer."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import redis
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from redis.typing import EncodableT, FieldT

from recsys_assets.columns import IMPRESSION, MISSING, VIEW, Device, EventType, Missing

STREAM, GROUP, REJECTED = "events", "landing", "events:rejected"
RESET: Literal["reset"] = "reset"
#: Entries that the stream keeps, roughly; the consumer lands them within seconds, so the rest is
#: history.
STREAM_LENGTH = 1_000_000
ID_LENGTH = 128


def identifier(value: Any) -> str:
    """A visitor's or product's id as text; raises ValueError saying the accepted form."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"must be a string or an integer of 1 to {ID_LENGTH} characters")
    # an integer this long could not be written as text within the limits of Python
    text = value if isinstance(value, str) else str(value) if abs(value) < 10**ID_LENGTH else ""
    if not 1 <= len(text) <= ID_LENGTH or not text.strip():
        raise ValueError(
            f"must be a string or an integer of 1 to {ID_LENGTH} characters, and not blank"
        )
    if not text.isprintable():
        raise ValueError("must not hold control characters or broken Unicode")
    return text


Identifier = Annotated[str, BeforeValidator(identifier)]
#: Safe in a key and before the "|" of a views member.
EventId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]


def new_event_id() -> str:
    return str(uuid.uuid4())


class Event(BaseModel):
    """One event, complete: the row that lands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: EventId = Field(default_factory=new_event_id)
    user_id: Identifier
    item_id: Identifier
    timestamp: int = Field(
        default_factory=lambda: int(time.time()), description="Unix seconds, UTC."
    )
    device_type: Literal[Device, Missing] = MISSING
    event_type: EventType = VIEW

    @property
    def click(self) -> int:
        """A View and everything behind it follow from a click, as in the simulator's log."""
        return int(self.event_type != IMPRESSION)

    def fields(self) -> dict[str, str]:
        """As a stream entry."""
        return {name: str(value) for name, value in self.model_dump().items()}


class Reset(BaseModel):
    """A visitor's wish that what was done before no longer counts; in the stream, so that it has
    its place among events.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Literal["reset"] = RESET
    event_id: EventId = Field(default_factory=new_event_id)
    user_id: Identifier


def reset_fields(user_id: str, event_id: str | None = None) -> dict[str, str]:
    """A reset as a stream entry; the same event id twice counts once. Raises
    pydantic.ValidationError.
    """
    return Reset(user_id=user_id, event_id=event_id or new_event_id()).model_dump()


def parse_entry(fields: Mapping[bytes, bytes]) -> Event | Reset:
    """What a stream entry says; raises pydantic.ValidationError (UnicodeDecodeError is one of its
    ValueErrors).
    """
    values = {name.decode(): value.decode() for name, value in fields.items()}
    return (Reset if "command" in values else Event).model_validate(values)


def enqueue(client: redis.Redis, event: Event) -> str:
    """Append one event to the stream; returns the stream id."""
    return enqueue_all(client, [event])[0]


def enqueue_all(client: redis.Redis, events: Sequence[Event]) -> list[str]:
    """Append events in one transaction: all or none; returns the stream ids. Raises
    redis.RedisError.
    """
    with client.pipeline(transaction=True) as pipeline:
        for event in events:
            pipeline.xadd(
                STREAM,
                cast("dict[FieldT, EncodableT]", event.fields()),
                maxlen=STREAM_LENGTH,
                approximate=True,
            )
        return [stream_id.decode() for stream_id in pipeline.execute()]
