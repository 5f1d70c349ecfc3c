"""A reset through the event consumer, on a real Valkey and Feast: in its place among the events,
exactly once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.apply import apply_features
from recsys_assets.lib.feature_store.recent_clicks import Click
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.serving.events import consumer as module
from recsys_assets.serving.events.consumer import Consumer
from recsys_assets.serving.events.events import (
    GROUP,
    STREAM,
    Event,
    Reset,
    enqueue,
    enqueue_all,
    reset_fields,
)
from recsys_assets.serving.stages.user_lookup import FeastUserLookup
from recsys_assets.serving.stores.online_features import OnlineFeatures
from recsys_assets.settings import Settings
from recsys_assets_tests.support.feast_rows import DAY, landed, materialise, recent_clicks, rows
from recsys_assets_tests.support.small_shop import ITEMS, promote, shop_settings

pytestmark = pytest.mark.services
NOW = int(time.time())
WEEK = [
    Click("toys", "d/4", NOW - 5 * DAY),
    Click("books", "a", NOW - 2 * DAY),
    Click("tools", "c", NOW - 2 * DAY),
]


@pytest.fixture
def settings(tmp_path: Path, valkey: Any) -> Settings:
    made = shop_settings(tmp_path, valkey)
    promote(made)
    apply_features(open_store(made), made)
    return made


@pytest.fixture
def consumer(settings: Settings) -> Callable[[], Consumer]:
    return lambda: Consumer(settings, "consumer-0", threading.Event())


def served(settings: Settings, user_id: str) -> list[str]:
    """Categories of the clicks that an answer knows of; their items are the shop's of each."""
    stage = FeastUserLookup(OnlineFeatures.open(settings, 2_000), 40.0, look_back_days=7)
    found = stage.run(
        {"visitor_id": np.array([user_id], object), "context_timestamp": np.array([NOW + 600])}
    )
    assert found["user_degraded"].tolist() == [0]
    categories = found["user_history_raw"].tolist()
    assert [ITEMS[item] for item in found["user_items_raw"].tolist()] == categories
    return categories


def test_a_reset_visitor_is_as_one_without_clicks(
    settings: Settings, valkey: Any, consumer: Callable[[], Consumer]
) -> None:
    """In its place among the events: what came before no longer counts, what comes after does."""
    materialise(settings, _5=WEEK)
    one, client, feast = consumer(), valkey.client(1), valkey.client(0)
    one.recover()
    before = [
        Event(event_id=f"b{n}", user_id="5", item_id=item, timestamp=NOW - 60 + n)
        for n, item in enumerate(("a", "c", "c"))
    ]
    enqueue_all(client, [*before, Event(event_id="z", user_id="6", item_id="a", timestamp=NOW)])
    one.step()
    assert served(settings, "5") == [click.category for click in WEEK] + ["books", "tools", "tools"]
    client.xadd(STREAM, reset_fields("5", "r1"))
    one.step()
    assert (
        recent_clicks(settings, "5") in ([], None)
        and served(settings, "5") == []
        and served(settings, "6") == ["books"]
    )
    assert (
        client.keys("seen:5:*")
        == client.keys("views:5")
        == client.keys("recent:5")
        == client.keys("updates:5")
        == []
    )
    # the offline tables of that time do not bring it back, nor does the same event once more
    again = rows(feast)
    materialise(settings, _5=[*WEEK, Click("toys", "d/4", WEEK[-1].at + 1)])
    enqueue_all(client, before)
    client.xadd(STREAM, reset_fields("5", "r1"))
    one.step()
    assert served(settings, "5") == [] and {
        key: row for key, row in rows(feast).items() if b"item_id" not in key
    } == {key: row for key, row in again.items() if b"item_id" not in key}
    # clicks go on, in one batch with the next reset too, and by a clock that lags behind
    enqueue(client, Event(event_id="a1", user_id="5", item_id="d/4", timestamp=NOW - 30))
    one.step()
    assert served(settings, "5") == ["toys"]
    enqueue(client, Event(event_id="a2", user_id="5", item_id="a", timestamp=NOW))
    client.xadd(STREAM, reset_fields("5", "r2"))
    enqueue(client, Event(event_id="a3", user_id="5", item_id="c", timestamp=NOW - 10))
    one.step()
    assert served(settings, "5") == ["tools"]
    one.land()
    assert client.xpending(STREAM, GROUP)["pending"] == 0
    assert sorted(landed(settings)["event_id"])[:3] == [
        "a1",
        "a2",
        "a3",
    ]  # what happened is still what is learned from


@pytest.mark.parametrize("pushed", [False, True])
def test_a_crash_within_a_reset_is_made_good(
    settings: Settings,
    valkey: Any,
    consumer: Callable[[], Consumer],
    pushed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the visitor's state, or after Feast and before the acknowledgement."""
    client = valkey.client(1)
    crashed = consumer()
    crashed.recover()
    enqueue(client, Event(event_id="e", user_id="5", item_id="a", timestamp=NOW - 60))
    crashed.step()
    crashed.land()
    client.xadd(STREAM, reset_fields("5", "r"))
    enqueue(client, Event(event_id="after", user_id="5", item_id="c", timestamp=NOW))
    push = module.push_merged

    def crash(*arguments: Any) -> None:
        if pushed:
            push(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "push_merged", crash)
    with pytest.raises(KeyboardInterrupt):
        crashed.step()
    monkeypatch.undo()
    assert client.xpending(STREAM, GROUP)["pending"] == 2
    assert served(settings, "5") == ([] if pushed else ["books"])
    for _ in range(2):
        consumer().recover()
        assert served(settings, "5") == ["tools"] and client.xpending(STREAM, GROUP)["pending"] == 0


def test_a_reset_delivered_again_forgets_nothing_new(
    settings: Settings, valkey: Any, consumer: Callable[[], Consumer]
) -> None:
    client = valkey.client(1)
    one = consumer()
    one.recover()
    stream_id = client.xadd(STREAM, reset_fields("5", "r")).decode()
    enqueue(client, Event(event_id="after", user_id="5", item_id="c", timestamp=NOW))
    one.step()
    one._apply_reset(stream_id, Reset(user_id="5", event_id="r"), time.time())
    assert served(settings, "5") == ["tools"] and client.exists("views:5")
