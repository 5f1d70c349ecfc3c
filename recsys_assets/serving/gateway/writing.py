"""Add the routes that change something: events, reset and availability."""

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
    """Run queued commands as one transaction.

    Args:
        client: of the store.
        queue: queues the commands on a pipeline.
        what: is stored, for the message.
        remedy: for the message.

    Raises:
        Refused: the store does not take them (503).
    """
    try:
        async with client.pipeline(transaction=True) as pipeline:
            queue(pipeline)
            await pipeline.execute()
    except STORE_ERRORS as error:
        logger.warning("%s not stored: %s", what, error)
        raise Refused(503, None, f"{what} cannot be stored at the moment: {remedy}") from error


def writing_routes(parts: Parts) -> list[APIRouter]:
    """Return the routes that change something, and GET /availability."""
    bodies, router = (
        APIRouter(dependencies=[BEARER], route_class=BodyRoute),
        APIRouter(dependencies=[BEARER]),
    )
    _add_events(bodies, parts)
    _add_reset(bodies, parts)
    _add_change_availability(bodies, parts)
    _add_availability(router, parts)
    return [bodies, router]


def _add_events(bodies: APIRouter, parts: Parts) -> None:
    """Add POST /events."""

    @bodies.post(
        "/events",
        status_code=202,
        response_model=EventsResponse,
        tags=["visitors"],
        responses=documented(401, 403, 413, 415, 422, 503),
        summary="Report what visitors did",
    )
    async def events(body: EventForms, request: Request) -> Response:
        """Accept one event, or ``{"events": [...]}`` with at most 500, all or none.

        They are in force within a second.
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


def _add_reset(bodies: APIRouter, parts: Parts) -> None:
    """Add POST /reset."""

    @bodies.post(
        "/reset",
        status_code=202,
        response_model=ResetResponse,
        tags=["visitors"],
        responses=documented(401, 403, 413, 415, 422, 503),
        summary="Forget what a visitor did",
    )
    async def reset(body: ResetRequest, request: Request) -> Response:
        """Make serving forget what the visitor has seen and clicked.

        A reset keeps its place among the events: those sent before are forgotten, those sent after
        count. The landing zone keeps all of them for training.
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


def _add_change_availability(bodies: APIRouter, parts: Parts) -> None:
    """Add POST /availability."""

    @bodies.post(
        "/availability",
        response_model=ChangedResponse,
        tags=["shop"],
        responses=documented(401, 403, 413, 415, 422, 503),
        summary="Change what is out of stock or hidden",
    )
    async def change_availability(body: AvailabilityRequest, request: Request) -> Response:
        """Accept at most 1,000 changes, all or none.

        For several changes of one item, the last counts. They are in force everywhere within a
        second.
        """
        changes = {change.item_id: change.status for change in body.changes}
        await write(
            parts.catalogue,
            lambda pipeline: availability_commands(pipeline, changes),
            "availability",
            "send it again",
        )
        await parts.availability.poll()  # at once in this gateway
        catalogue = parts.display.current().items
        answer = ChangedResponse(
            changed=len(changes),
            unknown=[item_id for item_id in changes if item_id not in catalogue],
        )
        return Response(answer.model_dump_json(), media_type="application/json")


def _add_availability(router: APIRouter, parts: Parts) -> None:
    """Add GET /availability."""

    @router.get(
        "/availability",
        tags=["shop"],
        responses=documented(401, 403, 503),
        summary="List what is out of stock or hidden",
    )
    async def availability() -> AvailabilityResponse:
        """Return what is out of stock or hidden, as this gateway last read it.

        If the store does not answer, that was ``age_seconds`` ago.
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
