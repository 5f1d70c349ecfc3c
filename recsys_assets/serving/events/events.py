"""Define events and resets, and the Valkey stream that carries them.

The gateway writes the stream, and the consumer reads it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import redis
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from redis.typing import EncodableT, FieldT

from recsys_assets.columns import INTEREST_EVENTS, MISSING, VIEW, Device, EventType, Missing

STREAM, GROUP, REJECTED = "events", "landing", "events:rejected"
RESET: Literal["reset"] = "reset"
#: Approximate number of entries that the stream keeps. The consumer lands entries within seconds,
#: so almost all of them are history.
STREAM_LENGTH = 1_000_000
ID_LENGTH = 128


def identifier(value: Any) -> str:
    """Return the id of a visitor or product as text.

    Raises:
        ValueError: it does not have the accepted form, which the message gives.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"must be a string or an integer of 1 to {ID_LENGTH} characters")
    # Python limits the length of an integer that it converts to text
    text = value if isinstance(value, str) else str(value) if abs(value) < 10**ID_LENGTH else ""
    if not 1 <= len(text) <= ID_LENGTH or not text.strip():
        raise ValueError(
            f"must be a string or an integer of 1 to {ID_LENGTH} characters, and not blank"
        )
    if not text.isprintable():
        raise ValueError("must not hold control characters or broken Unicode")
    return text


Identifier = Annotated[str, BeforeValidator(identifier)]
#: Safe in a key and in a views member.
EventId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
#: The header x-request-id of an answer.
RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]

#: An arm of the shop's own experiment.
Arm = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


def new_event_id() -> str:
    """Return a new random event id."""
    return str(uuid.uuid4())


class Event(BaseModel):
    """A complete event: the row that lands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: EventId = Field(default_factory=new_event_id)
    user_id: Identifier
    item_id: Identifier
    timestamp: int = Field(
        default_factory=lambda: int(time.time()), description="Unix seconds, UTC."
    )
    device_type: Literal[Device, Missing] = MISSING
    event_type: EventType = VIEW
    request_id: RequestId | None = Field(None, description="The answer that showed the item.")

    @property
    def click(self) -> int:
        """Return 1 for an event of interest, as in the simulator's log.

        A View is a click, and every later event follows from one. An impression and a dismissal
        are none.
        """
        return int(self.event_type in INTEREST_EVENTS)

    def fields(self) -> dict[str, str]:
        """Return the event as a stream entry."""
        return {name: str(value) for name, value in self.model_dump(exclude_none=True).items()}


class Reset(BaseModel):
    """A request to forget what a visitor did before it.

    It is in the stream, so that it keeps its place among the events.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Literal["reset"] = RESET
    event_id: EventId = Field(default_factory=new_event_id)
    user_id: Identifier


def reset_fields(user_id: str, event_id: str | None = None) -> dict[str, str]:
    """Return a reset as a stream entry; sent twice with one event id, it counts once.

    Raises:
        pydantic.ValidationError: an id is invalid.
    """
    return Reset(user_id=user_id, event_id=event_id or new_event_id()).model_dump()


def parse_entry(fields: Mapping[bytes, bytes]) -> Event | Reset:
    """Return the event or reset of a stream entry.

    Raises:
        pydantic.ValidationError: a field is missing or invalid.
        UnicodeDecodeError: a value is not UTF-8.
    """
    values = {name.decode(): value.decode() for name, value in fields.items()}
    return (Reset if "command" in values else Event).model_validate(values)


def enqueue(client: redis.Redis, event: Event) -> str:
    """Append one event to the stream and return its stream id."""
    return enqueue_all(client, [event])[0]


def enqueue_all(client: redis.Redis, events: Sequence[Event]) -> list[str]:
    """Append events in one transaction, all or none, and return their stream ids.

    Raises:
        redis.RedisError: the store did not answer or refused.
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
