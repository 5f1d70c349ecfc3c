"""Test the form of the log of answers in its stream, and who is sampled."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from recsys_assets.serving.events.log_stream import pack
from recsys_assets.serving.events.served_log import SERVED, ServedAnswer, is_sampled


def answer(**changed: Any) -> dict[str, Any]:
    return {
        "answer_id": "ab-1",
        "request_id": "r",
        "user_id": "u",
        "at": 1_790_000_000,
        "top_k": 2,
        "item_ids": ["a", "d/4"],
        "scores": [0.5, 0.25],
        **changed,
    }


def read(**items: list[float]) -> dict[str, Any]:
    return {"at": 5, "visitor": {"age": None}, "items": items, "sources": [["ials"], []]}


def test_what_is_packed_is_unpacked() -> None:
    given = [
        answer(features=read(price=[1.5, 2.5])),
        answer(user_id="ü 😀 \\n"),
        answer(user_id="v", release=3, query_release=2, reasons=["x"], item_ids=[], scores=[]),
    ]
    found = SERVED.unpack({SERVED.field: pack(given)})
    assert found == [ServedAnswer(**one) for one in given]
    assert found[1].device_type == "-1" and found[1].release is None and found[1].reasons == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {SERVED.field: b"no zlib"},
        {SERVED.field: pack([answer()])[:-5]},
        {SERVED.field: zlib.compress(b"no json")},
        {SERVED.field: zlib.compress(b" " * (17 << 20))},
        {SERVED.field: pack([answer(scores=[0.5])])},
        {SERVED.field: pack([answer(more=1)])},
        {SERVED.field: pack([answer(features=read(prices=[1.0]))])},
        {SERVED.field: pack([answer(features={**read(prices=[1.0, 2.0]), "sources": []})])},
        {SERVED.field: pack([answer()]), b"more": b""},
    ],
)
def test_another_form_is_refused(fields: dict[bytes, bytes]) -> None:
    with pytest.raises(ValueError):
        SERVED.unpack(fields)


def test_the_share_is_of_visitors() -> None:
    users = [f"user-{n}" for n in range(4_000)]
    taken = {user for user in users if is_sampled(user, "r", 0.25)}
    assert 0.22 < len(taken) / len(users) < 0.28
    assert taken == {user for user in users if is_sampled(user, "other", 0.25)}
    assert taken < {user for user in users if is_sampled(user, "r", 0.5)}, (
        "a larger share keeps them"
    )
    unknown = sum(is_sampled("-1", f"request-{n}", 0.25) for n in range(4_000))
    assert 0.22 < unknown / 4_000 < 0.28
