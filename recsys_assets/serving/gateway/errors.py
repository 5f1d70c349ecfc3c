"""Give every error of the gateway one form, without a traceback."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from recsys_assets.serving.gateway.models import FORM_TAGS
from recsys_assets.serving.published.display import DisplayMissing
from recsys_assets.serving.published.similar import SimilarMissing

logger = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}
#: Parts of pydantic's locations that are not the name of a field.
_PLACES = ("body", "query", "path", *FORM_TAGS)


class ErrorDetail(BaseModel):
    """Error of a request: the field at fault and a message."""

    field: str | None = Field(
        description="The field at fault, as a dotted path; null if no single field is at fault."
    )
    message: str = Field(description="What is wrong, or the remedy.")


class ErrorResponse(BaseModel):
    """The form of every error."""

    error: ErrorDetail


_DOCUMENTED = {
    400: "The request cannot be read.",
    401: "No bearer token was given.",
    403: "The token is not valid.",
    404: "The item or category does not exist.",
    413: "The body exceeds the limit.",
    415: "The content type of the body is not JSON.",
    422: "A field is missing or invalid; the message names it.",
    429: "Too many requests, from this client or in total: try again after Retry-After seconds.",
    500: "An unexpected error; the log has it under the request id.",
    503: "A service that this call needs is unavailable: try again after Retry-After seconds.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route for OpenAPI; 429 and 500 are added."""
    return {
        status: {"model": ErrorResponse, "description": _DOCUMENTED[status]}
        for status in sorted({*statuses, 429, 500})
    }


class Refused(Exception):
    """An error answer: status, field, message, and seconds until a retry."""

    def __init__(
        self, status: int, field: str | None, message: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.field, self.message = status, field, message
        self.retry_after = 1 if retry_after is None and status == 503 else retry_after


def error_response(
    status: int, field: str | None, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return {"error": {"field": …, "message": …}} as a response.

    Args:
        status: of the answer.
        field: at fault; None if no single field is at fault.
        message: what is wrong, or the remedy.
        headers: added to the answer.
    """
    return JSONResponse(
        {"error": {"field": field, "message": message}}, status_code=status, headers=headers
    )


def refusal_response(error: Refused) -> JSONResponse:
    """Return the answer of a Refused."""
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return error_response(error.status, error.field, error.message, headers)


def field_and_message(errors: Sequence[Any]) -> tuple[str | None, str]:
    """Return the first of pydantic's errors as a dotted field name and a sentence."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return "body", "is not valid JSON"
    parts = [str(part) for part in first["loc"] if part not in _PLACES]
    message = {"extra_forbidden": "is not a field of this request", "missing": "is required"}.get(
        first["type"], first["msg"].removeprefix("Value error, ")
    )
    return ".".join(parts)[:200] or "body", message


def add_error_handlers(app: FastAPI) -> None:
    """Make the app answer every error in the one form."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        field, message = field_and_message(error.errors())
        return error_response(422, field, message)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return refusal_response(error)

    @app.exception_handler(DisplayMissing)
    @app.exception_handler(SimilarMissing)
    async def file_missing(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s", error)  # only for the log: it names a file of this machine
        what = "the catalogue" if isinstance(error, DisplayMissing) else "the similar items"
        return error_response(
            503,
            None,
            f"{what} cannot be read: promote a release, then try again",
            {"retry-after": "1"},
        )

    @app.exception_handler(StarletteHTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return error_response(
            error.status_code,
            "body" if error.status_code == 400 else None,
            str(error.detail),
            dict(error.headers or {}),
        )

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        # runs outside the middleware, so it sets the headers again; uvicorn logs the traceback
        request_id = request.state.request_id
        return error_response(
            500,
            None,
            f"unexpected error; the log has it under request {request_id}",
            {**SECURITY_HEADERS, REQUEST_ID: request_id},
        )
