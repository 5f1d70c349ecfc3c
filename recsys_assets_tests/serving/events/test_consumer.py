"""The event consumer as a real process on a real Valkey and Feast: killed, restarted, cut off from
its store.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis

from feature_repo.apply import apply_features
from recsys_assets.columns import ARRIVED_INTERACTIONS
from recsys_assets.lib.feature_store.popular_now import period_key
from recsys_assets.lib.feature_store.recent_clicks import Click
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.lib.feature_store.views import FeatureStoreError
from recsys_assets.lib.sources.forward_decay import HALF_LIVES, period_of
from recsys_assets.local_time import UTC
from recsys_assets.serving.events.consumer import Consumer
from recsys_assets.serving.events.events import GROUP, REJECTED, STREAM, Event, enqueue, enqueue_all
from recsys_assets.serving.events.visitor_state import VisitorState
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.support.feast_rows import DAY, landed, materialise, recent_clicks, rows
from recsys_assets_tests.support.small_shop import ITEMS, promote, shop_settings

pytestmark = pytest.mark.services

NOW = int(time.time())
LAST_WEEK = NOW - 7 * 86_400 - 7_200  # out of the seven days, and of another day than now


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.05)


@pytest.fixture
def settings(tmp_path: Path, valkey: Any) -> Settings:
    made = shop_settings(tmp_path, valkey)
    promote(made)
    apply_features(open_store(made), made)
    return made


class Processes:
    """Starts consumer processes and leaves none behind."""

    def __init__(self, settings: Settings):
        self._settings, self._all = settings, []
        self.log = settings.home / "consumer.log"

    def start(self) -> subprocess.Popen:
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "recsys_assets.serving.events.consumer"],
                cwd=PROJECT_ROOT,
                env={**os.environ, **self._settings.environment()},
                stdout=log,
                stderr=log,
            )
        self._all.append(process)
        return process

    def end(self, process: subprocess.Popen) -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, self.log.read_text()

    def kill_all(self) -> None:
        for process in self._all:
            process.kill()
            process.wait()


@pytest.fixture
def processes(settings: Settings) -> Iterator[Processes]:
    made = Processes(settings)
    yield made
    made.kill_all()


def make_events(count: int, prefix: str = "e") -> list[Event]:
    """Of three visitors, on two days, one in four an Impression."""
    items, kinds = ("a", "b", "c", "d/4"), ("View", "Purchase", "View", "Impression")
    return [
        Event(
            event_id=f"{prefix}{n}",
            user_id=str(n % 3),
            item_id=items[n % 4],
            event_type=kinds[n // 3 % 4],
            timestamp=(LAST_WEEK if n % 5 == 0 else NOW - 600) + n,
            device_type="mobile",
        )
        for n in range(count)
    ]


def test_killed_in_the_middle_it_loses_nothing_and_doubles_nothing(
    settings: Settings, processes: Processes, valkey: Any
) -> None:
    client, events = valkey.client(1), make_events(900)
    enqueue_all(client, events)
    first = processes.start()
    wait_for(lambda: client.exists("event:e250"), "the first entries are applied")
    first.kill()
    first.wait()
    unacknowledged = client.xpending(STREAM, GROUP)["pending"]

    enqueue_all(client, events[200:300])  # the same events once more, as new entries
    enqueue_all(client, make_events(20, "later"))
    second = processes.start()
    wait_for(lambda: client.exists("event:later19"), "everything is applied")
    wait_for(lambda: client.xpending(STREAM, GROUP)["pending"] == 0, "everything is landed")
    processes.end(second)

    expected = events + make_events(20, "later")
    rows = landed(settings)
    assert rows["event_id"].sort().to_list() == sorted(event.event_id for event in expected)
    assert unacknowledged > 0
    by_id = {event.event_id: event for event in expected}
    for row in rows.iter_rows(named=True):
        event = by_id[row["event_id"]]
        assert (
            row["user_id"],
            row["item_id"],
            row["timestamp"],
            row["event_type"],
            row["click"],
        ) == (
            event.user_id,
            event.item_id,
            event.timestamp,
            event.event_type,
            int(event.event_type != "Impression"),
        )
        assert (
            row["day"]
            == datetime.fromtimestamp(event.timestamp, tz=timezone.utc).date().isoformat()
        )
    once = valkey.client(9)  # each event once, in one go
    state = VisitorState(once, settings.kept_seen_days, UTC, settings.look_back_days)
    state.apply([(f"{n}-1", one, ITEMS[one.item_id]) for n, one in enumerate(expected)], NOW)
    for half_life in HALF_LIVES:
        key = period_key(half_life, period_of(NOW, half_life))
        counted = dict(client.zrange(key, 0, -1, withscores=True))
        assert counted == pytest.approx(dict(once.zrange(key, 0, -1, withscores=True)))
        assert set(counted) == {b"a", b"b", b"c", b"d/4"}
    live = [
        event for event in expected if event.user_id == "1" and event.event_type != "Impression"
    ]
    assert client.zcard("views:1") == sum(event.timestamp >= NOW - 600 for event in live)
    assert int(client.get("updates:1")) == len(live)
    recent = sorted(
        (event.timestamp, event.event_id) for event in live if event.timestamp >= NOW - 600
    )
    items = [(at, by_id[event_id].item_id) for at, event_id in recent]
    assert recent_clicks(settings, "1") == sorted(
        (Click(ITEMS[item], item, at) for at, item in items),
        key=lambda click: (click.at, click.category, click.item),
    )


def test_it_waits_for_valkey_and_on_sigterm_lands_what_it_read(
    settings: Settings, processes: Processes, valkey: Any
) -> None:
    process = processes.start()
    enqueue(valkey.client(1), Event(event_id="before", user_id="9", item_id="a"))
    wait_for(lambda: valkey.client(1).exists("event:before"), "the event is applied")
    valkey.kill()
    wait_for(lambda: "is not available" in processes.log.read_text(), "the outage is noticed")
    time.sleep(1)  # several attempts fail meanwhile
    valkey.start()
    enqueue_all(
        valkey.client(1),
        [
            Event(event_id="after", user_id="9", item_id="c"),
            Event(event_id="last", user_id="9", item_id="c"),
        ],
    )
    wait_for(lambda: valkey.client(1).exists("event:last"), "consuming goes on")
    processes.end(process)  # sooner than the next landing is due

    rows = landed(settings)
    assert sorted(rows["event_id"]) == ["after", "before", "last"] and set(rows["device_type"]) == {
        "-1"
    }
    assert rows.drop("day").schema == {
        name: getattr(pl, dtype) for name, dtype in ARRIVED_INTERACTIONS.items()
    }
    assert (rows["arrived"] - rows["timestamp"]).is_between(0, 5).all()
    assert valkey.client(1).xpending(STREAM, GROUP)["pending"] == 0
    assert [click[:2] for click in recent_clicks(settings, "9")] == [
        ("books", "a"),
        ("tools", "c"),
        ("tools", "c"),
    ]
    log = processes.log.read_text()
    assert (
        log.count("is not available") == 1
        and log.count("answers again") == 1
        and "Traceback" not in log
    )


@pytest.fixture
def consumer(settings: Settings) -> Callable[[], Consumer]:
    return lambda: Consumer(settings, "consumer-0", threading.Event())


def test_a_crash_between_file_and_acknowledgement_rewrites_the_same_file(
    settings: Settings, valkey: Any, consumer: Callable[[], Consumer]
) -> None:
    client = valkey.client(1)
    enqueue_all(client, make_events(12))
    crashed = consumer()
    crashed.recover()
    crashed.step()
    crashed._buffer.write()  # the files are there, the entries are not acknowledged
    before = {file: file.read_bytes() for file in Path(settings.landing).rglob("*.parquet")}
    assert len(before) >= 2 and client.xpending(STREAM, GROUP)["pending"] == 12
    consumer().recover()
    assert {
        file: file.read_bytes() for file in Path(settings.landing).rglob("*") if file.is_file()
    } == before
    assert client.xpending(STREAM, GROUP)["pending"] == 0


def test_a_crash_before_feast_is_made_good(
    settings: Settings, valkey: Any, consumer: Callable[[], Consumer]
) -> None:
    crashed = consumer()
    crashed.recover()
    event = Event(event_id="e", user_id="5", item_id="a")
    stream_id = enqueue(valkey.client(1), event)
    # delivered, and the visitor's state is changed: there it ends, before Feast
    crashed._group.read(">")
    crashed._state.apply([(stream_id, event, "books")], time.time())
    assert recent_clicks(settings, "5") is None
    consumer().recover()
    assert recent_clicks(settings, "5") == [("books", "a", event.timestamp)]


def test_an_event_delivered_twice_changes_nothing_online(
    settings: Settings, valkey: Any, consumer: Callable[[], Consumer]
) -> None:
    one, feast = consumer(), valkey.client(0)
    one.recover()
    events = [
        Event(event_id=f"e{n}", user_id="5", item_id=item, timestamp=NOW - 60 + n)
        for n, item in enumerate(("a", "c", "d/4"))
    ]
    enqueue_all(valkey.client(1), events)
    one.step()
    before = rows(feast)
    assert recent_clicks(settings, "5") == [
        ("books", "a", NOW - 60),
        ("tools", "c", NOW - 59),
        ("toys", "d/4", NOW - 58),
    ]
    enqueue_all(valkey.client(1), events)
    one.step()
    assert rows(feast) == before
    enqueue(
        valkey.client(1),
        Event(user_id="5", item_id="b", timestamp=NOW - 90, event_type="Impression"),
    )
    enqueue(
        valkey.client(1), Event(user_id="5", item_id="b", timestamp=NOW - 90)
    )  # late, but of the seven days
    one.step()
    assert (
        recent_clicks(settings, "5")[0] == ("books", "b", NOW - 90)
        and len(recent_clicks(settings, "5")) == 4
    )


#: A week of a visitor in the offline tables, its last two clicks within one second.
WEEK = [
    Click("toys", "d/4", NOW - 7 * DAY + 3_600),
    Click("tools", "c", NOW - 5 * DAY),
    Click("books", "b", NOW - 3 * DAY),
    Click("books", "a", NOW - 2 * DAY),
    Click("tools", "c", NOW - 2 * DAY),
    Click("tools", "c", NOW - 2 * DAY),
]


def test_a_materialised_week_outlives_a_live_click(
    settings: Settings, valkey: Any, consumer: Callable[[], Consumer]
) -> None:
    materialise(settings, _5=WEEK)
    assert recent_clicks(settings, "5") == WEEK
    one, client, feast = consumer(), valkey.client(1), valkey.client(0)
    one.recover()
    first = Event(event_id="first", user_id="5", item_id="c", timestamp=NOW - 60)
    enqueue_all(
        client, [first, Event(event_id="other", user_id="6", item_id="a", timestamp=NOW - 50)]
    )
    one.step()
    assert recent_clicks(settings, "5") == [*WEEK, ("tools", "c", NOW - 60)]
    assert recent_clicks(settings, "6") == [("books", "a", NOW - 50)]
    # delivered again, sent again, and read again after a crash: nothing changes
    before = rows(feast)
    enqueue(client, first)
    one.step()
    consumer().recover()
    assert rows(feast) == before
    # two clicks of one second on one category are two; so are they where the offline tables learn
    # of them too
    enqueue_all(
        client,
        [
            Event(event_id="second", user_id="5", item_id="c", timestamp=NOW - 60),
            Event(event_id="late", user_id="5", item_id="a", timestamp=NOW - 3 * DAY + 5),
        ],
    )
    one.step()
    after = sorted(
        [
            *WEEK,
            Click("tools", "c", NOW - 60),
            Click("tools", "c", NOW - 60),
            Click("books", "a", NOW - 3 * DAY + 5),
        ],
        key=lambda click: click.at,
    )
    assert recent_clicks(settings, "5") == after
    materialise(settings, _5=after)  # not newer than the live row
    enqueue(client, Event(event_id="third", user_id="5", item_id="a", timestamp=NOW - 40))
    one.step()
    assert recent_clicks(settings, "5") == [*after, ("books", "a", NOW - 40)]


def test_what_is_older_than_seven_days_is_not_pushed_again(
    settings: Settings, valkey: Any, consumer: Callable[[], Consumer]
) -> None:
    old = Click("toys", "d/4", NOW - 7 * 86_400 - 1)
    materialise(settings, _5=[old, *WEEK])
    assert recent_clicks(settings, "5")[0] == old  # whoever reads it drops it
    one = consumer()
    one.recover()
    enqueue(valkey.client(1), Event(event_id="e", user_id="5", item_id="a", timestamp=NOW))
    one.step()
    assert recent_clicks(settings, "5") == [*WEEK, ("books", "a", NOW)]


@pytest.mark.parametrize("look_back_days", [2, 30])
def test_clicks_count_for_the_look_back_days(
    settings: Settings, valkey: Any, look_back_days: int
) -> None:
    """Clicks of 31, 10 and 3 days before, from the offline tables and live."""
    at = {days: NOW - days * DAY + 60 for days in (31, 10, 3)}
    materialise(settings, _5=[Click("toys", "d/4", at[days]) for days in at])
    own = settings.model_copy(update={"look_back_days": look_back_days})
    one = Consumer(own, "consumer-0", threading.Event())
    one.recover()
    live = [
        Event(event_id=f"{user}-{days}", user_id=user, item_id="a", timestamp=when)
        for user in ("5", "6")
        for days, when in [*at.items(), (0, NOW)]
    ]
    enqueue_all(valkey.client(1), live)
    one.step()
    counted = [days for days in at if days <= look_back_days]
    assert recent_clicks(settings, "6") == [
        *(Click("books", "a", at[days]) for days in counted),
        Click("books", "a", NOW),
    ]
    assert recent_clicks(settings, "5") == [
        *(
            Click(category, item, at[days])
            for days in counted
            for category, item in (("books", "a"), ("toys", "d/4"))
        ),
        Click("books", "a", NOW),
    ]


def test_a_late_click_joins_what_is_online(
    settings: Settings, valkey: Any, consumer: Callable[[], Consumer]
) -> None:
    """Older than the newest click that the offline tables brought: the row is newer all the
    same.
    """
    materialise(settings, _5=WEEK)
    one = consumer()
    one.recover()
    enqueue(
        valkey.client(1),
        Event(event_id="e", user_id="5", item_id="d/4", timestamp=WEEK[-1].at - 30),
    )
    one.step()
    assert recent_clicks(settings, "5") == sorted(
        [*WEEK, Click("toys", "d/4", WEEK[-1].at - 30)], key=lambda click: click.at
    )


def test_no_history_is_shortened_where_the_online_store_cannot_be_read(
    settings: Settings, valkey: Any, consumer: Callable[[], Consumer]
) -> None:
    materialise(settings, _5=WEEK)
    one, client = consumer(), valkey.client(1)
    one.recover()
    enqueue(client, Event(event_id="e", user_id="5", item_id="c", timestamp=NOW - 60))
    valkey.client().execute_command(
        "ACL", "SETUSER", "default", "-hmget"
    )  # Feast's reads fail, its writes do not
    try:
        for step in (one.step, one.recover):
            with pytest.raises(redis.RedisError, match="hmget"):
                step()
            assert client.xpending(STREAM, GROUP)["pending"] == 1
    finally:
        valkey.client().execute_command("ACL", "SETUSER", "default", "+@all")
    assert recent_clicks(settings, "5") == WEEK and client.exists(
        "event:e"
    )  # applied, not yet pushed
    one.recover()
    assert recent_clicks(settings, "5") == [*WEEK, ("tools", "c", NOW - 60)]
    assert client.xpending(STREAM, GROUP)["pending"] == 0


def test_a_broken_row_online_keeps_no_other_visitor_back(
    settings: Settings,
    valkey: Any,
    consumer: Callable[[], Consumer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    feast = valkey.client(0)
    keys = {}
    for user in "456":
        materialise(settings, **{f"_{user}": WEEK})
        (keys[user],) = (
            set(rows(feast))
            - set(keys.values())
            - {key for key in rows(feast) if b"item_id" in key}
        )
    feast.set(keys["4"], "no hash")
    field = next(name for name, value in feast.hgetall(keys["5"]).items() if b"toys" in value)
    feast.hset(keys["5"], field, b"\xff")  # no protobuf
    one = consumer()
    one.recover()
    enqueue_all(
        valkey.client(1), [Event(user_id=user, item_id="c", timestamp=NOW - 60) for user in "456"]
    )
    one.step()
    one.land()
    assert recent_clicks(settings, "6") == [*WEEK, ("tools", "c", NOW - 60)]
    assert recent_clicks(settings, "5") == [("tools", "c", NOW - 60)]
    assert "user 4 are not pushed" in caplog.text and "user 5 cannot be read" in caplog.text
    assert valkey.client(1).xpending(STREAM, GROUP)["pending"] == 0


def test_what_is_no_event_is_set_aside(
    settings: Settings, valkey: Any, consumer: Callable[[], Consumer]
) -> None:
    client = valkey.client(1)
    client.xadd(STREAM, {"user_id": "1", "item_id": "a", "event_type": "Nonsense"})
    client.xadd(STREAM, {b"\xff": b"\xff"})
    enqueue(client, Event(event_id="good", user_id="1", item_id="a"))
    one = consumer()
    one.recover()
    one.step()
    one.land()
    assert landed(settings)["event_id"].to_list() == ["good"]
    assert client.xlen(REJECTED) == 2 and client.xpending(STREAM, GROUP)["pending"] == 0


def test_without_feast_definitions_it_does_not_start(tmp_path: Path, valkey: Any) -> None:
    with pytest.raises(FeatureStoreError, match="materialise feature_store/definitions first"):
        Consumer(shop_settings(tmp_path / "empty", valkey), "consumer-0", threading.Event())
