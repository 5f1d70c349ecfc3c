"""A typed client of the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from recsys_assets.serving.gateway.explanation_models import Explanation
from recsys_assets.serving.gateway.models import (
    BatchResponse,
    ChangedResponse,
    EventsResponse,
    PopularResponse,
    ReadyResponse,
    RecommendResponse,
    ResetResponse,
    SimilarResponse,
)

M = TypeVar("M", bound=BaseModel)


class GatewayError(RuntimeError):
    """The gateway did not do what it was asked; the message says what it said instead.

    Attributes:
        status: of the answer; None where there was none.
        field: at fault, where the answer names one.
        retry_after: seconds after which to try again, where the answer says so.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        field: str | None = None,
        retry_after: int | None = None,
    ):
        super().__init__(message)
        self.status, self.field, self.retry_after = status, field, retry_after


class GatewayClient:
    """Calls one gateway over connections that are kept; use as a context, or ``close`` it. Threads
    may share it.

    Every call raises GatewayError.

    Args:
        url: http://host:port.
        token: of writes, availability and explain.
        timeout: of one call, seconds.

    >>> with GatewayClient("http://127.0.0.1:8080") as gateway:  # doctest: +SKIP
    ...     gateway.recommend("1", device_type="mobile").items[0].title
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 10.0):
        headers = {b"Authorization": f"Bearer {token}".encode()} if token else {}
        self._url, self._http = url.rstrip("/"), httpx.Client(timeout=timeout, headers=headers)

    def __enter__(self) -> GatewayClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def recommend(
        self,
        user_id: str,
        *,
        device_type: str | None = None,
        timestamp: int | None = None,
        top_k: int = 10,
        seed: int | None = None,
    ) -> RecommendResponse:
        """Items for one visitor, best first; timestamp: unix seconds, None: now; seed: of weighted
        sampling.
        """
        return self._post(
            "/recommend",
            RecommendResponse,
            _given(
                user_id=user_id,
                device_type=device_type,
                timestamp=timestamp,
                top_k=top_k,
                seed=seed,
            ),
        )

    def recommend_batch(self, requests: Sequence[Mapping[str, Any]]) -> BatchResponse:
        """At most 64 requests, each of the fields that ``recommend`` takes; answers in their
        order.
        """
        return self._post(
            "/recommend/batch", BatchResponse, {"requests": [dict(request) for request in requests]}
        )

    def send_events(self, events: Sequence[Mapping[str, Any]]) -> EventsResponse:
        """What visitors did, at most 500: [{user_id, item_id, event_type, …}]; repeated with the
        same event_id it counts once.
        """
        return self._post("/events", EventsResponse, {"events": [dict(event) for event in events]})

    def reset(self, user_id: str, event_id: str | None = None) -> ResetResponse:
        """Let serving forget what the visitor has seen and clicked."""
        return self._post("/reset", ResetResponse, _given(user_id=user_id, event_id=event_id))

    def similar(self, item_id: str, top_k: int = 10) -> SimilarResponse:
        """Items most similar to one, at most 30; an unknown item is an error of status 404."""
        return self._get(f"/similar/{quote(item_id, safe='')}", SimilarResponse, {"top_k": top_k})

    def popular(self, top_k: int = 10, category: str | None = None) -> PopularResponse:
        """Most clicked items, of a category_l1 or category_l2 where one is given."""
        return self._get("/popular", PopularResponse, _given(top_k=top_k, category=category))

    def explain(
        self,
        user_id: str,
        *,
        device_type: str | None = None,
        timestamp: int | None = None,
        top_k: int = 10,
        seed: int | None = None,
    ) -> Explanation:
        """Every stage of one answer: features, candidates, what was dropped and why, scores."""
        return self._post(
            "/explain",
            Explanation,
            _given(
                user_id=user_id,
                device_type=device_type,
                timestamp=timestamp,
                top_k=top_k,
                seed=seed,
            ),
        )

    def set_availability(self, changes: Mapping[str, str]) -> ChangedResponse:
        """Item id → available, out_of_stock or hidden; at most 1,000, taken all or none."""
        return self._post(
            "/availability",
            ChangedResponse,
            {
                "changes": [
                    {"item_id": item_id, "status": status} for item_id, status in changes.items()
                ]
            },
        )

    def ready(self) -> ReadyResponse:
        """Whether a release is served; says no rather than raise where the gateway itself
        answers.
        """
        answer = self._send("GET", "/readyz")
        return self._read(answer, ReadyResponse, accepted=(200, 503))

    def _post(self, path: str, form: type[M], body: dict[str, Any]) -> M:
        return self._read(self._send("POST", path, json=body), form)

    def _get(self, path: str, form: type[M], parameters: dict[str, Any]) -> M:
        return self._read(self._send("GET", path, params=parameters), form)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, self._url + path, **options)
        except httpx.HTTPError as error:
            raise GatewayError(
                f"the gateway at {self._url}{path} does not answer ({error}); start it with "
                "`recsys up`"
            ) from error

    @staticmethod
    def _read(answer: httpx.Response, form: type[M], accepted: tuple[int, ...] = (200, 202)) -> M:
        try:
            content = answer.json()
            if answer.status_code in accepted:
                return form.model_validate(content)
            field = content["error"]["field"]
        except (
            ValueError,
            KeyError,
            TypeError,
        ):  # not of the gateway's form: something else is at that address, or between
            field = None
        wait = answer.headers.get("retry-after", "")
        raise GatewayError(
            f"the gateway answered {answer.status_code}: {answer.text[:1_000]}",
            answer.status_code,
            field,
            int(wait) if wait.isdecimal() else None,
        )


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def recommend(
    url: str,
    user_id: str,
    *,
    device_type: str | None = None,
    timestamp: int | None = None,
    top_k: int = 10,
    timeout: float = 10.0,
) -> dict[str, Any]:
    """One call of ``GatewayClient.recommend``: {"items": [{item_id, score, title, …}], "degraded",
    "release", …}.
    """
    with GatewayClient(url, timeout=timeout) as gateway:
        return gateway.recommend(
            user_id, device_type=device_type, timestamp=timestamp, top_k=top_k
        ).model_dump()


def send_events(
    url: str, events: list[dict[str, Any]], *, token: str | None = None, timeout: float = 10.0
) -> dict[str, Any]:
    """One call of ``GatewayClient.send_events``: {"accepted", "event_ids"}."""
    with GatewayClient(url, token, timeout) as gateway:
        return gateway.send_events(events).model_dump()
