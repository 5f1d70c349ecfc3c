from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.serving import bloom

# a stored filter must stay readable by later versions of the code
GOLDEN = [13690, 11907, 10124, 8341, 6558, 4775, 2992, 1209, 15810, 14027]


def local_bitmap(item_ids: list[str]) -> bytes:
    """What the server would hold, by the definition of SETBIT."""
    bits = bytearray(bloom.BITS // 8)
    for item_id in item_ids:
        for bit in bloom.positions(item_id):
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
    assert bloom.contains(bitmap, bloom.position_table(added)).all()
    others = bloom.position_table(f"other-{n}" for n in range(20_000))
    assert bloom.contains(bitmap, others).mean() <= 0.01 / 7  # a week of them is asked at once


def test_positions_are_distinct_stable_and_in_range():
    positions = bloom.positions("item-1")
    assert len(set(positions.tolist())) == bloom.HASHES
    assert positions.min() >= 0 and positions.max() < bloom.BITS
    assert positions.tolist() == GOLDEN


@pytest.mark.parametrize("bitmap", [None, b"", b"\x00", b"\xff" * (bloom.BITS // 8 + 5)])
def test_any_length_of_bitmap_is_read(bitmap):
    found = bloom.contains(bitmap, bloom.position_table(["a", "b"]))
    assert found.tolist() == [bitmap is not None and len(bitmap) > 1] * 2


def test_no_item_gives_no_row():
    assert bloom.position_table([]).shape == (0, bloom.HASHES)
    assert bloom.contains(b"\xff", bloom.position_table([])).shape == (0,)


def test_no_id_escapes_its_key():
    assert bloom.seen_key("a", "20260101") == "seen:a:20260101"
    assert bloom.seen_key("a:20260101", "20260102") != bloom.seen_key("a", "20260101:20260102")
    keys = {bloom.seen_key(user, "20260101") for user in ("a b", "a%20b", "a\nb", "ä", "*", "a:b", "a%3Ab")}
    assert len(keys) == 7
    assert all(key.count(":") == 2 and key.isascii() and not set("* \n") & set(key) for key in keys)


def test_days_are_utc_and_cross_the_year():
    midnight = 1_767_225_600  # 2026-01-01T00:00:00Z
    assert bloom.day_of(midnight) == "20260101"
    assert bloom.day_of(midnight - 1) == "20251231"
    assert bloom.last_days(midnight + 1, 3) == ["20260101", "20251231", "20251230"]


def test_added_on_a_real_server(valkey):
    """What BITFIELD sets, GET and numpy find again; the key ends by itself, and adding twice changes nothing."""
    client, items = valkey.client(1), ["item-1", "ünï", "a:b"]
    day = bloom.day_of(client.time()[0])
    for _ in range(2):
        pipeline = client.pipeline(transaction=False)
        bloom.add_commands(pipeline, "u:1", items, day, seen_days=7)
        pipeline.execute()
        stored = client.get(bloom.seen_key("u:1", day))
        assert stored == local_bitmap(items)[: len(stored)]
        assert bloom.contains(stored, bloom.position_table(items)).all()
        assert not bloom.contains(stored, bloom.position_table(["item-2", "x"])).any()
        assert 7 * 86_400 < client.ttl(bloom.seen_key("u:1", day)) <= 8 * 86_400
    assert client.keys("*") == [bloom.seen_key("u:1", day).encode()]


def test_adding_to_a_day_that_is_past_leaves_nothing(valkey):
    pipeline = valkey.client(1).pipeline(transaction=False)
    bloom.add_commands(pipeline, "u", ["item-1"], "20200101", seen_days=7)
    pipeline.execute()
    assert valkey.client(1).dbsize() == 0
