"""The counts of what is popular now, as events change them, on a real Valkey."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets.columns import MISSING
from recsys_assets.lib.evaluation.streamed_clicks import StreamedClicks
from recsys_assets.lib.feature_store import popular_now
from recsys_assets.lib.feature_store.popular_now import day_key, most_clicked, period_key
from recsys_assets.lib.sources.forward_decay import (
    APART,
    HALF_LIVES,
    PERIOD,
    period_of,
    period_start,
)
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.union import LISTED
from recsys_assets.local_time import UTC
from recsys_assets.serving.events import visitor_state
from recsys_assets.serving.events.events import Event
from recsys_assets.serving.events.visitor_state import Outcome, VisitorState
from recsys_assets.settings import VISITOR_DATABASE

pytestmark = pytest.mark.services

NOW = int(time.time())
HOUR = 3_600


@pytest.fixture
def client(valkey: Any):
    return valkey.client(VISITOR_DATABASE)


@pytest.fixture
def state(client) -> VisitorState:
    return VisitorState(client, kept_days=30, zone=UTC, look_back_days=30)


def click(
    state: VisitorState,
    item: str,
    at: int,
    user: str = "u",
    *,
    event: str | None = None,
    stream: str = "1-1",
    kind: str = "View",
    category: str = "toys",
    now: float | None = None,
):
    """Apply one event at its own time, or at ``now``; return the outcome."""
    made = Event(
        event_id=event or f"{user}.{item}.{at}".replace(" ", "_"),
        user_id=user,
        item_id=item,
        timestamp=at,
        event_type=kind,
    )
    [outcome] = state.apply([(stream, made, category)], at if now is None else now)
    return outcome


def count(client, item: str, half_life: int, period: int) -> float | None:
    return client.zscore(period_key(half_life, period), item)


@pytest.mark.parametrize("half_life", HALF_LIVES)
def test_a_click_adds_its_weight_to_its_period_the_next_one_and_its_day(client, state, half_life):
    period = period_of(NOW, half_life)
    exponent = (NOW - period_start(period, half_life)) / (half_life * HOUR)
    click(state, "a", NOW)
    assert count(client, "a", half_life, period) == pytest.approx(2**exponent)
    assert count(client, "a", half_life, period + 1) == pytest.approx(2 ** (exponent - PERIOD))
    day = NOW // 86_400
    own = (NOW - day * 86_400) / (half_life * HOUR)
    assert client.zscore(day_key(half_life, day), "a") == pytest.approx(2**own)
    click(state, "a", NOW - half_life * HOUR, "v", now=NOW)
    assert count(client, "a", half_life, period) == pytest.approx(1.5 * 2**exponent), (
        "a late click weighs by its own time"
    )
    days = 1 + ((NOW - half_life * HOUR) // 86_400 != day)
    assert len(client.keys("popular_now:*")) == len(HALF_LIVES) * (2 + days), (
        "two periods and the days of the clicks, and nothing else"
    )


def test_the_keys_expire_when_nobody_reads_them_any_more(client, state):
    click(state, "a", NOW)
    for half_life in HALF_LIVES:
        period = period_of(NOW, half_life)
        for number in (period, period + 1):
            end = client.expiretime(period_key(half_life, number))
            assert end == period_start(number + 2, half_life), "a period after its own end"
        day = NOW // 86_400
        assert client.expiretime(day_key(half_life, day)) == (day + 9) * 86_400


def test_an_impression_counts_nothing_and_every_other_event_does(client, state):
    click(state, "a", NOW, kind="Impression")
    assert not client.keys("popular_now:*")
    for n, kind in enumerate(("View", "AddToCart", "Purchase")):
        click(state, kind, NOW, f"u{n}", kind=kind)
    items, counts = most_clicked(client, 3, NOW, 10)
    assert set(items) == {"View", "AddToCart", "Purchase"} and len(set(counts.tolist())) == 1


def test_an_event_counts_once_however_often_it_is_delivered(client, state):
    assert click(state, "a", NOW, event="e", stream="1-1") is Outcome.APPLIED
    before = most_clicked(client, 3, NOW, 9)
    assert click(state, "a", NOW, event="e", stream="1-1") is Outcome.REDELIVERED
    assert click(state, "a", NOW, event="e", stream="1-2") is Outcome.DUPLICATE
    items, counts = most_clicked(client, 3, NOW, 9)
    assert (items, counts.tolist()) == (before[0], before[1].tolist())


def test_a_visitor_who_repeats_a_click_counts_once(client, state):
    def ratio() -> float:
        period = period_of(NOW, 12)
        exponent = (NOW - period_start(period, 12)) / (12 * HOUR)
        return count(client, "a", 12, period) / 2**exponent

    for second in range(60):
        click(state, "a", NOW - second, now=NOW)
    assert ratio() == pytest.approx(1.0, rel=1e-6)
    click(state, "a", NOW - 60, "somebody else", now=NOW)
    assert ratio() == pytest.approx(2.0, rel=2e-3)
    click(state, "a", NOW - 59 - APART, now=NOW)
    assert ratio() == pytest.approx(2.0 + 2 ** (-(APART + 59) / (12 * HOUR)), rel=2e-3)
    for second in range(3):  # nobody's clicks, and an item of which no view is kept
        click(state, "a", NOW - second, MISSING, now=NOW)
        click(state, "x", NOW - second, category=MISSING, now=NOW)
    assert ratio() == pytest.approx(5.0 + 2 ** (-(APART + 59) / (12 * HOUR)), rel=2e-3)
    assert count(client, "x", 12, period_of(NOW, 12)) > 0


def test_a_clock_that_is_ahead_gives_no_advantage(client, state):
    click(state, "ahead", NOW + 300, now=NOW)
    click(state, "now", NOW, "v", now=NOW)
    _, counts = most_clicked(client, 3, NOW, 9)
    assert counts[0] == counts[1]


def test_the_lowest_counts_leave_when_there_are_too_many(client, state, monkeypatch):
    monkeypatch.setattr(visitor_state, "MEMBERS", 5)
    for n in range(12):
        click(state, f"i{n}", NOW - 12 * 60 + 60 * n, f"u{n}", now=NOW)
    click(state, "i7", NOW, "again", now=NOW)
    items, _ = most_clicked(client, 3, NOW, 99)
    assert items == ["i7", "i11", "i10", "i9", "i8"]
    assert {client.zcard(key) for key in client.keys("popular_now:*")} == {5}


def test_at_the_start_of_a_period_the_past_is_there(client, state):
    """Clicks of the last hours of a period are in the key of the next one, in their order."""
    start = period_start(period_of(NOW, 3), 3)
    for n, age in enumerate((30, 20, 10, 1)):
        click(state, f"i{n}", start - age * HOUR, f"u{n}")
    assert most_clicked(client, 3, start - 1, 9)[0] == ["i3", "i2", "i1", "i0"]
    assert most_clicked(client, 3, start + 1, 9)[0] == ["i3", "i2", "i1", "i0"]
    click(state, "i0", start + HOUR, "late")
    assert most_clicked(client, 3, start + HOUR, 9)[0][0] == "i0"
    assert np.isfinite(most_clicked(client, 3, start + HOUR, 9)[1]).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_list_is_the_one_that_the_evaluation_replays(client, state, seed):
    """Across the start of a period, with repetitions, equal seconds and items of no vocabulary."""
    rng = np.random.default_rng(seed)
    boundary = period_start(period_of(NOW, 3), 3)
    size, known = 1_500, [f"i{n}" for n in range(60)]
    at = np.sort(boundary + rng.integers(-40 * HOUR, 40 * HOUR, size) // 60 * 60)
    users = [MISSING if n % 9 == 0 else f"u{n}" for n in rng.integers(0, 40, size)]
    items = [f"i{n}" for n in np.minimum(rng.geometric(0.04, size), 70)]
    rows = sorted(zip(at.tolist(), items, users, strict=True))
    log = pl.DataFrame(rows, schema=["timestamp", "item_id", "user_id"], orient="row")
    moments = np.sort(boundary + rng.integers(-41 * HOUR, 41 * HOUR, 30))
    replayed = {half: StreamedClicks.of(log, known).lists(moments, half) for half in HALF_LIVES}
    done = 0
    for n, moment in enumerate(moments.tolist()):
        while done < size and rows[done][0] < moment:
            second, item, user = rows[done]
            click(state, item, second, user, event=f"e{done}", stream=f"{done}-1")
            done += 1
        for half_life in HALF_LIVES:
            source = PopularNow.of(half_life, known)
            online = source.listed(*most_clicked(client, half_life, moment, 1_000))[:LISTED]
            expected = replayed[half_life][n]
            assert online.tolist() == expected[expected >= 0].tolist()
    assert done > size / 2


def test_members_take_the_bytes_that_the_docs_say(client):
    key = period_key(3, 1)
    client.zadd(key, {f"item{n:06d}": 2.0 ** (n / 100) for n in range(popular_now.MEMBERS)})
    assert client.memory_usage(key, samples=0) / popular_now.MEMBERS == pytest.approx(76, rel=0.1)
