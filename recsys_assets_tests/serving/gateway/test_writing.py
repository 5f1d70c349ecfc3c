"""The gateway's writes over real ASGI and a real Valkey: events, reset, availability; and who may
call them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys_assets.addresses import is_loopback
from recsys_assets.serving.events.events import STREAM, parse_entry
from recsys_assets.serving.gateway.middleware import TOKEN_ROUTES
from recsys_assets.serving.stores.availability import UNAVAILABLE
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.support.gateway_calls import GOOD, error, serve
from recsys_assets_tests.support.small_shop import ITEMS

NOW = int(time.time())


# --- events


def test_an_event_reaches_the_stream(client: TestClient, valkey: Any) -> None:
    answer = client.post(
        "/events",
        json={
            "user_id": 3,
            "item_id": "d/4",
            "device_type": "tablet",
            "event_type": "AddToCart",
            "timestamp": NOW - 60,
            "event_id": "mine",
            "request_id": "an-answer",
        },
    )
    assert answer.status_code == 202 and answer.json() == {"accepted": 1, "event_ids": ["mine"]}
    ((_, fields),) = valkey.client(1).xrange(STREAM)
    event = parse_entry(fields)
    assert event.model_dump() == {
        "event_id": "mine",
        "user_id": "3",
        "item_id": "d/4",
        "timestamp": NOW - 60,
        "device_type": "tablet",
        "event_type": "AddToCart",
        "request_id": "an-answer",
    }


def test_many_events_keep_their_order_and_get_ids(client: TestClient, valkey: Any) -> None:
    items = [list(ITEMS)[n % 4] for n in range(500)]
    answer = client.post(
        "/events", json={"events": [{"user_id": "u", "item_id": item} for item in items]}
    )
    entries = [parse_entry(fields) for _, fields in valkey.client(1).xrange(STREAM)]
    assert [entry.item_id for entry in entries] == items
    assert answer.json() == {"accepted": 500, "event_ids": [entry.event_id for entry in entries]}
    assert len({entry.event_id for entry in entries}) == 500
    assert {(entry.event_type, entry.device_type) for entry in entries} == {("View", "-1")}
    # a consumer of an older version refuses a field that it does not know
    assert b"request_id" not in valkey.client(1).xrange(STREAM)[0][1]


EVENT_ERRORS = [
    ({"item_id": "a"}, "user_id", "is required"),
    ({"user_id": "u"}, "item_id", "is required"),
    ({**GOOD, "item_id": "zzz"}, "item_id", "'zzz' is not in the catalogue"),
    ({**GOOD, "item_id": "../../etc/passwd"}, "item_id", "is not in the catalogue"),
    ({**GOOD, "user_id": "-1"}, "user_id", "unknown visitor"),
    ({**GOOD, "event_type": "Stare"}, "event_type", "'Impression'"),
    ({**GOOD, "timestamp": NOW + 3_600}, "timestamp", "ahead"),
    ({**GOOD, "timestamp": NOW - 40 * 86_400}, "timestamp", "30 days"),
    ({**GOOD, "timestamp": 1.5}, "timestamp", "unix seconds"),
    ({**GOOD, "event_id": "a|b"}, "event_id", "pattern"),
    ({**GOOD, "request_id": "a b"}, "request_id", "pattern"),
    ({**GOOD, "request_id": "r" * 65}, "request_id", "pattern"),
    ({**GOOD, "request_id": 7}, "request_id", "string"),
    ({"events": [GOOD, {**GOOD, "request_id": ""}]}, "events.1.request_id", "pattern"),
    ({**GOOD, "click": 1}, "click", "is not a field"),
    ({"events": []}, "events", "at least 1"),
    ({"events": [GOOD] * 501}, "events", "at most 500"),
    ({"events": [1] * 300_000}, "events.0", "object"),
    (
        {"events": [GOOD, {**GOOD, "item_id": "zzz"}]},
        "events.1.item_id",
        "'zzz' is not in the catalogue",
    ),
    ({"events": [GOOD, {**GOOD, "user_id": False}]}, "events.1.user_id", "1 to 128"),
    ({"events": [GOOD], "more": 1}, "more", "is not a field"),
    ({"events": {"a": 1}}, "events", "array"),
]


@pytest.mark.parametrize(("body", "field", "message"), EVENT_ERRORS)
def test_bad_events_name_the_field_and_none_is_taken(
    client: TestClient, valkey: Any, body: Any, field: str, message: str
) -> None:
    status, named, said = error(client.post("/events", json=body))
    assert (status, named) == (422, field) and message in said
    assert valkey.client(1).xlen(STREAM) == 0


# --- reset


def test_a_reset_is_an_entry_among_the_events(client: TestClient, valkey: Any) -> None:
    client.post("/events", json=GOOD)
    answer = client.post("/reset", json={"user_id": 7, "event_id": "mine"})
    assert (answer.status_code, answer.json()) == (202, {"event_id": "mine"})
    entries = [fields for _, fields in valkey.client(1).xrange(STREAM)]
    assert len(entries) == 2 and entries[1] == {
        b"command": b"reset",
        b"user_id": b"7",
        b"event_id": b"mine",
    }
    assert client.post("/reset", json={"user_id": "u"}).json()["event_id"] != "mine"


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "user_id", "is required"),
        ({"user_id": "-1"}, "user_id", "unknown visitor"),
        ({"user_id": 1.5}, "user_id", "1 to 128"),
        ({"user_id": "u", "event_id": "a b"}, "event_id", "pattern"),
        ({"user_id": "u", "all": True}, "all", "is not a field"),
    ],
)
def test_bad_resets_name_the_field(
    client: TestClient, valkey: Any, body: Any, field: str, message: str
) -> None:
    status, named, said = error(client.post("/reset", json=body))
    assert (status, named) == (422, field) and message in said
    assert valkey.client(1).xlen(STREAM) == 0


# --- availability


def test_availability_is_in_force_at_once(client: TestClient, valkey: Any) -> None:
    valkey.client(3).zadd("popularity:global", {"a": 3, "b": 2, "c": 1})
    changes = [
        {"item_id": "a", "status": "hidden"},
        {"item_id": "c", "status": "hidden"},
        {"item_id": "c", "status": "out_of_stock"},
        {"item_id": "new/one", "status": "hidden"},
    ]
    answer = client.post("/availability", json={"changes": changes})
    assert (answer.status_code, answer.json()) == (200, {"changed": 3, "unknown": ["new/one"]})
    assert valkey.client(3).hgetall(UNAVAILABLE) == {
        b"a": b"hidden",
        b"c": b"out_of_stock",
        b"new/one": b"hidden",
    }
    listed = client.get("/availability").json()
    assert {item["item_id"]: item["status"] for item in listed["items"]} == {
        "a": "hidden",
        "c": "out_of_stock",
        "new/one": "hidden",
    }
    assert listed["age_seconds"] < 60
    for items in (
        client.get("/popular").json()["items"],
        client.post("/recommend", json={"user_id": "u"}).json()["items"],
    ):
        assert [item["item_id"] for item in items] == ["b", "d/4"]
    client.post("/availability", json={"changes": [{"item_id": "a", "status": "available"}]})
    assert [item["item_id"] for item in client.get("/popular").json()["items"]] == ["a", "b", "d/4"]


def test_what_another_process_says_is_heard(client: TestClient, valkey: Any) -> None:
    assert "a" in {item["item_id"] for item in client.get("/popular").json()["items"]}
    with valkey.client(3).pipeline() as pipeline:
        pipeline.hset(UNAVAILABLE, "a", "hidden").incr(f"{UNAVAILABLE}:version").execute()
    for _ in range(200):  # polled every half second
        if "a" not in {item["item_id"] for item in client.get("/popular").json()["items"]}:
            return
        time.sleep(0.05)
    raise AssertionError("the change was never heard of")


def test_hidden_items_stay_hidden_while_the_store_is_away(client: TestClient, valkey: Any) -> None:
    client.post("/availability", json={"changes": [{"item_id": "c", "status": "hidden"}]})
    valkey.kill()
    body = client.post("/recommend", json={"user_id": "u"}).json()
    assert body["reasons"] == ["ranking_unavailable", "popularity_unavailable"]
    assert [item["item_id"] for item in body["items"]] == ["a", "b", "d/4"]
    assert client.get("/availability").json()["items"] == [{"item_id": "c", "status": "hidden"}]
    status, field, message = error(
        client.post("/availability", json={"changes": [{"item_id": "a", "status": "hidden"}]})
    )
    assert (status, field) == (503, None) and "send it again" in message


def test_availability_that_was_never_known_is_not_made_up(settings: Settings) -> None:
    for client in serve(settings.model_copy(update={"valkey_port": free_port()})):
        assert error(client.get("/availability"))[0] == 503
        assert "gateway_availability_age_seconds NaN" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"changes": []}, "changes", "at least 1"),
        ({"changes": [{"item_id": "a", "status": "hidden"}] * 1_001}, "changes", "at most 1000"),
        ({"changes": [1] * 300_000}, "changes.0", "object"),
        (
            {"changes": [{"item_id": "a", "status": "gone"}]},
            "changes.0.status",
            "'available', 'out_of_stock' or 'hidden'",
        ),
        ({"changes": [{"item_id": "a"}]}, "changes.0.status", "is required"),
        (
            {"changes": [{"item_id": "../\u0000", "status": "hidden"}]},
            "changes.0.item_id",
            "control characters",
        ),
    ],
)
def test_bad_changes_name_the_field(
    client: TestClient, valkey: Any, body: Any, field: str, message: str
) -> None:
    status, named, said = error(client.post("/availability", json=body))
    assert (status, named) == (422, field) and message in said
    assert valkey.client(3).exists(UNAVAILABLE) == 0


# --- who may

TOKEN = "secret-ü"


@pytest.mark.parametrize(("method", "path"), sorted(TOKEN_ROUTES))
def test_writes_and_what_shows_a_visitor_need_the_token(
    settings: Settings, valkey: Any, method: str, path: str
) -> None:
    for client in serve(settings.model_copy(update={"token": Settings(token=TOKEN).token})):
        status, field, message = error(client.request(method, path, json=GOOD))
        assert (status, field) == (401, "authorization") and "Bearer" in message
        assert (
            error(client.request(method, path, content=b"{"))[0] == 401
        )  # before anything is read
        for given, status in (
            ("Basic secret", 401),
            ("Bearer", 401),
            ("Bearer wrong", 403),
            ("Bearer secret", 403),
        ):
            assert error(client.request(method, path, json=GOOD, headers={"authorization": given}))[
                :2
            ] == (status, "authorization")
        assert valkey.client(1).xlen(STREAM) == 0
        bearer = {"authorization": f"Bearer {TOKEN}".encode()}
        assert client.request(method, path, json=GOOD, headers=bearer).status_code not in (401, 403)
        assert client.post("/recommend", json={"user_id": "u"}).status_code == 200


def test_without_a_token_only_loopback_is_bound(settings: Settings) -> None:
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("shop.example")
    environment = {**os.environ, **settings.environment(), "RECSYS_GATEWAY_HOST": "0.0.0.0"}
    environment.pop("RECSYS_TOKEN", None)
    done = subprocess.run(
        [sys.executable, "-m", "recsys_assets.serving.gateway"],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1 and "set RECSYS_TOKEN" in done.stderr
