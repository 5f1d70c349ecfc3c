"""Call the gateway from Python with typed requests and responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from recsys_assets.serving.gateway.ads_models import AdLabelsResponse, AdsResponse
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
    """The gateway refused a call or did not answer; the message holds its answer.

    Attributes:
        status: of the answer; None if there was none.
        field: at fault, if the answer names one.
        retry_after: seconds after which to try again, if the answer gives them.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        field: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.field, self.retry_after = status, field, retry_after


class GatewayClient:
    """Calls one gateway over connections that are kept open.

    Use it as a context manager, or ``close`` it. Threads may share it. Every call raises
    GatewayError if it fails.

    Args:
        url: http://host:port.
        token: of writes, availability and explain.
        timeout: of one call, seconds.

    >>> with GatewayClient("http://127.0.0.1:8080") as gateway:  # doctest: +SKIP
    ...     gateway.recommend("1", device_type="mobile").items[0].title
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 10.0) -> None:
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
        """Close the connections."""
        self._http.close()

    def recommend(
        self,
        user_id: str,
        *,
        device_type: str | None = None,
        timestamp: int | None = None,
        top_k: int = 10,
        seed: int | None = None,
        arm: str | None = None,
    ) -> RecommendResponse:
        """Recommend items to one visitor, best first.

        Args:
            user_id: the visitor.
            device_type: mobile, desktop or tablet; None: unknown.
            timestamp: Unix seconds; None: now.
            top_k: items wanted.
            seed: of weighted sampling.
            arm: of the shop's own experiment; logged with the answer.
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
                arm=arm,
            ),
        )

    def recommend_batch(self, requests: Sequence[Mapping[str, Any]]) -> BatchResponse:
        """Recommend items to at most 64 visitors; answers keep the order of requests.

        Args:
            requests: each has the fields that ``recommend`` takes.
        """
        return self._post(
            "/recommend/batch", BatchResponse, {"requests": [dict(request) for request in requests]}
        )

    def send_events(self, events: Sequence[Mapping[str, Any]]) -> EventsResponse:
        """Report what visitors did, at most 500 events.

        Args:
            events: [{user_id, item_id, event_type, …}]; an event sent again with the same event_id
                counts once.
        """
        return self._post("/events", EventsResponse, {"events": [dict(event) for event in events]})

    def reset(self, user_id: str, event_id: str | None = None) -> ResetResponse:
        """Make serving forget what the visitor has seen and clicked."""
        return self._post("/reset", ResetResponse, _given(user_id=user_id, event_id=event_id))

    def similar(self, item_id: str, top_k: int = 10) -> SimilarResponse:
        """Return the items most similar to one, at most 30; status 404 if it is unknown."""
        return self._get(f"/similar/{quote(item_id, safe='')}", SimilarResponse, {"top_k": top_k})

    def popular(self, top_k: int = 10, category: str | None = None) -> PopularResponse:
        """Return the most clicked items of the catalogue, or of one category.

        Args:
            top_k: items wanted.
            category: a category_l1 or category_l2; None: all.
        """
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
        """Explain one answer stage by stage: features, candidates, drops and scores."""
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
        """Change the availability of at most 1,000 items, all or none.

        Args:
            changes: item id → available, out_of_stock or hidden.
        """
        return self._post(
            "/availability",
            ChangedResponse,
            {
                "changes": [
                    {"item_id": item_id, "status": status} for item_id, status in changes.items()
                ]
            },
        )

    def ads_ctr(self, ads: Sequence[Mapping[str, Any]]) -> AdsResponse:
        """Predict the click probability of at most 500 ads; answers keep their order.

        Args:
            ads: each has the fields I1 to I13 and C1 to C26; None: empty.
        """
        return self._post("/ads/ctr", AdsResponse, {"ads": [dict(one) for one in ads]})

    def send_ad_labels(self, labels: Sequence[Mapping[str, Any]]) -> AdLabelsResponse:
        """Report whether ads were clicked, at most 500 labels.

        Args:
            labels: [{prediction_id, clicked, …}].
        """
        return self._post(
            "/ads/labels", AdLabelsResponse, {"labels": [dict(one) for one in labels]}
        )

    def ready(self) -> ReadyResponse:
        """Return whether a release is served; status 503 of the gateway does not raise."""
        answer = self._send("GET", "/readyz")
        return self._read(answer, ReadyResponse, accepted=(200, 503))

    def _post(self, path: str, form: type[M], body: dict[str, Any]) -> M:
        return self._read(self._send("POST", path, json=body), form)

    def _get(self, path: str, form: type[M], parameters: dict[str, Any]) -> M:
        return self._read(self._send("GET", path, params=parameters), form)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request; raise GatewayError if there is no answer."""
        try:
            return self._http.request(method, self._url + path, **options)
        except httpx.HTTPError as error:
            raise GatewayError(
                f"the gateway at {self._url}{path} does not answer ({error}); start it with "
                "`recsys up`"
            ) from error

    @staticmethod
    def _read(answer: httpx.Response, form: type[M], accepted: tuple[int, ...] = (200, 202)) -> M:
        """Return the answer as a model; raise GatewayError for any other status or form."""
        try:
            content = answer.json()
            if answer.status_code in accepted:
                return form.model_validate(content)
            field = content["error"]["field"]
        # not the gateway's form: another server, or a proxy, answered
        except (ValueError, KeyError, TypeError):
            field = None
        wait = answer.headers.get("retry-after", "")
        raise GatewayError(
            f"the gateway answered {answer.status_code}: {answer.text[:1_000]}",
            answer.status_code,
            field,
            int(wait) if wait.isdecimal() else None,
        )


def _given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
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
    """Call ``GatewayClient.recommend`` once and return the answer as a dict.

    Its keys: items [{item_id, score, title, …}], degraded, release, ….
    """
    with GatewayClient(url, timeout=timeout) as gateway:
        return gateway.recommend(
            user_id, device_type=device_type, timestamp=timestamp, top_k=top_k
        ).model_dump()


def send_events(
    url: str, events: list[dict[str, Any]], *, token: str | None = None, timeout: float = 10.0
) -> dict[str, Any]:
    """Call ``GatewayClient.send_events`` once: {"accepted", "event_ids"}."""
    with GatewayClient(url, token, timeout) as gateway:
        return gateway.send_events(events).model_dump()
