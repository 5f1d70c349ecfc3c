"""What every request passes: request id, size limit, token, security headers, metrics; and the error form."""

from __future__ import annotations

import hmac
import time
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys_assets.serving.gateway.models import FORM_TAGS

BODY_LIMIT = 1 << 20
REQUEST_ID = "x-request-id"
#: Method and path of everything that changes a visitor's state.
WRITES = frozenset({("POST", "/events")})
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


def error_response(status: int, field: str | None, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """{"error": {"field": …, "message": …}}; field is null where no single field is at fault."""
    return JSONResponse({"error": {"field": field, "message": message}}, status_code=status, headers=headers)


def field_and_message(errors: Sequence[Any]) -> tuple[str | None, str]:
    """The first of pydantic's errors as a dotted field name and a sentence."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return "body", "is not valid JSON"
    parts = [str(part) for part in first["loc"] if part not in ("body", *FORM_TAGS)]
    message = {"extra_forbidden": "is not a field of this request", "missing": "is required"}.get(
        first["type"], first["msg"].removeprefix("Value error, "))
    return ".".join(parts)[:200] or "body", message


class Metrics:
    """Counters and histograms of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("gateway_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self.seconds = Histogram("gateway_request_seconds", "Seconds until the answer.", ["route"],
                                 registry=self.registry,
                                 buckets=(.002, .005, .01, .02, .03, .05, .075, .1, .15, .25, .5, 1, 2.5))
        self.degraded = Counter("gateway_degraded", "Degraded answers, by reason.", ["reason"], registry=self.registry)


class Gatekeeper:
    """Pure ASGI, so that a body over the limit is refused before it is whole in memory.

    Args:
        token: what writes must bear, or None.
    """

    def __init__(self, app: ASGIApp, token: str | None, metrics: Metrics):
        self._app, self._token, self._metrics = app, token, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        began, status = time.perf_counter(), 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in {**SECURITY_HEADERS, REQUEST_ID: request_id}.items():
                    headers[name] = value
            await send(message)

        try:
            refusal = self._refuse(scope)
            if refusal is not None:
                await refusal(scope, receive, send_with_headers)
            else:
                await self._limited(scope, receive, send_with_headers)
        finally:
            # the route's pattern, never the path: a path is whatever a client invents
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)

    def _refuse(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if self._token is not None and (scope["method"], scope["path"]) in WRITES:
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not given:
                return error_response(401, "authorization", "this call needs 'Authorization: Bearer <token>'",
                                      {"www-authenticate": "Bearer"})
            if not hmac.compare_digest(given.encode("latin-1"), self._token.encode()):
                return error_response(403, "authorization", "the token is not valid")
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return error_response(400, "content-length", "must be a whole number")
        if int(length[:20]) > BODY_LIMIT:
            return self._too_large()
        return None

    @staticmethod
    def _too_large() -> JSONResponse:
        return error_response(413, "body", f"is over the limit of {BODY_LIMIT} bytes")

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the body on once it is whole: a streamed one has no length to refuse it by beforehand."""
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
