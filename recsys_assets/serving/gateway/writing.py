"""The routes that change something: events, reset and availability."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import redis.asyncio
from fastapi import APIRouter, Request, Response

from recsys_assets.lib.feature_store.valkey import STORE_ERRORS
from recsys_assets.serving.events.events import STREAM, STREAM_LENGTH, new_event_id, reset_fields
from recsys_assets.serving.gateway.body_route import BodyRoute
from recsys_assets.serving.gateway.errors import Refused, documented
from recsys_assets.serving.gateway.models import (
    AvailabilityRequest,
    AvailabilityResponse,
    ChangedResponse,
    EventBatch,
    EventForms,
    EventsResponse,
    ResetRequest,
    ResetResponse,
    Unshown,
)
from recsys_assets.serving.gateway.parts import Parts
from recsys_assets.serving.gateway.reading import BEARER
from recsys_assets.serving.stores.availability import availability_commands

logger = logging.getLogger(__name__)


async def write(
    client: redis.asyncio.Redis, queue: Callable[[Any], None], what: str, remedy: str
) -> None:
    """Run queued commands as one transaction; raises Refused (503) where the store does not take
    them.
    """
    try:
        async with client.pipeline(transaction=True) as pipeline:
            queue(pipeline)
            await pipeline.execute()
    except STORE_ERRORS as error:
        logger.warning("%s not stored: %s", what, error)
        raise Refused(503, None, f"{what} cannot be stored at the moment: {remedy}") from error


def writing_routes(parts: Parts) -> list[APIRouter]:
    bodies, router = (
        APIRouter(dependencies=[BEARER], route_class=BodyRoute),
        APIRouter(dependencies=[BEARER]),
    )

    @bodies.post(
        "/events",
        status_code=202,
        response_model=EventsResponse,
        tags=["visitors"],
        responses=documented(401, 403, 413, 415, 422, 503),
        summary="Report what visitors did",
    )
    async def events(body: EventForms, request: Request) -> Response:
        """One event, or ``{"events": [...]}`` with at most 500, taken all or none; in force within
        a second.
        """
        catalogue = parts.display.current().items
        if not catalogue:
            raise Refused(
                503,
                None,
                "no release was promoted yet, so no item is known: promote one, then try again",
            )
        given = body.events if isinstance(body, EventBatch) else [body]
        for number, event in enumerate(given):
            if event.item_id not in catalogue:
                field = f"events.{number}.item_id" if isinstance(body, EventBatch) else "item_id"
                raise Refused(422, field, f"{event.item_id!r} is not in the catalogue")
        accepted = [event.event() for event in given]

        def queue(pipeline: Any) -> None:
            for event in accepted:
                pipeline.xadd(STREAM, event.fields(), maxlen=STREAM_LENGTH, approximate=True)

        await write(
            parts.visitors,
            queue,
            "events",
            "send them again with the same event_id, they count once",
        )
        answer = EventsResponse(
            accepted=len(accepted), event_ids=[event.event_id for event in accepted]
        )
        return Response(answer.model_dump_json(), status_code=202, media_type="application/json")

    @bodies.post(
        "/reset",
        status_code=202,
        response_model=ResetResponse,
        tags=["visitors"],
        responses=documented(401, 403, 413, 415, 422, 503),
        summary="Start a visitor anew",
    )
    async def reset(body: ResetRequest, request: Request) -> Response:
        """What the visitor has seen and clicked is forgotten by what serves, in the order of the
        events: those sent before are gone, those sent after count. The landing zone keeps them for
        training.
        """
        event_id = body.event_id or new_event_id()
        fields = reset_fields(body.user_id, event_id)
        await write(
            parts.visitors,
            lambda pipeline: pipeline.xadd(STREAM, fields, maxlen=STREAM_LENGTH, approximate=True),
            "a reset",
            "send it again with the same event_id",
        )
        return Response(
            ResetResponse(event_id=event_id).model_dump_json(),
            status_code=202,
            media_type="application/json",
        )

    @bodies.post(
        "/availability",
        response_model=ChangedResponse,
        tags=["shop"],
        responses=documented(401, 403, 413, 415, 422, 503),
        summary="Say what is out of stock or hidden",
    )
    async def change_availability(body: AvailabilityRequest, request: Request) -> Response:
        """At most 1,000 changes, taken all or none; of several of one item the last counts. In
        force within a second everywhere.
        """
        changes = {change.item_id: change.status for change in body.changes}
        await write(
            parts.catalogue,
            lambda pipeline: availability_commands(pipeline, changes),
            "availability",
            "send it again",
        )
        await parts.availability.poll()  # this gateway at once
        catalogue = parts.display.current().items
        answer = ChangedResponse(
            changed=len(changes),
            unknown=[item_id for item_id in changes if item_id not in catalogue],
        )
        return Response(answer.model_dump_json(), media_type="application/json")

    @router.get(
        "/availability",
        tags=["shop"],
        responses=documented(401, 403, 503),
        summary="All that is out of stock or hidden",
    )
    async def availability() -> AvailabilityResponse:
        """As this gateway knows it; where the store is away that is what it said last,
        ``age_seconds`` ago.
        """
        await parts.availability.poll()
        if not parts.availability.known:
            raise Refused(503, None, "availability is not known: the store has not answered yet")
        return AvailabilityResponse(
            items=[
                Unshown(item_id=item_id, status=status)
                for item_id, status in parts.availability.statuses.items()
            ],
            age_seconds=parts.availability.age_seconds,
        )

    return [bodies, router]
