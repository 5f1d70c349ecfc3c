"""The counts of what is popular now out of the log, beside those of live events, on a real Valkey."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import Artifact
from recsys_assets.columns import IMPRESSION, VIEW
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.evaluation.streamed_clicks import StreamedClicks
from recsys_assets.lib.feature_store import popular_history
from recsys_assets.lib.feature_store.popular_history import publish_popular_now
from recsys_assets.lib.feature_store.popular_now import most_clicked, period_key
from recsys_assets.lib.sources.forward_decay import HALF_LIVES, period_of, period_start
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.union import LISTED
from recsys_assets.local_time import UTC
from recsys_assets.serving.events.events import Event
from recsys_assets.serving.events.visitor_state import VisitorState
from recsys_assets.settings import VISITOR_DATABASE, Settings
from recsys_assets_tests.lib.feature_store.test_seen_history import logged
from recsys_assets_tests.support import tiny_store

pytestmark = pytest.mark.services

NOW = int(time.time())
HOUR, DAY = 3_600, 86_400
IDS = [f"i{n}" for n in range(300)]


@pytest.fixture
def settings(valkey, tmp_path) -> Settings:
    return tiny_store.settings_on(tmp_path, valkey, time_zone=UTC)


@pytest.fixture
def client(valkey):
    return valkey.client(VISITOR_DATABASE)


@pytest.fixture
def rows() -> list[tuple[str, str, int, str]]:
    """Clicks of the last six days, with repetitions and impressions."""
    rng = np.random.default_rng(5)
    at = np.sort(NOW - rng.integers(0, 6 * DAY, 1_200))
    item = np.minimum(rng.geometric(0.03, len(at)), len(IDS)) - 1
    return [
        (f"u{rng.integers(60)}", IDS[row], int(t), IMPRESSION if n % 10 == 0 else VIEW)
        for n, (row, t) in enumerate(zip(item, at, strict=True))
    ]


def listed(client, half_life: int) -> list[int]:
    found = most_clicked(client, half_life, NOW, 1_000)
    return PopularNow.of(half_life, IDS).listed(*found)[:LISTED].tolist()


def expected(log: list[Artifact], half_life: int) -> list[int]:
    found = StreamedClicks.of(read_clicks(log), IDS).lists(np.array([NOW + 1]), half_life)[0]
    return found[found >= 0].tolist()


def counts(client) -> dict[bytes, dict[bytes, float]]:
    return {
        key: dict(client.zrange(key, 0, -1, withscores=True))
        for key in client.keys("popular_now:*")
    }


def live(client, rows) -> None:
    """Apply rows as the consumer does, each at its own time."""
    state = VisitorState(client, kept_days=30, zone=UTC, look_back_days=30)
    for n, (user, item, at, kind) in enumerate(rows):
        event = Event(event_id=f"e{n}", user_id=user, item_id=item, timestamp=at, event_type=kind)
        state.apply([(f"{n}-1", event, "toys")], at)


def same(one, other) -> None:
    assert set(one) == set(other)
    for key, members in one.items():
        assert members == pytest.approx(other[key], rel=1e-9), key


def test_a_log_without_a_stream_makes_the_lists_of_the_evaluation(settings, client, rows, tmp_path):
    log = logged(tmp_path, rows)
    found = publish_popular_now(settings, log, clock=lambda: NOW)
    assert found.popular_now_raised > 100 and "clicks of 7 days are in the counts" in (
        found.popular_now
    )
    for half_life in HALF_LIVES:
        assert listed(client, half_life) == expected(log, half_life)


def test_a_second_write_changes_nothing(settings, client, rows, tmp_path):
    log = logged(tmp_path, rows)
    publish_popular_now(settings, log, clock=lambda: NOW)
    before = counts(client)
    assert publish_popular_now(settings, log, clock=lambda: NOW + 60).popular_now_raised == 0
    assert counts(client) == before


def test_the_log_of_live_events_counts_none_of_them_again(settings, client, rows, tmp_path):
    live(client, rows)
    before = counts(client)
    assert publish_popular_now(settings, logged(tmp_path, rows)).popular_now_raised == 0
    assert counts(client) == before


@pytest.mark.parametrize("log_first", [True, False])
def test_live_clicks_and_those_of_files_all_count_once(settings, client, rows, tmp_path, log_first):
    """Half of the visitors send events, the log of all comes later and lacks the last hours."""
    streamed = [row for row in rows if int(row[0][1:]) % 2]
    late = NOW // DAY * DAY - DAY  # the log has no event of the last days
    log = logged(tmp_path, [row for row in rows if row[2] < late])
    first = [row for row in streamed if log_first is False or row[2] >= late]
    if log_first:
        publish_popular_now(settings, log)
    live(client, first)
    publish_popular_now(settings, log)
    found = counts(client)
    client.flushdb()
    live(client, [row for row in rows if row[2] < late or row in streamed])
    wanted = counts(client)
    for half_life in HALF_LIVES:
        key = period_key(half_life, period_of(NOW, half_life)).encode()
        assert found[key] == pytest.approx(wanted[key], rel=1e-9)


def test_later_arrivals_of_a_day_raise_its_counts(settings, client, rows, tmp_path):
    few = logged(tmp_path / "few", rows[::2])
    everything = logged(tmp_path / "all", rows)
    publish_popular_now(settings, few)
    publish_popular_now(settings, everything)
    whole = counts(client)
    client.flushdb()
    publish_popular_now(settings, everything)
    same(whole, counts(client))


def test_a_log_that_is_over_counts_nothing(settings, client, tmp_path):
    log = logged(tmp_path, [("u", "i1", NOW - 40 * DAY, VIEW)])
    found = publish_popular_now(settings, log)
    assert found.popular_now == "no click of the last 7 days: nothing is popular now"
    assert publish_popular_now(settings, []).popular_now_raised == 0
    assert not client.keys("popular_now:*")


def test_a_day_in_which_a_period_starts_counts_whole(settings, client, tmp_path):
    start = period_start(period_of(NOW, 3), 3)
    rows = [("u", "i1", start - HOUR, VIEW), ("u", "i2", start + HOUR, VIEW)]
    log = logged(tmp_path, rows)
    publish_popular_now(settings, log, clock=lambda: start + 2 * HOUR)
    assert most_clicked(client, 3, start + 2 * HOUR, 9)[0] == ["i2", "i1"]


def test_only_the_most_clicked_items_of_a_day_are_kept(
    settings, client, rows, tmp_path, monkeypatch
):
    monkeypatch.setattr(popular_history, "MEMBERS", 10)
    monkeypatch.setattr(popular_history, "_BATCH", 3)
    publish_popular_now(settings, logged(tmp_path, rows), clock=lambda: NOW)
    assert max(len(members) for members in counts(client).values()) == 10
    for key in client.keys("popular_now:*"):
        assert client.expiretime(key) > NOW


def test_the_consumer_and_the_log_write_the_same_keys(settings, client, tmp_path):
    rows = [("u", "i1", NOW - 5, VIEW)]
    live(client, rows)
    by_consumer = counts(client)
    expiries = {key: client.expiretime(key) for key in by_consumer}
    client.flushdb()
    publish_popular_now(settings, logged(tmp_path, rows), clock=lambda: NOW)
    same(counts(client), by_consumer)
    assert {key: client.expiretime(key) for key in by_consumer} == expiries


def test_impressions_are_no_clicks(settings, client, tmp_path):
    log = logged(tmp_path, [("u", "i1", NOW - 5, IMPRESSION)])
    assert publish_popular_now(settings, log).popular_now_raised == 0
    assert pl.DataFrame(read_clicks(log)).is_empty()
