from __future__ import annotations

import time

import numpy as np
import pytest

from recsys_assets.columns import VIEW
from recsys_assets.lib.feature_store import bloom
from recsys_assets.lib.features.seen import ACTS
from recsys_assets.local_time import UTC
from recsys_assets_tests.support.seen import mark_seen

# a stored filter must stay readable by later versions of the code
GOLDEN = [13690, 11907, 10124, 8341, 6558, 4775, 2992, 1209, 15810, 14027]


def local_bitmap(item_ids: list[str]) -> bytes:
    """What the server would hold, by the definition of SETBIT."""
    bits = bytearray(bloom.BITS // 8)
    for item_id in item_ids:
        for bit in bloom.positions(item_id, VIEW):
            bits[bit // 8] |= 128 >> (bit % 8)
    return bytes(bits)


def test_size_keeps_the_error_rate_and_a_week_of_filters_stays_below_one_percent():
    bits, hashes = bloom.size(bloom.CAPACITY, bloom.ERROR_RATE)
    assert (bits, hashes) == (16_384, 10)
    assert (1 - np.exp(-hashes * bloom.CAPACITY / bits)) ** hashes <= bloom.ERROR_RATE
    assert 1 - (1 - bloom.ERROR_RATE) ** 8 <= 0.01


def test_no_false_negative_and_few_false_positives_at_capacity():
    added = [f"item-{n}" for n in range(bloom.CAPACITY)]
    bitmap = local_bitmap(added)
    assert bloom.contains([bitmap], bloom.fingerprints(added)).all()
    others = bloom.fingerprints(f"other-{n}" for n in range(20_000))
    assert bloom.contains([bitmap], others).mean() <= bloom.ERROR_RATE


@pytest.mark.parametrize(
    ("items", "day", "week"),
    [
        (1_000, (0.0001, 0.001), (0.001, 0.004)),
        (2_000, (0.025, 0.035), (0.15, 0.23)),
        (5_000, (0.58, 0.65), (0.99, 1.0)),
    ],
)
def test_beyond_capacity_the_error_grows_as_documented(items, day, week):
    bitmaps = [local_bitmap([f"item-{d}-{n}" for n in range(items)]) for d in range(7)]
    others = bloom.fingerprints(f"other-{n}" for n in range(20_000))
    assert day[0] <= bloom.contains(bitmaps[:1], others).mean() <= day[1]
    assert week[0] <= bloom.contains(bitmaps, others).mean() <= week[1]
    assert bloom.contains(bitmaps, bloom.fingerprints(f"item-3-{n}" for n in range(items))).all()


@pytest.mark.parametrize(
    ("pairs", "low", "high"), [(500, 0, 0.001), (1_000, 0.01, 0.02), (2_000, 0.6, 0.7)]
)
def test_a_rule_of_all_types_errs_as_documented(pairs, low, high):
    bitmaps = [local_bitmap([f"item-{d}-{n}" for n in range(pairs)]) for d in range(7)]
    others = bloom.fingerprints(f"other-{n}" for n in range(20_000))
    assert low <= bloom.contains(bitmaps, others, ACTS).mean() <= high


def test_an_item_is_held_under_its_event_types_only():
    items = [f"item-{n}" for n in range(400)]
    bitmap = bytearray(bloom.BITS // 8)
    kinds = [ACTS[n % len(ACTS)] for n in range(400)]
    for item_id, kind in zip(items, kinds, strict=True):
        for bit in bloom.positions(item_id, kind):
            bitmap[bit // 8] |= 128 >> bit % 8
    prints = bloom.fingerprints(items)
    for events in ((VIEW,), ("Purchase",), ("AddToCart", "Purchase"), ACTS, ()):
        found = bloom.contains([None, bytes(bitmap)], prints, events)
        assert found.tolist() == [kind in events for kind in kinds]
    # filters of before the event types were told apart hold plain items
    assert bloom.contains([local_bitmap(items)], prints, ACTS).all()


def test_days_and_expiry_are_those_of_the_zone():
    """2026-03-29 has 23 hours in Berlin, 2026-10-25 has 25."""
    berlin = "Europe/Berlin"
    assert bloom.day_of(1_774_738_799, berlin) == "20260328"
    assert bloom.last_days(1_774_738_800, 2, berlin) == ["20260329", "20260328"]
    assert bloom.expiry("20260329", 0, berlin) - 1_774_738_800 == 23 * 3_600
    assert bloom.expiry("20261025", 0, berlin) - bloom.expiry("20261024", 0, berlin) == 25 * 3_600


def test_rated_load_on_a_real_server(valkey):
    """Seven full days through the consumer's script: nothing seen is missed, of the rest at most 1
    % counts as seen.
    """
    client, now = valkey.client(1), int(time.time())
    for day in range(7):
        mark_seen(
            client, "u", [f"item-{day}-{n}" for n in range(bloom.CAPACITY)], now - 86_400 * day
        )
    bitmaps = client.mget([bloom.seen_key("u", day) for day in bloom.last_days(now, 7, UTC)])
    assert all(bitmaps)
    seen = bloom.fingerprints(f"item-{day}-{n}" for day in range(7) for n in range(bloom.CAPACITY))
    assert bloom.contains(bitmaps, seen).all()
    assert (
        0
        < bloom.contains(bitmaps, bloom.fingerprints(f"other-{n}" for n in range(50_000))).mean()
        <= 0.01
    )


def test_positions_are_distinct_stable_and_in_range():
    positions = bloom.positions("item-1", VIEW)
    assert len(set(positions.tolist())) == bloom.HASHES
    assert positions.min() >= 0 and positions.max() < bloom.BITS
    assert positions.tolist() == GOLDEN


@pytest.mark.parametrize("bitmap", [None, b"", b"\x00", b"\xff" * (bloom.BITS // 8 + 5)])
def test_any_length_of_bitmap_is_read(bitmap):
    found = bloom.contains([bitmap, None], bloom.fingerprints(["a", "b"]))
    assert found.tolist() == [bitmap is not None and len(bitmap) > 1] * 2


def test_no_item_gives_no_row():
    assert bloom.fingerprints([]).shape == (0, 2)
    assert bloom.contains([b"\xff"], bloom.fingerprints([])).shape == (0,)
    assert bloom.contains([], bloom.fingerprints(["a"])).tolist() == [False]


def test_membership_is_that_of_every_position():
    added, asked = [f"item-{n}" for n in range(300)], [f"item-{n}" for n in range(250, 900)]
    bitmaps = [local_bitmap(added[:100]), None, local_bitmap(added[100:])]
    for item_id, found in zip(
        asked, bloom.contains(bitmaps, bloom.fingerprints(asked)), strict=True
    ):
        held = [
            all(
                bitmap[bit // 8] & 128 >> bit % 8 for bit in bloom.positions(item_id, VIEW).tolist()
            )
            for bitmap in bitmaps
            if bitmap
        ]
        assert found == any(held), item_id


def test_no_id_escapes_its_key():
    assert bloom.seen_key("a", "20260101") == "seen:a:20260101"
    assert bloom.seen_key("a:20260101", "20260102") != bloom.seen_key("a", "20260101:20260102")
    keys = {
        bloom.seen_key(user, "20260101")
        for user in ("a b", "a%20b", "a\nb", "ä", "*", "a:b", "a%3Ab")
    }
    assert len(keys) == 7
    assert all(key.count(":") == 2 and key.isascii() and not set("* \n") & set(key) for key in keys)


def test_days_are_utc_and_cross_the_year():
    midnight = 1_767_225_600  # 2026-01-01T00:00:00Z
    assert bloom.day_of(midnight, UTC) == "20260101"
    assert bloom.day_of(midnight - 1, UTC) == "20251231"
    assert bloom.last_days(midnight + 1, 3, UTC) == ["20260101", "20251231", "20251230"]


def test_added_on_a_real_server(valkey):
    """What SETBIT sets, GET and numpy find again; the key ends by itself, and adding twice changes
    nothing.
    """
    client, items = valkey.client(1), ["item-1", "ünï", "a:b"]
    now = client.time()[0]
    key = bloom.seen_key("u:1", bloom.day_of(now, UTC))
    for _ in range(2):
        mark_seen(client, "u:1", items, now)
        stored = client.get(key)
        assert stored == local_bitmap(items)[: len(stored)]
        assert bloom.contains([stored], bloom.fingerprints(items)).all()
        assert not bloom.contains([stored], bloom.fingerprints(["item-2", "x"])).any()
        assert 7 * 86_400 < client.ttl(key) <= 8 * 86_400
    assert client.keys("seen:*") == [key.encode()]


def test_adding_to_a_day_that_is_past_leaves_nothing(valkey):
    mark_seen(valkey.client(1), "u", ["item-1"], 1_577_836_800)
    assert valkey.client(1).keys("seen:*") == []
