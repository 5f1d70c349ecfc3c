"""Check and log every request: id, rate, token, load, size, headers, metrics."""

from __future__ import annotations

import hmac
import math
import re
import time
import uuid
from collections.abc import Callable

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys_assets.serving.gateway import logs
from recsys_assets.serving.gateway.errors import (
    REQUEST_ID,
    SECURITY_HEADERS,
    Refused,
    error_response,
    refusal_response,
)
from recsys_assets.serving.gateway.limits import RateLimit
from recsys_assets.serving.gateway.metrics import RATE_LIMIT, Metrics

BODY_LIMIT = 1 << 20
#: Routes that need the token: they change something, or show what the shop knows of a visitor.
TOKEN_ROUTES = frozenset(
    {
        ("POST", "/events"),
        ("POST", "/reset"),
        ("POST", "/availability"),
        ("GET", "/availability"),
        ("POST", "/explain"),
        ("POST", "/ads/labels"),
    }
)
#: Routes that need Triton: refused at once while too many requests wait.
RANKING_ROUTES = frozenset({"/recommend", "/recommend/batch", "/explain", "/ads/ctr"})
#: Routes for monitoring: never limited.
UNLIMITED = frozenset({"/healthz", "/readyz", "/metrics"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADERS = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class Gatekeeper:
    """The middleware that every request passes.

    It is pure ASGI, so that a body over the limit is refused before it is whole in memory.

    Args:
        app: the next application.
        token: that TOKEN_ROUTES need, or None.
        metrics: of the gateway.
        rate: the limit per client.
        check_load: raises Refused while too many requests wait.
        paths: routes without parameters; a request that is refused before routing is counted under
            one of them, or as "other".
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        metrics: Metrics,
        rate: RateLimit,
        check_load: Callable[[], None],
        paths: frozenset[str],
    ) -> None:
        self._app, self._metrics, self._rate, self._check_load, self._paths = (
            app,
            metrics,
            rate,
            check_load,
            paths,
        )
        self._token = None if token is None else token.encode()
        self._turned_away = logs.TurnedAway()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, pass it on or refuse it, then count and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        added = [*_HEADERS, (REQUEST_ID.encode(), request_id.encode())]
        if scope["app"].state.draining:
            added.append((b"connection", b"close"))

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        try:
            refusal = self._refuse(scope, headers)
            if refusal is not None:
                await refusal(scope, receive, send_with_headers)
            else:
                await self._limited(scope, receive, send_with_headers)
        finally:
            self._tell(scope, status, time.perf_counter() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        """Count the request in the metrics and log it."""
        # the route's pattern and not the path, which clients can invent
        path = scope["path"]
        route = getattr(scope.get("route"), "path", None) or (
            path if path in self._paths else "other"
        )
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if status == 429:
            self._turned_away.count(route)
            return
        state = scope["state"]
        fields = {
            "request_id": state["request_id"],
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(seconds * 1_000, 2),
        }
        if "answered" in state:  # set by Parts.tell: the release, and why the answer is degraded
            fields |= state["answered"]
        logs.requests.info("answered", extra={"fields": fields})

    def _refuse(self, scope: Scope, headers: dict[bytes, bytes]) -> JSONResponse | None:
        """Return the error answer of a request that must not go on, or None."""
        path = scope["path"]
        if path not in UNLIMITED:
            wait = self._rate.take(scope["client"][0] if scope.get("client") else "")
            if wait:
                self._metrics.shed.labels(RATE_LIMIT).inc()
                return error_response(
                    429,
                    None,
                    "too many requests from this address: try again later",
                    {"retry-after": str(math.ceil(wait))},
                )
        if self._token is not None and (scope["method"], path) in TOKEN_ROUTES:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not given:
                return error_response(
                    401,
                    "authorization",
                    "this call needs 'Authorization: Bearer <token>'",
                    {"www-authenticate": "Bearer"},
                )
            if not hmac.compare_digest(given, self._token):
                return error_response(403, "authorization", "the token is not valid")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            return error_response(400, "content-length", "must be a whole number")
        if int(length[:20]) > BODY_LIMIT:
            return self._too_large()
        if path in RANKING_ROUTES:
            try:
                self._check_load()
            except Refused as overload:
                return refusal_response(overload)
        return None

    @staticmethod
    def _too_large() -> JSONResponse:
        """Return the answer to a body over the limit."""
        return error_response(413, "body", f"exceeds the limit of {BODY_LIMIT} bytes")

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on once its body is whole.

        A streamed body has no declared length by which it could be refused earlier.
        """
        first: list[Message] = []
        received, more = 0, True
        while more:
            message = await receive()
            first.append(message)
            received += len(message.get("body", b""))
            if received > BODY_LIMIT:
                await self._too_large()(scope, receive, send)
                return
            more = message["type"] == "http.request" and message.get("more_body", False)

        async def replay() -> Message:
            return first.pop(0) if first else await receive()

        await self._app(scope, replay, send)
