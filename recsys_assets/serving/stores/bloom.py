"""Keep a visitor's seen items in Bloom filters, one key per user and day.

Each key expires by itself. Works on any Valkey or Redis without a module: SETBIT sets bits, one GET
reads a filter, and numpy tests membership. Sources: B. H. Bloom, "Space/time trade-offs in hash
coding with allowable errors", 1970; double hashing after Kirsch and Mitzenmacher, "Less hashing,
same performance", 2006.

An item that was added is always found. Some other items are taken for seen as well. With n items
in each day's filter, their share is (1 - exp(-HASHES·n / BITS)) ^ HASHES for one day:

| items per day | one day | seven days |
|---|---|---|
| 500 | 0.00 % | 0.01 % |
| 1,000 (CAPACITY) | 0.04 % | 0.28 % |
| 2,000 | 3.0 % | 19 % |
| 5,000 | 61 % | 99.9 % |

Beyond CAPACITY the rate grows: a visitor with thousands of items per day gets fewer new items. With
more than 25 full days (``seen_days``), the union exceeds 1 %.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from urllib.parse import quote

import numpy as np

#: Items per user and day up to which the error rate holds.
CAPACITY = 1_000
#: Highest error rate of one day's filter at capacity. An answer reads ``seen_days`` (7) filters, so
#: their union stays below 1 %.
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


def positions(item_id: str) -> np.ndarray:
    """Return the bit positions of one item, int64 [HASHES].

    They are distinct, because BITS is a power of two and the step is odd.
    """
    found: np.ndarray = _positions(fingerprints([item_id]))[0]
    return found


def _positions(prints: np.ndarray) -> np.ndarray:
    """Return the bit positions of N items: uint16 [N, 2] → int64 [N, HASHES]."""
    found: np.ndarray = (prints[:, :1] + prints[:, 1:] * _STEPS) & BITS - 1
    return found


def contains(bitmaps: Sequence[bytes | None], prints: np.ndarray) -> np.ndarray:
    """Return which items at least one of the filters (perhaps) holds.

    Args:
        bitmaps: values of D keys; None, or bytes missing at the end, count as zeros.
        prints: uint16 [N, 2] of ``fingerprints``.

    Returns:
        bool [N]; never False for an item that was added to one of the filters.
    """
    found = np.zeros(len(prints), bool)
    stored = [bitmap[: BITS // 8] for bitmap in bitmaps if bitmap]
    if not stored or not len(prints):
        return found
    # the server and numpy both count from a byte's most significant bit
    bits = np.unpackbits(
        np.frombuffer(b"".join([bitmap.ljust(BITS // 8, b"\0") for bitmap in stored]), np.uint8)
    )
    days, first = bits.reshape(-1, BITS), prints[:, 0]
    # few items pass the first two positions; only these are tested on all
    day, item = (
        days.take(first, axis=1) & days.take(first + prints[:, 1] & BITS - 1, axis=1)
    ).nonzero()
    if len(item):
        places = _positions(prints.take(item, axis=0)) + BITS * day[:, None]
        found[item[bits.take(places).all(axis=1)]] = True
    return found


def day_of(timestamp: float) -> str:
    """Return the UTC day of a Unix time as YYYYMMDD."""
    return datetime.fromtimestamp(timestamp, tz=timezone.utc).strftime("%Y%m%d")


def last_days(timestamp: float, count: int) -> list[str]:
    """Return the UTC day of a Unix time and ``count`` - 1 days before, latest first."""
    return list(_last_days(int(timestamp // 86_400), count))


@lru_cache(maxsize=8)
def _last_days(number: int, count: int) -> tuple[str, ...]:
    """Return ``count`` days up to the day with a number since 1970, latest first."""
    return tuple(day_of(86_400 * (number - n)) for n in range(count))


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


def expiry(day: str, seen_days: int) -> int:
    """Return the Unix time at which the key of a day expires.

    This is ``seen_days`` + 1 days after the day began, whenever the key is written.

    >>> expiry("20260101", 7) - expiry("20260101", 0)
    604800
    """
    begin = datetime.strptime(day, "%Y%m%d").replace(tzinfo=timezone.utc)
    return int((begin + timedelta(days=seen_days + 1)).timestamp())
