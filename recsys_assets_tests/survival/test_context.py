"""A clock that is wrong, no device, nobody known: what the models read then is what they read in
training.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets.columns import (
    CONTEXT_CATEGORICAL,
    CONTEXT_CONTINUOUS,
    DEVICE_TYPE,
    MISSING,
    TIMESTAMP,
    USER_CATEGORICAL,
    USER_CONTINUOUS,
)
from recsys_assets.lib.features.batch_transform import BatchTransform
from recsys_assets.lib.features.point_in_time import UNKNOWN_VISITOR
from recsys_assets_tests.support.stack import Stack, eventually, faults
from recsys_assets_tests.support.tiny_payload import ITEM_IDS, items, transforms

pytestmark = pytest.mark.services
DAY = 86_400


def in_training(timestamp: int, device: str = MISSING) -> dict[str, list[float]]:
    """What the batch transform makes of a row whose visitor was masked, as the models are trained
    on.
    """
    item_id = ITEM_IDS[0]
    row = {
        **UNKNOWN_VISITOR,
        "item_id": item_id,
        **items()[item_id],
        TIMESTAMP: timestamp,
        DEVICE_TYPE: device,
    }
    made = (
        BatchTransform(transforms())
        .transform_frame(pl.DataFrame([row], schema_overrides={"age": pl.Float32}))
        .row(0, named=True)
    )
    return {
        "user_cat": [made[name] for name in USER_CATEGORICAL],
        "user_cont": [made[name] for name in USER_CONTINUOUS],
        "context_cat": [made[name] for name in CONTEXT_CATEGORICAL],
        "context_cont": [made[name] for name in CONTEXT_CONTINUOUS],
    }


def served(trace: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {
        name: trace[name][0].tolist()
        for name in ("user_cat", "user_cont", "context_cat", "context_cont")
    }


@pytest.mark.parametrize("device", [None, "", MISSING, "fridge"])
@pytest.mark.parametrize("user_id", ["nobody", MISSING])
def test_an_unknown_visitor_on_an_unknown_device_is_a_masked_row(
    stack: Stack, user_id: str, device: str | None
) -> None:
    trace = stack.trace(
        user_id, timestamp=1_760_000_000, **({} if device is None else {"device_type": device})
    )
    assert served(trace) == in_training(1_760_000_000)
    assert not any(trace[name].any() for name in ("user_history", "user_items", "user_ages"))


@pytest.mark.parametrize(
    "timestamp",
    [0, 946_684_800, 4_102_444_799, 1_760_000_000 - 365 * DAY, 1_760_000_000 + 365 * DAY],
)
def test_a_moment_long_ago_or_far_ahead_is_read_as_in_training(
    stack: Stack, timestamp: int
) -> None:
    assert served(stack.trace("nobody", timestamp=timestamp, device_type="mobile")) == in_training(
        timestamp, "mobile"
    )


def test_no_moment_is_the_server_s(stack: Stack) -> None:
    for given in ({}, {"timestamp": -1}):
        before = int(time.time())
        trace = stack.trace("nobody", **given)
        assert before <= trace["context_timestamp"][0] <= time.time()
        assert served(trace) == in_training(int(trace["context_timestamp"][0]))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"timestamp": int(time.time()) + 10 * DAY},
        {"timestamp": int(time.time()) - 10 * DAY},
        {"timestamp": None, "device_type": None},
        {"timestamp": 946_684_800},
        {"timestamp": 4_102_444_799},
    ],
)
def test_every_clock_gets_a_full_list(stack: Stack, more: dict[str, Any]) -> None:
    stack.see("traveller", ITEM_IDS[:3])
    asked = stack.normal("traveller", **more)
    assert faults([asked]) == []
    # seen counts by the server's clock: no client's can bring back what was seen, or lose it
    assert not set(asked.ids) & set(ITEM_IDS[:3])


def test_clicks_after_the_moment_that_is_asked_about_do_not_count(stack: Stack) -> None:
    now = int(time.time())
    answer = stack.http.post(
        "/events",
        json={
            "events": [
                {"user_id": "hopper", "item_id": ITEM_IDS[n], "timestamp": now - age}
                for n, age in enumerate((2 * DAY + 60, 3_600, 60))
            ]
        },
    )
    stack.applied(answer.json()["event_ids"])
    eventually(
        lambda: stack.trace("hopper", timestamp=now)["user_numbers"][0, 3] == 3,
        "the clicks reach the features",
    )
    clicks = {
        moment: stack.trace("hopper", timestamp=moment)["user_numbers"][0, 1:].tolist()
        for moment in (now - 3 * DAY, now - DAY, now - 1_800, now)
    }
    assert [found[2] for found in clicks.values()] == [0, 1, 2, 3]  # of seven days
    assert [found[0] for found in clicks.values()] == [0, 0, 1, 2]  # of 24 hours
    assert clicks[now - 3 * DAY] == [0, 24, 0]


def test_events_of_another_clock_are_refused_by_name(stack: Stack) -> None:
    for skew in (3_600, -40 * DAY):
        answer = stack.http.post(
            "/events",
            json={"user_id": "u", "item_id": ITEM_IDS[0], "timestamp": int(time.time()) + skew},
        )
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, "timestamp")
