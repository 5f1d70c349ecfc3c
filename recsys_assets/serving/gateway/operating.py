"""Add the routes for monitoring, for images and for the demo page."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from recsys_assets.lib.feature_store.valkey import STORE_ERRORS
from recsys_assets.serving.gateway.errors import Refused, documented
from recsys_assets.serving.gateway.images import media_type
from recsys_assets.serving.gateway.models import ReadyResponse
from recsys_assets.serving.gateway.parts import Parts
from recsys_assets.serving.published.display import Display, DisplayMissing

logger = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
IMAGE_CACHE = "public, max-age=300"


def operating_routes(parts: Parts) -> list[APIRouter]:
    """Return the routes for monitoring, for images and for the demo page."""
    router = APIRouter()
    _add_monitoring(router, parts)
    _add_page(router, parts)
    return [router]


def _add_monitoring(router: APIRouter, parts: Parts) -> None:
    """Add /healthz, /readyz and /metrics."""

    @router.get(
        "/healthz", tags=["operation"], responses=documented(), summary="Whether the gateway is up"
    )
    async def healthz() -> dict[str, str]:
        """Answer while the gateway runs; /readyz checks the services that it needs."""
        return {"status": "ok"}

    @router.get(
        "/readyz",
        tags=["operation"],
        response_model=ReadyResponse,
        summary="Whether a release is served",
        responses={
            **documented(),
            503: {"model": ReadyResponse, "description": "No release is served."},
        },
    )
    async def readyz(request: Request) -> JSONResponse:
        """Answer 200 if Triton serves a release and this gateway is not about to end.

        Without Valkey answers are degraded, but not absent.
        """
        triton = await parts.ranking.ready()
        try:
            display = parts.display.current()
        except DisplayMissing as error:
            logger.error("%s", error)
            display = Display()
        try:
            valkey = bool(await cast("Awaitable[bool]", parts.visitors.ping()))
        except STORE_ERRORS:
            valkey = False
        ready = triton and display.release is not None and not request.app.state.draining
        answer = ReadyResponse(
            ready=ready,
            triton=triton,
            release=display.release,
            rung=display.rung,
            learnt_to=display.learnt_to,
            valkey=valkey,
        )
        return JSONResponse(answer.model_dump(), status_code=200 if ready else 503)

    @router.get(
        "/metrics",
        tags=["operation"],
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={**documented(), 200: {"content": {"text/plain": {}}}},
    )
    def prometheus() -> Response:
        """Return requests, times, degraded and shed answers, open calls and the release."""
        return Response(generate_latest(parts.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_page(router: APIRouter, parts: Parts) -> None:
    """Add the images and the demo page."""

    @router.get(
        "/images/{item_id:path}",
        tags=["items"],
        summary="Image of an item",
        response_class=Response,
        responses={**documented(404, 422, 503), 200: {"content": {"image/*": {}}}},
    )
    def image(item_id: str) -> Response:
        """Return the image of an item that is known and has one."""
        shown = parts.display.current().items.get(item_id)
        content = parts.images.get(shown["image"]) if shown and shown["image"] else None
        kind = media_type(content) if content else None
        if content is None or kind is None:
            raise Refused(404, "item_id", "no image of this item")
        return Response(content, media_type=kind, headers={"cache-control": IMAGE_CACHE})

    @router.get("/", include_in_schema=False)
    def index() -> FileResponse:
        """Return the demo page."""
        return FileResponse(PAGE / "index.html")
