"""The log of answers of a gateway on a real Valkey, and what happens to it without the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys_assets.serving.events.served_log import SERVED, ServedAnswer
from recsys_assets.serving.gateway import served, stream_log
from recsys_assets.serving.gateway.app import create_app
from recsys_assets.settings import Settings
from recsys_assets_tests.support.small_shop import ITEMS
from recsys_assets_tests.support.stack import eventually


@contextmanager
def gateway(settings: Settings, **changed: Any) -> Iterator[TestClient]:
    """A gateway that logs, without Triton: popular items replace the ranking."""
    given = settings.model_copy(update={"served_log": "on", "rate_limit": 0, **changed})
    with TestClient(create_app(given)) as client:
        yield client


def logged(valkey: Any) -> list[ServedAnswer]:
    with valkey.client(1) as client:
        return [one for _, fields in client.xrange(SERVED.name) for one in SERVED.unpack(fields)]


def counts(client: TestClient) -> dict[str, float]:
    """Logged and dropped answers, as /metrics shows them."""
    found = {}
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("gateway_served") and "_created" not in line:
            name, value = line.rsplit(" ", 1)
            found[name.removeprefix("gateway_served_")] = float(value)
    return {name: value for name, value in found.items() if value}


def test_off_writes_nothing(client: TestClient, valkey: Any) -> None:
    for _ in range(3):
        assert client.post("/recommend", json={"user_id": "u"}).status_code == 200
    time.sleep(1.5 * stream_log.EVERY)
    assert not valkey.client(1).exists(SERVED.name) and counts(client) == {}


def test_one_record_per_answer(settings: Settings, valkey: Any) -> None:
    began = int(time.time())
    with gateway(settings) as client:
        one = client.post(
            "/recommend",
            json={
                "user_id": "ü",
                "top_k": 2,
                "device_type": "tablet",
                "timestamp": 1_700_000_000,
                "arm": "page:b",
            },
            headers={"x-request-id": "mine"},
        ).json()
        batch = client.post(
            "/recommend/batch", json={"requests": [{"user_id": "v"}, {"user_id": -1, "top_k": 1}]}
        ).json()
        again = client.post(
            "/recommend", json={"user_id": "ü", "top_k": 2}, headers={"x-request-id": "mine"}
        ).json()
        # what is no answer to a visitor is not logged
        for path in ("/popular", "/similar/a", "/readyz"):
            client.get(path)
        assert client.post("/recommend", json={"user_id": ""}).status_code == 422
        refused = client.post("/recommend", json={"user_id": "u", "arm": "b c"})
        assert (refused.status_code, refused.json()["error"]["field"]) == (422, "arm")
        eventually(lambda: counts(client) == {"logged_total": 4.0}, "all answers are written")
    found = logged(valkey)
    assert [answer.request_id for answer in found] == [
        "mine",
        batch["request_id"],
        batch["request_id"],
        "mine",
    ]
    assert len({answer.answer_id for answer in found}) == 4
    for answer, given in zip(found, [one, *batch["answers"], again], strict=True):
        assert answer.user_id == given["user_id"]
        assert answer.item_ids == [item["item_id"] for item in given["items"]]
        assert answer.scores == [item["score"] for item in given["items"]]
        # the popular items of a degraded answer were shown like any others
        assert answer.reasons == given["reasons"] and "ranking_unavailable" in answer.reasons
        assert answer.release is None and began <= answer.at <= time.time()
    assert (found[0].device_type, found[0].context_at, found[0].top_k) == (
        "tablet",
        1_700_000_000,
        2,
    )
    assert (found[1].device_type, found[1].context_at, found[1].top_k) == ("-1", None, 10)
    assert set(found[1].item_ids) == set(ITEMS)
    assert [answer.arm for answer in found] == ["page:b", None, None, None]


def test_a_share_of_visitors(settings: Settings, valkey: Any) -> None:
    with gateway(settings, served_log_share=0.5) as client:
        for n in range(40):
            for _ in range(2):
                client.post("/recommend", json={"user_id": f"u{n}"})
    users = [answer.user_id for answer in logged(valkey)]
    assert 20 < len(users) < 60 and all(users.count(user) == 2 for user in users)


def test_without_the_store_answers_flow_and_what_does_not_fit_is_counted(
    settings: Settings, valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_log, "QUEUE", 5)
    with gateway(settings) as client:
        valkey.kill()
        for n in range(20):
            answer = client.post("/recommend", json={"user_id": f"u{n}"})
            assert answer.status_code == 200 and answer.json()["items"]
        dropped = counts(client)['dropped_total{cause="queue_full"}']
        assert 1 <= dropped <= 15
        valkey.start()
        eventually(
            lambda: counts(client).get("logged_total") == 20 - dropped, "the rest is written"
        )
        assert client.post("/recommend", json={"user_id": "after"}).status_code == 200
        eventually(lambda: counts(client)["logged_total"] == 21 - dropped, "it goes on")
    users = [answer.user_id for answer in logged(valkey)]
    assert len(users) == len(set(users)) == 21 - dropped and users[-1] == "after"


def test_a_gateway_that_ends_without_the_store_says_what_is_lost(
    settings: Settings, valkey: Any, caplog: pytest.LogCaptureFixture
) -> None:
    valkey.hang()
    try:
        with gateway(settings) as client:
            for n in range(3):
                client.post("/recommend", json={"user_id": f"u{n}"})
    finally:
        valkey.resume()
    assert "3 answers are not logged: the store did not take them" in caplog.text


def test_a_full_stream_is_not_trimmed(
    settings: Settings, valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "SERVED", replace(SERVED, length=1))
    with gateway(settings) as client:
        client.post("/recommend", json={"user_id": "first"})
        eventually(lambda: counts(client).get("logged_total"), "the first is written")
        client.post("/recommend", json={"user_id": "second"})
        eventually(lambda: 'dropped_total{cause="stream_full"}' in counts(client), "the other not")
    assert [answer.user_id for answer in logged(valkey)] == ["first"]
