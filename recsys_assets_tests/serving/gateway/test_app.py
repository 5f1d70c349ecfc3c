"""The gateway's contract: the OpenAPI document, request ids, log lines, metrics, similar and
popular items, hostile bodies.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys_assets.serving.gateway.logs import JsonLines, TurnedAway
from recsys_assets.serving.gateway.middleware import TOKEN_ROUTES
from recsys_assets.serving.published.similar import similar_path
from recsys_assets.settings import Settings
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.support.gateway_calls import GOOD, error, promote_similar, serve


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


# --- the document


def operations(client: TestClient) -> dict[tuple[str, str], dict[str, Any]]:
    paths = client.get("/openapi.json").json()["paths"]
    return {
        (method.upper(), path): operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def test_every_route_is_documented(client: TestClient) -> None:
    found = operations(client)
    assert set(found) == TOKEN_ROUTES | {
        ("POST", "/recommend"),
        ("POST", "/recommend/batch"),
        ("POST", "/ads/ctr"),
        ("GET", "/similar/{item_id}"),
        ("GET", "/popular"),
        ("GET", "/images/{item_id}"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    }
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for (method, path), operation in found.items():
        assert operation["summary"] and operation["description"] and operation["tags"], path
        for status in ("429", "500"):
            assert operation["responses"][status]["content"]["application/json"]["schema"][
                "$ref"
            ].endswith("/ErrorResponse")
        assert (
            ((method, path) in TOKEN_ROUTES)
            == ("security" in operation)
            == ("401" in operation["responses"])
        )
        if method == "POST":
            body = operation["requestBody"]["content"]["application/json"]["schema"]
            forms = body.get("oneOf", body.get("anyOf", [body]))
            assert any(
                schemas[form["$ref"].rpartition("/")[2]].get("examples") for form in forms
            ), path
            assert {"413", "415", "422", "503"} <= set(operation["responses"])
    assert "HTTPValidationError" not in schemas  # errors have one form


def test_the_examples_of_the_document_are_true(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            path = {
                "RecommendRequest": "/recommend",
                "BatchRequest": "/recommend/batch",
                "EventRequest": "/events",
                "ResetRequest": "/reset",
                "AvailabilityRequest": "/availability",
                "AdRequest": "/ads/ctr",
                "AdLabelRequest": "/ads/labels",
            }[name]
            if "item_id" in example:
                example = {**example, "item_id": "a"}
            taken = (503,) if name == "AdRequest" else (200, 202)  # there is no Triton
            assert client.post(path, json=example).status_code in taken, name


# --- request ids, logs, metrics


def test_a_valid_request_id_is_kept_and_any_other_replaced(client: TestClient) -> None:
    for given in ("abc", "A.b_c-9" * 9, "x" * 64):
        answer = client.post("/recommend", json={"user_id": "u"}, headers={"x-request-id": given})
        assert answer.headers["x-request-id"] == given == answer.json()["request_id"]
    for given in ("", "x" * 65, "a b", 'a"b', "ü".encode(), "a/../b"):
        made = client.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"]
        assert len(made) == 32 and made != given


def test_one_line_a_request_and_no_visitor_in_it(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client.post(
        "/recommend", json={"user_id": "somebody-private"}, headers={"x-request-id": "mine"}
    )
    client.get("/similar/private-item")
    client.post("/events", json={"user_id": "somebody-private"})
    lines = [
        json.loads(JsonLines().format(record))
        for record in caplog.records
        if record.name == "recsys.gateway.requests"
    ]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/recommend", 200),
        ("GET", "/similar/{item_id:path}", 503),
        ("POST", "/events", 422),
    ]
    assert lines[0]["request_id"] == "mine" and lines[0]["ms"] >= 0 and lines[0]["release"] is None
    assert lines[0]["degraded"] == ["ranking_unavailable"]
    assert "private" not in "".join(
        JsonLines().format(record) for record in caplog.records if record.name.startswith("recsys")
    )


def test_those_turned_away_are_counted_in_a_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    times = iter([5.0, 5.1, 5.9, 6.0, 6.1])
    turned_away = TurnedAway(clock=lambda: next(times))
    for _ in range(5):
        turned_away.count("/recommend")
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert [(line["message"], line["requests"], line["latest_route"]) for line in lines] == [
        ("turned away", 1, "/recommend"),
        ("turned away", 3, "/recommend"),
    ]


def test_an_unexpected_error_is_logged_with_its_traceback_and_told_without(
    client: TestClient, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (settings.home / "serving" / "images.parquet").write_bytes(b"no Parquet")
    answer = client.get("/images/a", headers={"x-request-id": "mine"})
    assert error(answer) == (500, None, "unexpected error; the log has it under request mine")
    line = next(
        json.loads(JsonLines().format(record))
        for record in caplog.records
        if record.name == "recsys.gateway.requests"
    )
    assert (line["request_id"], line["status"], line["route"]) == (
        "mine",
        500,
        "/images/{item_id:path}",
    )
    record = logging.LogRecord(
        "uvicorn.error", logging.ERROR, "", 0, "Exception in ASGI application", (), None
    )
    try:
        raise ValueError("of the log")
    except ValueError as raised:
        record.exc_info = (ValueError, raised, raised.__traceback__)
    assert "ValueError: of the log" in json.loads(JsonLines().format(record))["exception"]


# --- similar and popular


def test_similar_items_of_a_known_item(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    status, field, message = error(client.get("/similar/a"))
    assert (
        (status, field) == (503, None)
        and "promote a release" in message
        and str(settings.home) not in message
    )
    promote_similar(settings, tmp_path, [[6, 4, 5], [3, -1, -1], [-1, -1, -1], [3, 4, -1]])
    answer = client.get("/similar/a")
    assert ids(answer) == ["d/4", "b", "c"] and answer.json()["items"][0] == {
        "item_id": "d/4",
        "title": "Product d/4",
        "category_l1": "toys",
        "category_l2": "toys-2",
        "price": 9.5,
        "image": "/images/d%2F4",
    }
    assert ids(client.get("/similar/d%2F4")) == ["a", "b"] and ids(client.get("/similar/c")) == []
    client.post("/availability", json={"changes": [{"item_id": "d/4", "status": "out_of_stock"}]})
    assert ids(client.get("/similar/a", params={"top_k": 2})) == ["b", "c"]
    for path in (
        "/similar/zzz",
        "/similar/..%2F..%2Fetc%2Fpasswd",
        "/similar/a%00",
        "/similar/",
        "/similar/%ff",
    ):
        assert error(client.get(path))[:2] == (404, "item_id")
    similar_path(settings).write_bytes(b"no archive")
    assert error(client.get("/similar/a"))[0] == 503


@pytest.mark.parametrize("given", ["0", "31", "x", "1.5", "NaN", ""])
def test_a_bad_top_k_of_a_query_is_named(client: TestClient, given: str) -> None:
    assert error(client.get("/similar/a", params={"top_k": given}))[:2] == (422, "top_k")
    assert error(client.get("/popular", params={"top_k": "1000" if given == "31" else given}))[
        :2
    ] == (422, "top_k")


def test_popular_items_of_all_and_of_a_category(client: TestClient, valkey: Any) -> None:
    store = valkey.client(3)
    store.zadd("popularity:global", {"gone": 9, "d/4": 8, "b": 4, "a": 2, b"\xff": 1})
    store.zadd("popularity:category_l1:books", {"b": 4})
    answer = client.get("/popular")
    assert [(item["item_id"], item["score"]) for item in answer.json()["items"]] == [
        ("d/4", 1),
        ("b", 0.5),
        ("a", 0.25),
        ("c", 0),
    ]
    assert not answer.json()["degraded"]
    assert ids(client.get("/popular", params={"top_k": 1})) == ["d/4"]
    assert ids(client.get("/popular", params={"category": "books"})) == ["b", "a"]
    assert ids(client.get("/popular", params={"category": "toys-2"})) == ["d/4"]
    assert error(client.get("/popular", params={"category": "cars"}))[:2] == (404, "category")


def test_popular_items_are_found_behind_many_that_are_not_shown(
    client: TestClient, valkey: Any
) -> None:
    store = valkey.client(3)
    store.zadd(
        "popularity:global",
        {f"gone-{number}": 1_000 - number for number in range(450)} | {"a": 2, "b": 1},
    )
    assert ids(client.get("/popular", params={"top_k": 2})) == ["a", "b"]


def test_popular_items_without_the_store(settings: Settings) -> None:
    for client in serve(settings.model_copy(update={"valkey_port": free_port()})):
        answer = client.get("/popular")
        assert ids(answer) == ["c", "a", "b", "d/4"] and answer.json()["degraded"]
        assert answer.json()["reasons"] == ["popularity_unavailable", "availability_unavailable"]


# --- hostile bodies


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([{"user_id": "u"}] * 65, "requests"),
        ([1] * 300_000, "requests.0"),
        ([], "requests"),
        ([{"user_id": "u", "top_k": 0}], "requests.0.top_k"),
        ([{"user_id": "u"}, {}], "requests.1.user_id"),
        ({"0": {}}, "requests"),
        (float("nan"), "requests"),
    ],
)
def test_a_bad_batch_names_the_field(client: TestClient, requests: Any, field: str) -> None:
    answer = client.post(
        "/recommend/batch",
        content=json.dumps({"requests": requests}),
        headers={"content-type": "application/json"},
    )
    assert error(answer)[:2] == (422, field)


def test_a_million_ids_are_refused_unread(client: TestClient) -> None:
    million = json.dumps({"requests": [{"user_id": str(number)} for number in range(1_000_000)]})
    answer = client.post(
        "/recommend/batch", content=million, headers={"content-type": "application/json"}
    )
    assert error(answer)[:2] == (413, "body")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""],
)
def test_only_json_is_read(client: TestClient, kind: str) -> None:
    answer = client.post("/events", content=json.dumps(GOOD), headers={"content-type": kind})
    assert error(answer)[:2] == (415, "content-type")


@pytest.mark.parametrize(
    "path",
    [
        "/recommend",
        "/recommend/batch",
        "/events",
        "/reset",
        "/availability",
        "/explain",
        "/ads/ctr",
        "/ads/labels",
    ],
)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'"' + b"\\ud800" + b'"',
        b"[" * 100_000,
        b'{"a": ' * 50_000,
        b"1" * 10_000,
        b"NaN",
        b"null",
    ],
)
def test_no_body_brings_a_route_down(client: TestClient, path: str, content: bytes) -> None:
    answer = client.post(path, content=content, headers={"content-type": "application/json"})
    assert error(answer)[0] == 422
