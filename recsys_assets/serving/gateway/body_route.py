"""Parse and validate a JSON body in one pydantic step.

This is several times faster than parsing first and validating afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, get_type_hints

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError

from recsys_assets.serving.gateway.errors import Refused


class BodyRoute(APIRoute):
    """A route for endpoints ``(body, request) -> Response``.

    FastAPI documents it like any other route.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler that reads the body and calls the endpoint."""
        endpoint = self.endpoint
        form: TypeAdapter[Any] = TypeAdapter(get_type_hints(endpoint, include_extras=True)["body"])

        async def handle(request: Request) -> Response:
            # a page of another site can send text without CORS consent, but not JSON
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json" and not (
                kind.startswith("application/") and kind.endswith("+json")
            ):
                raise Refused(415, "content-type", "must be application/json")
            try:
                body = form.validate_json(await request.body())
            except ValidationError as error:
                raise RequestValidationError(
                    error.errors(include_url=False, include_context=False, include_input=False)
                ) from None
            answer: Response = await endpoint(body, request)
            return answer

        return handle
