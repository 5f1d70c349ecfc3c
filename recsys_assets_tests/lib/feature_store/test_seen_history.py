"""What the log says of a visitor, online and in the evaluation, on a real Valkey."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.columns import EVENT_TYPES, MISSING, PURCHASE, RAW_INTERACTIONS, VIEW, EventType
from recsys_assets.lib.evaluation.seen_filter import dropped
from recsys_assets.lib.feature_store import bloom, seen_history
from recsys_assets.lib.feature_store.seen_history import publish_seen
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.features.seen import ACTS, DEFAULT_RULE, NEVER, SeenRule, nothing_seen
from recsys_assets.local_time import UTC, day_of
from recsys_assets.serving.events.events import Event, Reset
from recsys_assets.serving.events.visitor_state import VisitorState
from recsys_assets.serving.stages.answer import Fate
from recsys_assets.serving.stages.retrieval import Searcher
from recsys_assets.serving.stages.seen_items import FilterSeenItems
from recsys_assets.serving.stores.availability import Unavailable
from recsys_assets.settings import VISITOR_DATABASE, Settings
from recsys_assets_tests.support import stage_runs, tiny_store

pytestmark = pytest.mark.services
ITEMS = [f"item-{n}" for n in range(60)]  # item n has index 3 + n
BERLIN = "Europe/Berlin"
#: Some hours after the clock went forward, and after it went back.
SPRING = int(datetime(2026, 3, 30, 0, 30, tzinfo=ZoneInfo(BERLIN)).timestamp())
AUTUMN = int(datetime(2026, 10, 26, 0, 30, tzinfo=ZoneInfo(BERLIN)).timestamp())
#: Keeps the filters of a moment that is long past; a rule reads fewer days.
FOREVER = 20_000
Row = tuple[str, str, int, EventType]


class Unsearched(Searcher):
    """An index that has no more than the candidates."""

    def __init__(self) -> None:
        """Open nothing."""

    def __len__(self) -> int:
        return 0


def logged(folder: Path, rows: list[Row], zone: str = UTC) -> list[Artifact]:
    """``raw/interactions`` of (visitor, item, moment, event type), one artifact per local day."""
    store = ArtifactStore(str(folder / "artifacts"))
    frame = pl.DataFrame(
        [
            (f"e{n}", user, item, at, "mobile", kind, int(kind in ACTS))
            for n, (user, item, at, kind) in enumerate(rows)
        ],
        schema={name: getattr(pl, kind) for name, kind in RAW_INTERACTIONS.items()},
        orient="row",
    ).with_columns(day=pl.Series([day_of(at, zone) for _, _, at, _ in rows], dtype=pl.String))
    found = []
    for (day,), part in sorted(frame.group_by("day")):
        with store.stage("raw/interactions", str(day)) as staged:
            part.drop("day").write_parquet(staged.path / "interactions.parquet")
            found.append(staged.publish())
    return found


def hidden_online(settings: Settings, rule: SeenRule, user: str, now: int) -> set[str]:
    """Items that the stage drops for a visitor."""
    stage = FilterSeenItems(
        visitor_client(settings, VISITOR_DATABASE),
        Unavailable(settings),
        Unsearched,
        ITEMS,
        np.zeros(0, np.int32),
        most=len(ITEMS),
        least=1,
        rule=rule,
        zone=settings.time_zone or UTC,
        clock=lambda: now,
    )
    stage.poller.poll()
    found = stage_runs.run(
        stage,
        visitor_id=np.array([user], dtype=object),
        query_embedding=np.ones((1, 64), np.float32),
        union=np.arange(3, 3 + len(ITEMS), dtype=np.int32),
        union_counts=np.array([len(ITEMS)], np.int32),
        union_by_sources=np.zeros(1, np.int32),
        union_score=np.zeros(len(ITEMS), np.float32),
    )
    stage.close()
    assert found["filter_degraded"].tolist() == [0]
    return {
        ITEMS[item - 3]
        for item, fate in zip(found["considered"], found["considered_fate"], strict=True)
        if fate in (Fate.SEEN, Fate.DISMISSED)
    }


def hidden_offline(
    log: list[Artifact], rule: SeenRule, zone: str, asked: list[tuple[str, int]]
) -> list[set[str]]:
    """Items that the evaluation drops for queries of (visitor, moment)."""
    catalogue = pl.DataFrame({"item_id": ITEMS}).with_row_index("item").cast({"item": pl.Int32})
    queries = pl.DataFrame(asked, schema=["user_id", "timestamp"], orient="row").with_row_index(
        "query"
    )
    queries = queries.cast({"query": pl.Int64})
    _, hidden, _ = dropped(queries, log, catalogue, rule, zone)
    pairs = hidden.rows()
    return [{ITEMS[item] for q, item in pairs if q == n} for n in range(len(asked))]


def walk(now: int, seed: int) -> list[Row]:
    """Events of four visitors in the twelve days before a moment, many around midnight."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for user in ("ann", "bob", "c:d", MISSING):
        for _ in range(24):
            at = now - int(rng.integers(0, 13)) * 86_400 - int(rng.integers(-5_400, 7_200))
            kind = EVENT_TYPES[int(rng.integers(len(EVENT_TYPES)))]
            if at < now:
                rows.append((user, ITEMS[int(rng.integers(40))], at, kind))
    return rows


@pytest.mark.parametrize(("zone", "now"), [(UTC, SPRING), (BERLIN, SPRING), (BERLIN, AUTUMN)])
def test_serving_hides_what_the_evaluation_drops(
    tmp_path: Path, valkey: Any, zone: str, now: int
) -> None:
    settings = tiny_store.settings_on(tmp_path, valkey, time_zone=zone, seen_days=FOREVER)
    log = logged(tmp_path, walk(now, seed=now), zone)
    publish_seen(settings, log, clock=lambda: now)
    asked = [(user, now) for user in ("ann", "bob", "c:d", "nobody")]
    sizes = {}
    for rule in (
        DEFAULT_RULE,
        SeenRule((PURCHASE,), 7),
        SeenRule((VIEW, "AddToCart"), 3),
        SeenRule(ACTS, 1),
        SeenRule(ACTS, 12),
        NEVER,
        SeenRule(ACTS, 0),
        nothing_seen(12),
    ):
        offline = hidden_offline(log, rule, zone, asked)
        assert [hidden_online(settings, rule, user, at) for user, at in asked] == offline, rule
        sizes[rule] = sum(map(len, offline))
    # what was dismissed is hidden by all rules, for seven days at least
    assert 0 < sizes[NEVER] == sizes[SeenRule(ACTS, 0)] < sizes[nothing_seen(12)]
    assert sizes[NEVER] < sizes[SeenRule((PURCHASE,), 7)]
    assert sizes[SeenRule((PURCHASE,), 7)] < sizes[DEFAULT_RULE] < sizes[SeenRule(ACTS, 12)]


def test_the_zone_decides_the_day(tmp_path: Path, valkey: Any) -> None:
    """At 0:30 in Berlin, an event of one hour before is of yesterday; in UTC it is of today."""
    rows: list[Row] = [("ann", ITEMS[0], SPRING - 3_600, VIEW)]
    today = SeenRule(ACTS, 1)
    for zone, expected in ((BERLIN, set()), (UTC, {ITEMS[0]})):
        valkey.client(VISITOR_DATABASE).flushdb()
        folder = tmp_path / zone.replace("/", "-")
        settings = tiny_store.settings_on(folder, valkey, time_zone=zone, seen_days=FOREVER)
        log = logged(folder, rows, zone)
        publish_seen(settings, log, clock=lambda: SPRING)
        assert hidden_online(settings, today, "ann", SPRING) == expected
        assert hidden_offline(log, today, zone, [("ann", SPRING)]) == [expected]


@pytest.fixture
def now(valkey: Any) -> int:
    """The store's clock, by which keys expire."""
    return int(valkey.client().time()[0])


@pytest.fixture
def settings(tmp_path: Path, valkey: Any) -> Settings:
    return tiny_store.settings_on(tmp_path, valkey)


def live(valkey: Any, user: str, item: str, at: int, kind: EventType = VIEW) -> None:
    """An event as the consumer applies it."""
    event = Event(user_id=user, item_id=item, timestamp=at, event_type=kind)
    VisitorState(valkey.client(VISITOR_DATABASE), 7, UTC, look_back_days=7).apply(
        [("0-1", event, MISSING)], at
    )


def test_history_adds_to_live_events_and_is_the_same_twice(
    tmp_path: Path, settings: Settings, valkey: Any, now: int
) -> None:
    client = valkey.client(VISITOR_DATABASE)
    live(valkey, "ann", ITEMS[0], now)
    log = logged(
        tmp_path,
        [
            ("ann", ITEMS[1], now, PURCHASE),
            ("ann", ITEMS[2], now - 3 * 86_400, VIEW),
            ("ann", ITEMS[3], now - 7 * 86_400, VIEW),  # too old
            ("bob", ITEMS[4], now, "Impression"),
            ("bob", ITEMS[5], now, "AddToCart"),
        ],
    )
    found = publish_seen(settings, log, clock=lambda: now)
    assert (found.seen_filters, found.seen_visitors) == (3, 2)
    assert found.seen_visitors_refused == 0 and "0 days ago" in found.seen_history
    assert hidden_online(settings, DEFAULT_RULE, "ann", now) == set(ITEMS[:3])
    assert hidden_online(settings, SeenRule((PURCHASE,), 7), "ann", now) == {ITEMS[1]}
    assert hidden_online(settings, DEFAULT_RULE, "bob", now) == {ITEMS[5]}
    keys = sorted(client.keys("seen:*"))
    assert len(keys) == 3
    before = [(client.get(key), client.expiretime(key)) for key in keys]
    for key, (_, expires) in zip(keys, before, strict=True):
        assert expires == bloom.expiry(key.decode().rsplit(":", 1)[1], 7, UTC)
    assert (
        publish_seen(settings, log, clock=lambda: now).seen_filters == 0
    )  # each day is written once
    for key in client.keys("seen_history:*"):
        client.delete(key)
    assert publish_seen(settings, log, clock=lambda: now).seen_filters == 3
    assert [(client.get(key), client.expiretime(key)) for key in keys] == before
    assert sorted(client.keys("seen:*")) == keys


def test_the_bits_are_those_of_the_consumer(
    tmp_path: Path, settings: Settings, valkey: Any, now: int
) -> None:
    client = valkey.client(VISITOR_DATABASE)
    key = bloom.seen_key("ann", bloom.day_of(now, UTC))
    rows: list[Row] = [("ann", ITEMS[n], now, kind) for n, kind in enumerate(ACTS)]
    publish_seen(settings, logged(tmp_path, rows), clock=lambda: now)
    written = client.get(key)
    client.delete(key)
    for n, (_, item, at, kind) in enumerate(rows):
        event = Event(user_id="ann", item_id=item, timestamp=at, event_type=kind)
        VisitorState(client, 7, UTC, look_back_days=7).apply([(f"0-{n}", event, MISSING)], at)
    assert written.rstrip(b"\0") == client.get(key).rstrip(b"\0")


def reset(valkey: Any, user: str, now: int) -> int:
    """Reset a visitor; return the second from which on events count again."""
    state = VisitorState(valkey.client(VISITOR_DATABASE), 7, UTC, look_back_days=7)
    _, row = state.reset(f"1-{time.monotonic_ns()}", Reset(user_id=user), now)
    return int(row.updated_at)


def test_a_reset_is_not_undone(tmp_path: Path, settings: Settings, valkey: Any, now: int) -> None:
    at = reset(valkey, "ann", now - 60)
    log = logged(
        tmp_path,
        [
            ("ann", ITEMS[0], at - 1, VIEW),
            ("ann", ITEMS[1], at, VIEW),
            ("ann", ITEMS[2], at - 86_400, PURCHASE),
            ("bob", ITEMS[0], at - 1, VIEW),
        ],
    )
    publish_seen(settings, log, clock=lambda: now)
    assert hidden_online(settings, DEFAULT_RULE, "ann", now) == {ITEMS[1]}
    assert hidden_online(settings, DEFAULT_RULE, "bob", now) == {ITEMS[0]}


def test_a_reset_in_the_middle_is_not_undone(
    tmp_path: Path, settings: Settings, valkey: Any, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reset comes after the events were chosen and before they are written."""
    made = seen_history._filters

    def interrupted(acts: Any) -> Any:
        found = made(acts)
        if not valkey.client(VISITOR_DATABASE).exists(bloom.reset_key("ann")):
            reset(valkey, "ann", now)
        return found

    monkeypatch.setattr(seen_history, "_filters", interrupted)
    log = logged(tmp_path, [(user, ITEMS[0], now - 60, VIEW) for user in ("ann", "bob")])
    publish_seen(settings, log, clock=lambda: now)
    assert hidden_online(settings, DEFAULT_RULE, "ann", now) == set()
    assert hidden_online(settings, DEFAULT_RULE, "bob", now) == {ITEMS[0]}


def test_a_reset_counts_as_long_as_history_does(valkey: Any, now: int) -> None:
    client = valkey.client(VISITOR_DATABASE)
    VisitorState(client, 30, UTC, look_back_days=7).reset("1-1", Reset(user_id="ann"), now)
    assert client.ttl(bloom.reset_key("ann")) > 30 * 86_400


def test_an_old_log_writes_nothing_and_says_so(
    tmp_path: Path, settings: Settings, valkey: Any, now: int
) -> None:
    log = logged(tmp_path, [("ann", ITEMS[0], now - 4_000 * 86_400, VIEW)])
    found = publish_seen(settings, log, clock=lambda: now)
    assert found.seen_filters == 0 and found.seen_history == (
        "the newest event is 4000 days old, events count for 7 days: nothing of the log counts as "
        "seen today"
    )
    assert valkey.client(VISITOR_DATABASE).keys("*") == []


def test_a_broken_key_costs_its_visitor_only(
    tmp_path: Path, settings: Settings, valkey: Any, now: int
) -> None:
    valkey.client(VISITOR_DATABASE).rpush(bloom.seen_key("ann", bloom.day_of(now, UTC)), "x")
    log = logged(tmp_path, [(user, ITEMS[0], now, VIEW) for user in ("ann", "bob")])
    assert publish_seen(settings, log, clock=lambda: now).seen_visitors_refused == 1
    assert hidden_online(settings, DEFAULT_RULE, "bob", now) == {ITEMS[0]}


def test_visitors_fall_whole_into_parts(
    tmp_path: Path, settings: Settings, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_history, "CHUNK", 5)
    rows: list[Row] = [
        (f"u{user}", ITEMS[user], now - day * 86_400, VIEW)
        for user in range(20)
        for day in range(1 + user % 4)
    ]
    log = logged(tmp_path, rows)
    found = publish_seen(settings, log, clock=lambda: now)
    assert found.seen_visitors == 20 and found.seen_filters == len(rows)
    for user in range(20):
        assert hidden_online(settings, DEFAULT_RULE, f"u{user}", now) == {ITEMS[user]}


def test_a_day_is_written_again_if_its_log_changed(
    tmp_path: Path, settings: Settings, valkey: Any, now: int
) -> None:
    rows: list[Row] = [("ann", ITEMS[0], now, VIEW)]
    publish_seen(settings, logged(tmp_path, rows), clock=lambda: now)
    log = logged(tmp_path, [*rows, ("ann", ITEMS[1], now, VIEW)])
    assert publish_seen(settings, log, clock=lambda: now).seen_filters == 1
    assert hidden_online(settings, DEFAULT_RULE, "ann", now) == set(ITEMS[:2])
    longer = settings.model_copy(update={"seen_days": 30})
    assert publish_seen(longer, log, clock=lambda: now).seen_filters == 1
    assert (
        valkey.client(VISITOR_DATABASE).ttl(bloom.seen_key("ann", bloom.day_of(now, UTC)))
        > 29 * 86_400
    )


def test_a_log_without_acts_writes_nothing(
    tmp_path: Path, settings: Settings, valkey: Any, now: int
) -> None:
    log = logged(tmp_path, [("ann", ITEMS[0], now, "Impression"), (MISSING, ITEMS[1], now, VIEW)])
    found = publish_seen(settings, log, clock=lambda: now)
    assert (found.seen_filters, found.seen_visitors) == (0, 0)
    assert valkey.client(VISITOR_DATABASE).keys("seen:*") == []
