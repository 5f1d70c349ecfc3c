"""Bodies without end, ids by the million, paths that climb, control calls without the key: refused,
and the processes live on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from tritonclient.utils import InferenceServerException

from recsys_assets_tests.support.stack import PARTS, RELEASE, Stack, faults
from recsys_assets_tests.support.tiny_payload import ITEM_IDS

pytestmark = pytest.mark.services
MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def nothing_died(stack: Stack) -> Iterator[None]:
    pids = {part: stack.process(part).pid for part in PARTS}
    yield
    assert {part: stack.process(part).pid for part in PARTS} == pids
    assert faults(stack.many(8)) == []


def endless(megabytes: int) -> Iterator[bytes]:
    yield b'{"user_id": "'
    for _ in range(megabytes):
        yield b"x" * MEGABYTE
    yield b'"}'


@pytest.mark.parametrize(
    "path", ["/recommend", "/recommend/batch", "/events", "/reset", "/availability", "/explain"]
)
def test_a_body_of_a_hundred_megabytes(stack: Stack, path: str) -> None:
    """It may hang up before all of it was sent; it must not take it."""
    try:
        answer = stack.http.post(
            path, content=endless(100), headers={"content-type": "application/json"}
        )
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return
    assert answer.status_code == 413 and answer.json()["error"]["field"] == "body"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/recommend", {"user_id": ["u"] * 1_000_000}),
        ("/recommend/batch", {"requests": [{"user_id": "u"}] * 1_000_000}),
        ("/events", {"events": [{"user_id": "u", "item_id": ITEM_IDS[0]}] * 1_000_000}),
        ("/availability", {"changes": [{"item_id": "i", "status": "hidden"}] * 1_000_000}),
    ],
)
def test_a_million_ids(stack: Stack, path: str, body: dict) -> None:
    content = json.dumps(body).encode()
    try:
        answer = stack.http.post(
            path, content=content, headers={"content-type": "application/json"}
        )
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return
    assert answer.status_code == 413, answer.text


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/recommend/batch", {"requests": [{"user_id": "u"}] * 20_000}, "requests"),
        ("/events", {"events": [{"user_id": "u", "item_id": ITEM_IDS[0]}] * 10_000}, "events"),
        ("/availability", {"changes": [{"item_id": "i", "status": "hidden"}] * 10_000}, "changes"),
        ("/recommend", {"user_id": "u", "top_k": float("nan")}, "top_k"),
        ("/recommend", {"user_id": "u", "timestamp": float("inf")}, "timestamp"),
        ("/recommend", {"user_id": {"$gt": ""}}, "user_id"),
        ("/reset", {"user_id": 1.5}, "user_id"),
    ],
)
def test_too_many_ids_and_wrong_types_within_the_limit_are_refused_by_the_field(
    stack: Stack, path: str, body: dict, field: str
) -> None:
    answer = stack.http.post(
        path, content=json.dumps(body).encode(), headers={"content-type": "application/json"}
    )
    assert 400 <= answer.status_code < 500 and answer.json()["error"]["field"].split(".")[0] in (
        field,
        "body",
    ), answer.text
    assert "Traceback" not in answer.text and ".py" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/similar/..%2F..%2Fetc%2Fpasswd",
        "/images/..%2f..%2fserving%2fdisplay.json",
        "/page/%2e%2e/app.py",
        "/page/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/images/%00",
        "/similar/%ff%fe",
    ],
)
def test_paths_that_climb(stack: Stack, path: str) -> None:
    answer = stack.http.get(path)
    assert (
        400 <= answer.status_code < 500
        and "root:" not in answer.text
        and "Traceback" not in answer.text
    )


def test_writes_without_the_token(stack: Stack) -> None:
    event, bare = (
        {"user_id": "u", "item_id": ITEM_IDS[0]},
        httpx.Client(base_url=stack.settings.gateway_url, timeout=60),
    )
    for path, body in (
        ("/events", event),
        ("/reset", {"user_id": "u"}),
        ("/explain", {"user_id": "u"}),
        ("/availability", {"changes": [{"item_id": ITEM_IDS[0], "status": "hidden"}]}),
    ):
        assert bare.post(path, json=body).status_code == 401
        assert (
            bare.post(path, json=body, headers={"authorization": "Bearer wrong"}).status_code == 403
        )
    assert bare.post("/recommend", json={"user_id": "u"}).status_code == 200
    bare.close()


def test_control_calls_on_triton_without_the_key(stack: Stack) -> None:
    with stack.triton() as client:
        calls = [
            lambda **more: client.unload_model("fused_model", **more),
            lambda **more: client.load_model("recommender", **more),
            lambda **more: client.get_model_repository_index(**more),
            lambda **more: client.register_system_shared_memory("stolen", "/anything", 64, **more),
            lambda **more: client.update_log_settings({"log_verbose_level": 9}, **more),
        ]
        for call in calls:
            for headers in ({}, {name: "wrong" for name in stack.control}):
                with pytest.raises(InferenceServerException) as caught:
                    call(headers=headers, client_timeout=60)
                assert (
                    "Unavailable" in str(caught.value) or "restricted" in str(caught.value).lower()
                ), caught.value
        assert client.get_model_repository_index(headers=stack.control).models
    url = f"http://127.0.0.1:{stack.settings.triton_http_port}/v2/repository"
    for path in ("models/fused_model/unload", "models/recommender/load", "index"):
        assert httpx.post(f"{url}/{path}", timeout=60).status_code >= 400
    assert stack.normal("user-1").body["release"]["ranker"] == RELEASE


def test_triton_s_own_entrance_refuses_nonsense_and_lives(stack: Stack) -> None:
    url = f"http://127.0.0.1:{stack.settings.triton_http_port}/v2/models/recommender/infer"

    def infer(**inputs: tuple[str, list]) -> httpx.Response:
        return httpx.post(
            url,
            timeout=120,
            json={
                "inputs": [
                    {"name": name, "datatype": kind, "shape": [len(values)], "data": values}
                    for name, (kind, values) in inputs.items()
                ]
            },
        )

    for given in (
        {"user_id": ("BYTES", ["u"]), "timestamp": ("INT64", [-5])},
        {"user_id": ("BYTES", [])},
        {"user_id": ("BYTES", ["u"] * 257)},
        {"user_id": ("BYTES", ["u"] * 1_000_000)},
        {"user_id": ("INT64", [1])},
        {"user_id": ("BYTES", ["u"]), "top_k": ("INT32", [0])},
        {"item_id": ("BYTES", ["u"])},
        {"user_id": ("BYTES", ["../../etc/passwd"]), "seed": ("INT64", [-7])},
    ):
        answer = infer(**given)
        assert answer.status_code >= 400 and "Traceback" not in answer.text, (
            given.keys(),
            answer.status_code,
        )
