"""A typed client of the gateway."""

from __future__ import annotations

from typing import Any

import httpx


class GatewayError(RuntimeError):
    """The gateway did not answer with recommendations; the message says what it said instead."""


def recommend(url: str, user_id: str, *, device_type: str | None = None, timestamp: int | None = None, top_k: int = 10,
              timeout: float = 10.0) -> dict[str, Any]:
    """Recommendations for one visitor: {"items": [{item_id, score, title, …}], "degraded", "release", …}.

    Raises:
        GatewayError: not reachable, or an answer other than 200.
    """
    body: dict[str, Any] = {"user_id": user_id, "top_k": top_k}
    body |= {name: value for name, value in (("device_type", device_type), ("timestamp", timestamp)) if value is not None}
    return _post(f"{url}/recommend", body, timeout, None)


def send_events(url: str, events: list[dict[str, Any]], *, token: str | None = None, timeout: float = 10.0) -> dict[str, Any]:
    """Report what visitors did: [{user_id, item_id, event_type, …}]; raises GatewayError."""
    return _post(f"{url}/events", {"events": events}, timeout, token)


def _post(address: str, body: dict[str, Any], timeout: float, token: str | None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.post(address, json=body, timeout=timeout, headers=headers)
    except httpx.HTTPError as error:
        raise GatewayError(f"the gateway at {address} does not answer ({error}); start it with `recsys up`") from error
    if answer.is_error:
        raise GatewayError(f"the gateway answered {answer.status_code}: {answer.text}")
    return answer.json()
