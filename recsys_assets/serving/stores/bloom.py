"""A visitor's seen items: a Bloom filter on plain strings, one key a user and day, so that it
forgets by itself.

Works on any Valkey or Redis (no module): bits are set by SETBIT and read by one GET; membership is
numpy. B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970; double
hashing after Kirsch and Mitzenmacher, "Less hashing, same performance", 2006.

An item that was added is always found. Of the others these are taken for seen, at n items in each
day's filter, by (1 - exp(-HASHES·n / BITS)) ^ HASHES, a day and in a week of them:

| items a day | one day | seven days |
|---|---|---|
| 500 | 0.00 % | 0.01 % |
| 1,000 (CAPACITY) | 0.04 % | 0.28 % |
| 2,000 | 3.0 % | 19 % |
| 5,000 | 61 % | 99.9 % |

So the rate grows beyond the capacity, and never breaks: whoever looks at thousands of items a day
is shown fewer that are new. With more than 25 ``seen_days`` that are all full, the union passes 1
%.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from urllib.parse import quote

import numpy as np

#: Items that one user sees in one day before the stated error rate is exceeded.
CAPACITY = 1_000
#: Of one day's filter at capacity, at most. An answer asks ``seen_days`` (7) of them, so the union
#: stays below 1 %.
ERROR_RATE = 0.001


def size(capacity: int, error_rate: float) -> tuple[int, int]:
    """(bits, hashes) of the smallest filter with a power of two of bits that holds the error rate
    at capacity.

    >>> size(1_000, 0.001)
    (16384, 10)
    """
    bits = math.ceil(capacity * -math.log(error_rate) / math.log(2) ** 2)
    return 1 << (bits - 1).bit_length(), math.ceil(-math.log2(error_rate))


BITS, HASHES = size(CAPACITY, ERROR_RATE)
_STEPS = np.arange(HASHES)


def fingerprints(item_ids: Iterable[str]) -> np.ndarray:
    """What the positions of items follow from: uint16 [N, 2], each below BITS; the second is
    odd.
    """
    digests = b"".join(
        hashlib.blake2b(item_id.encode(), digest_size=16).digest() for item_id in item_ids
    )
    # BITS divides 2^64, so reducing first changes no position
    found = np.frombuffer(digests, ">u8").reshape(-1, 2) % BITS
    return (found | np.array([0, 1], np.uint64)).astype(np.uint16)


def positions(item_id: str) -> np.ndarray:
    """Bit positions of one item, int64 [HASHES]; a power of two of bits and an odd step make them
    distinct.
    """
    return _positions(fingerprints([item_id]))[0]


def _positions(prints: np.ndarray) -> np.ndarray:
    """[N, 2] → int64 [N, HASHES]."""
    return (prints[:, :1] + prints[:, 1:] * _STEPS) & BITS - 1


def contains(bitmaps: Sequence[bytes | None], prints: np.ndarray) -> np.ndarray:
    """Which items one of the filters (perhaps) holds.

    Args:
        bitmaps: the values of D keys; None or a short one has zeros where it ends.
        prints: uint16 [N, 2] of ``fingerprints``.

    Returns:
        bool [N]; never False for an item that was added to one of them.
    """
    found = np.zeros(len(prints), bool)
    stored = [bitmap[: BITS // 8] for bitmap in bitmaps if bitmap]
    if not stored or not len(prints):
        return found
    # the server counts bits from a byte's most significant one, as numpy does
    bits = np.unpackbits(
        np.frombuffer(b"".join([bitmap.ljust(BITS // 8, b"\0") for bitmap in stored]), np.uint8)
    )
    days, first = bits.reshape(-1, BITS), prints[:, 0]
    # few pass the first two positions, so few are asked for all
    day, item = (
        days.take(first, axis=1) & days.take(first + prints[:, 1] & BITS - 1, axis=1)
    ).nonzero()
    if len(item):
        places = _positions(prints.take(item, axis=0)) + BITS * day[:, None]
        found[item[bits.take(places).all(axis=1)]] = True
    return found


def day_of(timestamp: float) -> str:
    """UTC day of unix seconds as YYYYMMDD."""
    return datetime.fromtimestamp(timestamp, tz=timezone.utc).strftime("%Y%m%d")


def last_days(timestamp: float, count: int) -> list[str]:
    """The UTC day of a moment and the count - 1 before it, latest first."""
    return list(_last_days(int(timestamp // 86_400), count))


@lru_cache(maxsize=8)
def _last_days(number: int, count: int) -> tuple[str, ...]:
    return tuple(day_of(86_400 * (number - n)) for n in range(count))


def seen_key(user_id: str, day: str) -> str:
    """Key of one user and day; the id is percent-encoded, so that none can reach another user's
    key.

    >>> seen_key("a:20260101", "20260102")
    'seen:a%3A20260101:20260102'
    """
    return seen_keys(user_id, [day])[0]


def seen_keys(user_id: str, days: Iterable[str]) -> list[str]:
    """``seen_key`` of each day."""
    plain = (
        user_id.isascii() and user_id.isalnum()
    )  # most ids: quoting them costs 5 µs and changes nothing
    head = f"seen:{user_id if plain else quote(user_id, safe='')}:"
    return [head + day for day in days]


def expiry(day: str, seen_days: int) -> int:
    """When a day's key ends, unix seconds: ``seen_days`` + 1 days after the day began, however
    often it is written.

    >>> expiry("20260101", 7) - expiry("20260101", 0)
    604800
    """
    begin = datetime.strptime(day, "%Y%m%d").replace(tzinfo=timezone.utc)
    return int((begin + timedelta(days=seen_days + 1)).timestamp())
