"""The gateway over real ASGI and a real Valkey, with no Triton behind it: degraded answers, bad
questions, images, page.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys_assets.files import write_json
from recsys_assets.serving.gateway.images import images_path
from recsys_assets.serving.published.display import display_path
from recsys_assets.settings import Settings
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.support.gateway_calls import GOOD, error, serve
from recsys_assets_tests.support.small_shop import png, promote, shop_settings

# --- recommendations


def test_without_triton_popular_items_stand_in(client: TestClient, valkey: Any) -> None:
    valkey.client(3).zadd("popularity:global", {"b": 20, "gone": 15, "a": 10})
    answer = client.post("/recommend", json={"user_id": 17, "top_k": 3})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["user_id"], body["release"], body["degraded"], body["reasons"]) == (
        "17",
        None,
        True,
        ["ranking_unavailable"],
    )
    # an item that left the catalogue is never answered; the promoted one fills up
    assert [(item["item_id"], item["score"]) for item in body["items"]] == [
        ("b", 1.0),
        ("a", 0.5),
        ("c", 0.0),
    ]
    assert body["items"][0] == {
        "item_id": "b",
        "score": 1.0,
        "title": "Product b",
        "category_l1": "books",
        "category_l2": "books-2",
        "price": 9.5,
        "image": "/images/b",
    }
    assert body["request_id"] == answer.headers["x-request-id"]


def test_a_price_that_the_shop_did_not_give_is_null(client: TestClient, settings: Settings) -> None:
    path = display_path(settings)
    display = json.loads(path.read_text())
    display["items"]["c"]["price"] = None
    write_json(path, display)
    prices = {
        item["item_id"]: item["price"]
        for item in client.post("/recommend", json={"user_id": "u"}).json()["items"]
    }
    assert prices == {"a": 9.5, "b": 9.5, "c": None, "d/4": 9.5}
    fields = client.get("/openapi.json").json()["components"]["schemas"]["Item"]["properties"]
    assert fields["price"]["anyOf"] == [{"type": "number"}, {"type": "null"}]


def test_without_any_store_the_catalogue_stands_in(settings: Settings) -> None:
    for client in serve(settings.model_copy(update={"valkey_port": free_port()})):
        body = client.post("/recommend", json={"user_id": "u"}).json()
        assert body["reasons"] == [
            "ranking_unavailable",
            "popularity_unavailable",
            "availability_unavailable",
        ]
        assert [item["item_id"] for item in body["items"]] == ["c", "a", "b", "d/4"]
        assert body["items"][3]["image"] == "/images/d%2F4"
        assert error(client.post("/events", json={"user_id": "u", "item_id": "a"}))[0] == 503


def test_a_wrong_type_in_the_store_is_survived(client: TestClient, valkey: Any) -> None:
    valkey.client(3).set("popularity:global", "not a sorted set")
    assert (
        client.post("/recommend", json={"user_id": "u"}).json()["reasons"][1]
        == "popularity_unavailable"
    )


def test_where_nothing_is_known_it_says_so(tmp_path: Path, valkey: Any) -> None:
    for client in serve(shop_settings(tmp_path / "new", valkey, triton_grpc_port=free_port())):
        status, field, message = error(client.post("/recommend", json={"user_id": "u"}))
        assert (status, field) == (503, None) and "promote a release" in message
        status, _, message = error(client.post("/events", json={"user_id": "u", "item_id": "a"}))
        assert status == 503 and "no release was promoted" in message


def test_a_promotion_is_seen_without_a_restart(client: TestClient, settings: Settings) -> None:
    assert client.get("/readyz").json()["release"] == 1
    promote(settings, release=2)
    assert client.get("/readyz").json()["release"] == 2


RECOMMEND_ERRORS = [
    ({}, "user_id", "is required"),
    ({"user_id": ""}, "user_id", "1 to 128"),
    ({"user_id": "x" * 129}, "user_id", "1 to 128"),
    ({"user_id": None}, "user_id", "1 to 128"),
    ({"user_id": True}, "user_id", "1 to 128"),
    ({"user_id": 1.5}, "user_id", "1 to 128"),
    ({"user_id": ["u"]}, "user_id", "1 to 128"),
    ({"user_id": "a\u0000b"}, "user_id", "control characters"),
    ({"user_id": "u", "device_type": "watch"}, "device_type", "'mobile', 'desktop' or 'tablet'"),
    ({"user_id": "u", "device_type": 1}, "device_type", "'mobile'"),
    ({"user_id": "u", "timestamp": -5}, "timestamp", "unix seconds"),
    ({"user_id": "u", "timestamp": 1_790_000_000_000}, "timestamp", "unix seconds"),
    ({"user_id": "u", "timestamp": "now"}, "timestamp", "unix seconds"),
    ({"user_id": "u", "timestamp": float("nan")}, "timestamp", "unix seconds"),
    ({"user_id": "u", "timestamp": float("inf")}, "timestamp", "unix seconds"),
    ({"user_id": "u", "top_k": 0}, "top_k", "greater than or equal to 1"),
    ({"user_id": "u", "top_k": 101}, "top_k", "less than or equal to 100"),
    ({"user_id": "u", "top_k": "10"}, "top_k", "whole number"),
    ({"user_id": "u", "top_k": float("nan")}, "top_k", "whole number"),
    ({"user_id": "u", "seed": -1}, "seed", "greater than or equal to 0"),
    ({"user_id": "u", "seed": 2**63}, "seed", "less than or equal to"),
    ({"user_id": "u", "seed": 1.0}, "seed", "whole number"),
    ({"user_id": "u", "topk": 5}, "topk", "is not a field"),
    ([], "body", "object"),
    ("text", "body", "object"),
]


@pytest.mark.parametrize(("body", "field", "message"), RECOMMEND_ERRORS)
def test_bad_questions_name_the_field(
    client: TestClient, body: Any, field: str, message: str
) -> None:
    status, named, said = error(
        client.post(
            "/recommend", content=json.dumps(body), headers={"content-type": "application/json"}
        )
    )
    assert (status, named) == (422, field) and message in said


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"",
        b"\xff\xfe",
        b'{"user_id": ' + b"1" * 5_000 + b"}",
        b'{"user_id": "\\ud800"}',
        b"[" * 100_000,
    ],
)
def test_broken_bodies_are_the_clients_fault(client: TestClient, content: bytes) -> None:
    answer = client.post(
        "/recommend", content=content, headers={"content-type": "application/json"}
    )
    assert error(answer)[0] in (400, 422)
    assert client.get("/healthz").status_code == 200


# --- limits, images, page


@pytest.mark.parametrize("streamed", [False, True])
def test_a_body_over_the_limit_is_refused(client: TestClient, streamed: bool) -> None:
    whole = b'{"user_id": "' + b"x" * (1 << 20) + b'"}'
    parts = (whole[n : n + 65_536] for n in range(0, len(whole), 65_536))
    answer = client.post(
        "/recommend",
        content=parts if streamed else whole,
        headers={"content-type": "application/json"},
    )
    assert error(answer)[:2] == (413, "body")
    assert client.get("/healthz").json() == {"status": "ok"}


def test_images_of_known_items_only(client: TestClient) -> None:
    for path in ("/images/a", "/images/d%2F4"):
        answer = client.get(path)
        assert (answer.content, answer.headers["content-type"]) == (png(), "image/png")
    for path in (
        "/images/b",
        "/images/zzz",
        "/images/a.png",
        "/images/..%2F..%2Fdisplay.json",
        "/page/../app.py",
        "/page/%2e%2e/app.py",
    ):
        assert error(client.get(path))[0] == 404


def test_no_traceback_leaves(client: TestClient, settings: Settings) -> None:
    images_path(settings).write_bytes(b"no Parquet")
    answer = client.get("/images/a")
    status, field, message = error(answer)
    assert (status, field) == (500, None) and answer.headers["x-request-id"] in message
    assert "Traceback" not in answer.text and "parquet" not in answer.text.lower()
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_broken_display_file_names_no_path(client: TestClient, settings: Settings) -> None:
    (settings.home / "serving" / "display.json").write_text("{")
    answer = client.post("/events", json=GOOD)
    assert answer.status_code == 503 and str(settings.home) not in answer.text


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert (
        page.status_code == 200 and "default-src 'none'" in page.headers["content-security-policy"]
    )
    texts = [page.text]
    for name in ("style.css", "page.js"):
        assert f"/page/{name}" in page.text
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
        texts.append(answer.text)
    assert not any(
        word in text
        for text in texts
        for word in ("http://", "https://", "//cdn", "onclick=", "style=", "USD")
    )


def test_readiness_and_metrics(client: TestClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "triton": False,
        "release": 1,
        "rung": "full",
        "learnt_to": None,
        "valkey": True,
    }
    client.post("/recommend", json={"user_id": "u"})
    client.post("/recommend", json={})
    client.get("/invented/by/a/client")
    text = client.get("/metrics").text
    assert 'gateway_requests_total{route="/recommend",status="200"} 1.0' in text
    assert 'gateway_requests_total{route="/recommend",status="422"} 1.0' in text
    assert 'gateway_request_seconds_count{route="/recommend"} 2.0' in text
    assert 'gateway_degraded_total{reason="ranking_unavailable"} 1.0' in text
    assert "invented" not in text
    assert error(client.get("/recommend"))[0] == 405
