"""Keep a visitor's seen items in Bloom filters, one key per user and local day.

Each key expires by itself. Works on any Valkey or Redis without a module: SETBIT sets bits, one GET
reads a filter, and numpy tests membership. Sources: B. H. Bloom, "Space/time trade-offs in hash
coding with allowable errors", 1970; double hashing after Kirsch and Mitzenmacher, "Less hashing,
same performance", 2006.

A filter holds pairs of item and event type, so that each ``SeenRule`` can be read from the same
key: a test asks for an item under every event type of the rule. Under ``View`` an item has its
plain fingerprint; the other types change it by a mask.

A pair that was added is always found. Some other pairs are taken for seen as well. With n pairs in
each day's filter, their share is about (1 - exp(-HASHES·n / BITS)) ^ HASHES for one day and type:

| pairs per day | one day, one type | seven days, one type | seven days, five types |
|---|---|---|---|
| 500 | 0.00 % | 0.01 % | 0.07 % |
| 1,000 (CAPACITY) | 0.04 % | 0.28 % | 1.4 % |
| 2,000 | 3.0 % | 19 % | 65 % |
| 5,000 | 61 % | 99.9 % | 100 % |

Each rule asks for dismissed items too, which is a sixth type. Beyond CAPACITY the rate grows: a
visitor with thousands of items per day gets fewer new items. The union grows with the days of the
rule as well.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from urllib.parse import quote

import numpy as np

from recsys_assets.columns import EVENT_TYPES, SECONDS_PER_DAY, VIEW, EventType
from recsys_assets.local_time import day_bounds, day_name, day_number, to_local

#: Pairs of item and event type per user and day up to which the error rate holds.
CAPACITY = 1_000
#: Highest error rate of one day's filter at capacity, under one event type. An answer reads as many
#: filters as the rule has days (7), so their union stays below 1 %.
ERROR_RATE = 0.001


def size(capacity: int, error_rate: float) -> tuple[int, int]:
    """Return (bits, hashes) of the smallest filter for a capacity and error rate.

    The number of bits is a power of two.

    >>> size(1_000, 0.001)
    (16384, 10)
    """
    bits = math.ceil(capacity * -math.log(error_rate) / math.log(2) ** 2)
    return 1 << (bits - 1).bit_length(), math.ceil(-math.log2(error_rate))


BITS, HASHES = size(CAPACITY, ERROR_RATE)
_STEPS = np.arange(HASHES)


def fingerprints(item_ids: Iterable[str]) -> np.ndarray:
    """Return the pairs of numbers that give the positions of items.

    Returns:
        uint16 [N, 2], each below BITS; the second number is odd.
    """
    digests = b"".join(
        hashlib.blake2b(item_id.encode(), digest_size=16).digest() for item_id in item_ids
    )
    # BITS divides 2^64, so reducing first changes no position
    found = np.frombuffer(digests, ">u8").reshape(-1, 2) % BITS
    return (found | np.array([0, 1], np.uint64)).astype(np.uint16)


def _mask(event_type: EventType) -> int:
    """Return what an event type changes in the second number of a fingerprint; View: nothing."""
    if event_type == VIEW:
        return 0
    digest = hashlib.blake2b(event_type.encode(), digest_size=2).digest()
    return int.from_bytes(digest, "big") % BITS & ~1  # the number stays odd


_MASKS = {event_type: _mask(event_type) for event_type in EVENT_TYPES}


@lru_cache(maxsize=64)
def masks(events: tuple[EventType, ...]) -> np.ndarray:
    """Return the masks of E event types, uint16 [E, 2].

    ``fingerprints`` XOR a mask are the fingerprints of the items under that event type. The first
    number is the same under all, so that one look tells of most items that they were not seen.
    """
    return np.array([(0, _MASKS[event]) for event in events], np.uint16).reshape(-1, 2)


def positions(item_id: str, event_type: EventType) -> np.ndarray:
    """Return the bit positions of one item under an event type, int64 [HASHES].

    They are distinct, because BITS is a power of two and the step is odd.
    """
    found: np.ndarray = positions_of(fingerprints([item_id]) ^ masks((event_type,)))[0]
    return found


def positions_of(prints: np.ndarray) -> np.ndarray:
    """Return the bit positions of N items: uint16 [N, 2] → int64 [N, HASHES]."""
    found: np.ndarray = (prints[:, :1] + prints[:, 1:] * _STEPS) & BITS - 1
    return found


def contains(
    bitmaps: Sequence[bytes | None], prints: np.ndarray, events: tuple[EventType, ...] = (VIEW,)
) -> np.ndarray:
    """Return which items at least one of the filters (perhaps) holds under one of the event types.

    Args:
        bitmaps: values of D keys; None, or bytes missing at the end, count as zeros.
        prints: uint16 [N, 2] of ``fingerprints``.
        events: the E event types.

    Returns:
        bool [N]; never False for an item that was added under one of the event types.
    """
    found = np.zeros(len(prints), bool)
    stored = [bitmap[: BITS // 8] for bitmap in bitmaps if bitmap]
    if not stored or not len(prints):
        return found
    # the server and numpy both count from a byte's most significant bit
    bits = np.unpackbits(
        np.frombuffer(b"".join([bitmap.ljust(BITS // 8, b"\0") for bitmap in stored]), np.uint8)
    )
    # few items pass the first position, fewer the second; only these are tested on all
    day, item = bits.reshape(-1, BITS).take(prints[:, 0], axis=1).nonzero()
    if not len(item):
        return found
    passed, start = prints.take(item, axis=0), BITS * day
    of_type = masks(events)
    second = (passed[:, 0] + (passed[:, 1] ^ of_type[:, 1:]) & BITS - 1) + start
    event, place = bits.take(second).nonzero()
    if len(place):
        pairs = passed.take(place, axis=0) ^ of_type.take(event, axis=0)
        places = positions_of(pairs) + start.take(place)[:, None]
        found[item.take(place)[bits.take(places).all(axis=1)]] = True
    return found


@lru_cache(maxsize=1_024)
def key_day(number: int) -> str:
    """Return the name, YYYYMMDD, of a day of ``local_time.day_number`` in a key."""
    return day_name(number).replace("-", "")


def local_day(timestamp: float, zone: str) -> int:
    """Return the number of the local day of a Unix time."""
    return to_local(int(timestamp), zone) // SECONDS_PER_DAY


def day_of(timestamp: float, zone: str) -> str:
    """Return the local day of a Unix time as YYYYMMDD."""
    return key_day(local_day(timestamp, zone))


def last_days(timestamp: float, count: int, zone: str) -> list[str]:
    """Return the local day of a Unix time and ``count`` - 1 days before, latest first."""
    return list(_last_days(local_day(timestamp, zone), count))


@lru_cache(maxsize=8)
def _last_days(number: int, count: int) -> tuple[str, ...]:
    """Return ``count`` days up to the day with a number since 1970, latest first."""
    return tuple(key_day(number - n) for n in range(count))


def seen_key(user_id: str, day: str) -> str:
    """Return the key of one user and day.

    The id is percent-encoded, so that no id can form the key of another user.

    >>> seen_key("a:20260101", "20260102")
    'seen:a%3A20260101:20260102'
    """
    return seen_keys(user_id, [day])[0]


def seen_keys(user_id: str, days: Iterable[str]) -> list[str]:
    """Return the ``seen_key`` of each day."""
    # true for most ids: quote() would cost 5 µs and change nothing
    plain = user_id.isascii() and user_id.isalnum()
    head = f"seen:{user_id if plain else quote(user_id, safe='')}:"
    return [head + day for day in days]


def reset_key(user_id: str) -> str:
    """Return the key of a visitor's last reset: unix seconds, before which no event counts."""
    return f"reset:{user_id}"


@lru_cache(maxsize=64)
def expiry(day: str, seen_days: int, zone: str) -> int:
    """Return the Unix time at which the key of a day expires.

    This is ``seen_days`` + 1 local days after the day began, whenever the key is written.

    >>> expiry("20260101", 7, "UTC") - expiry("20260101", 0, "UTC")
    604800
    """
    number = day_number(f"{day[:4]}-{day[4:6]}-{day[6:]}")
    return day_bounds(day_name(number + seen_days + 1), zone)[0]
