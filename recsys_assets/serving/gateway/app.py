"""The gateway: what applications and the page call."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.exceptions import HTTPException as StarletteHTTPException

from recsys_assets.serving.display import DisplayMissing, LiveDisplay
from recsys_assets.serving.events import STREAM, STREAM_LENGTH
from recsys_assets.serving.gateway.images import LiveImages, media_type
from recsys_assets.serving.gateway.middleware import (
    REQUEST_ID,
    SECURITY_HEADERS,
    Gatekeeper,
    Metrics,
    error_response,
    field_and_message,
)
from recsys_assets.serving.gateway.models import (
    EventBatch,
    EventForms,
    EventsResponse,
    RecommendRequest,
    RecommendResponse,
)
from recsys_assets.serving.gateway.recommender import NothingKnown, Recommender
from recsys_assets.serving.gateway.triton_client import RankingClient
from recsys_assets.serving.stores import STORE_ERRORS
from recsys_assets.settings import POPULARITY_DATABASE, VISITOR_DATABASE, Settings

logger = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
EVENT_WRITE_MS = 1_000  # a batch of 500 is one transaction; losing it would lose the visitor's clicks
IMAGE_CACHE = "public, max-age=300"


class Refused(Exception):
    """An answer that names the field: status, field, message."""

    def __init__(self, status: int, field: str | None, message: str):
        super().__init__(message)
        self.status, self.field, self.message = status, field, message


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def async_client(settings: Settings, database: int, timeout_ms: int) -> redis.asyncio.Redis:
    """A client whose connects and reads each end after ``timeout_ms``, without retries; values are bytes."""
    return redis.asyncio.Redis.from_url(settings.valkey_url(database), socket_timeout=timeout_ms / 1_000,
                                        socket_connect_timeout=timeout_ms / 1_000, retry=Retry(NoBackoff(), 0))


def create_app(settings: Settings) -> FastAPI:
    """Build the gateway; connections open with the first request that needs them."""
    display, images, metrics = LiveDisplay(settings), LiveImages(settings), Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        ranking = RankingClient(f"{settings.triton_host}:{settings.triton_grpc_port}", settings.triton_timeout_ms)
        popularity = async_client(settings, POPULARITY_DATABASE, settings.store_timeout_ms)
        visitors = async_client(settings, VISITOR_DATABASE, EVENT_WRITE_MS)
        app.state.ranking, app.state.visitors = ranking, visitors
        app.state.recommender = Recommender(ranking, popularity, display)
        yield
        await ranking.close()
        await popularity.aclose()
        await visitors.aclose()

    # no docs pages: they load scripts from elsewhere; /openapi.json stays
    app = FastAPI(title="recsys gateway", lifespan=lifespan, docs_url=None, redoc_url=None)
    token = settings.token.get_secret_value() if settings.token is not None else None
    app.add_middleware(Gatekeeper, token=token, metrics=metrics)
    _add_error_handlers(app)

    @app.post("/recommend")
    async def recommend(body: RecommendRequest, request: Request) -> RecommendResponse:
        answer = await app.state.recommender.recommend(body, request.state.request_id)
        for reason in answer.reasons:
            metrics.degraded.labels(reason).inc()
        return answer

    @app.post("/events", status_code=202)
    async def events(body: EventForms) -> EventsResponse:
        catalogue = display.current().items
        if not catalogue:
            raise Refused(503, None, "no release was promoted yet, so no item is known: promote one, then try again")
        given = body.events if isinstance(body, EventBatch) else [body]
        for number, event in enumerate(given):
            if event.item_id not in catalogue:
                field = f"events.{number}.item_id" if isinstance(body, EventBatch) else "item_id"
                raise Refused(422, field, f"{event.item_id!r} is not in the catalogue")
        accepted = [event.event() for event in given]
        try:
            async with app.state.visitors.pipeline(transaction=True) as pipeline:
                for event in accepted:
                    pipeline.xadd(STREAM, event.fields(), maxlen=STREAM_LENGTH, approximate=True)
                await pipeline.execute()
        except STORE_ERRORS as error:
            logger.warning("events are not stored: %s", error)
            raise Refused(503, None, "events cannot be stored at the moment: send them again with the same "
                                     "event_id, they count once") from error
        return EventsResponse(accepted=len(accepted), event_ids=[event.event_id for event in accepted])

    @app.get("/images/{item_id:path}")
    def image(item_id: str) -> Response:
        shown = display.current().items.get(item_id)
        content = images.get(shown["image"]) if shown and shown["image"] else None
        kind = media_type(content) if content else None
        if content is None or kind is None:
            raise Refused(404, "item_id", "no image of this item")
        return Response(content, media_type=kind, headers={"cache-control": IMAGE_CACHE})

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 where Triton serves a release; without Valkey answers are degraded, not absent."""
        triton = await app.state.ranking.ready()
        try:
            release = display.current().release
        except DisplayMissing as error:
            logger.error("%s", error)
            release = None
        try:
            valkey = bool(await app.state.visitors.ping())
        except STORE_ERRORS:
            valkey = False
        ready = triton and release is not None
        return JSONResponse({"ready": ready, "triton": triton, "release": release, "valkey": valkey},
                            status_code=200 if ready else 503)

    @app.get("/metrics")
    def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    return app


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        field, message = field_and_message(error.errors())
        return error_response(422, field, message)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return error_response(error.status, error.field, error.message,
                              {"retry-after": "1"} if error.status == 503 else None)

    @app.exception_handler(NothingKnown)
    async def nothing_known(request: Request, error: NothingKnown) -> JSONResponse:
        return error_response(503, None, str(error), {"retry-after": "1"})

    @app.exception_handler(DisplayMissing)
    async def display_missing(request: Request, error: DisplayMissing) -> JSONResponse:
        logger.error("%s", error)  # names a file of this machine: for the log only
        return error_response(503, None, "the catalogue cannot be read: promote a release again", {"retry-after": "1"})

    @app.exception_handler(StarletteHTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return error_response(error.status_code, "body" if error.status_code == 400 else None, str(error.detail),
                              dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        # the server's own log has the traceback; this runs outside the middleware, so it sets the headers again
        request_id = request.state.request_id
        return error_response(500, None, f"unexpected error; the log has it under request {request_id}",
                              {**SECURITY_HEADERS, REQUEST_ID: request_id})
