"""Build the gateway, which applications and the demo page call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from recsys_assets.serving.gateway.ads import ads_routes
from recsys_assets.serving.gateway.ads_client import AdsClient
from recsys_assets.serving.gateway.errors import add_error_handlers
from recsys_assets.serving.gateway.limits import RateLimit
from recsys_assets.serving.gateway.middleware import Gatekeeper
from recsys_assets.serving.gateway.operating import PAGE, operating_routes
from recsys_assets.serving.gateway.parts import Parts
from recsys_assets.serving.gateway.reading import reading_routes
from recsys_assets.serving.gateway.triton_client import RankingClient
from recsys_assets.serving.gateway.writing import writing_routes
from recsys_assets.settings import Settings

DESCRIPTION = """Recommendations of the promoted release, what visitors do, and the click
probabilities of ads.

Every answer has the header `x-request-id`: the caller's, if valid (`[A-Za-z0-9._-]{1,64}`), or a
new one. An error is always `{"error": {"field", "message"}}`. Writes, labels, availability and
explain need `Authorization: Bearer <RECSYS_TOKEN>` if a token is set.
"""


def create_app(
    settings: Settings, ranking: RankingClient | None = None, ads: AdsClient | None = None
) -> FastAPI:
    """Build the gateway; it connects when it starts to serve.

    Args:
        settings: of the home.
        ranking: answers instead of Triton.
        ads: predicts for ads instead of Triton.
    """
    parts = Parts(settings, ranking, ads)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with parts.open():
            yield

    # no docs pages, because they load scripts from other sites; /openapi.json stays
    app = FastAPI(
        title="recsys gateway",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    # True while the server ends: answers then ask clients to connect anew
    app.state.draining = False
    # routes are tried in this order: /recommend first
    for routes in (reading_routes, writing_routes, ads_routes, operating_routes):
        for router in routes(parts):
            app.include_router(router)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    paths = frozenset(path for path in app.openapi()["paths"] if "{" not in path)
    app.add_middleware(
        Gatekeeper,
        token=settings.token.get_secret_value() if settings.token is not None else None,
        metrics=parts.metrics,
        rate=RateLimit(settings.rate_limit),
        check_load=parts.admission.check,
        paths=paths,
    )
    add_error_handlers(app)
    return app
