"""A visitor's seen items: a Bloom filter on plain strings, one key a user and day, so that it forgets by itself.

Works on any Valkey or Redis (no module): bits are set by BITFIELD and read by one GET; membership is numpy with
positions that are computed once per item. B. H. Bloom, "Space/time trade-offs in hash coding with allowable
errors", 1970; double hashing after Kirsch and Mitzenmacher, "Less hashing, same performance", 2006.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

import numpy as np
import redis

#: Items that one user sees in one day before the error rate is exceeded.
CAPACITY = 1_000
#: Of one day's filter. An answer asks up to ``seen_days`` (7) of them, so the union stays below 1 %.
ERROR_RATE = 0.001


def size(capacity: int, error_rate: float) -> tuple[int, int]:
    """(bits, hashes) of the smallest filter with a power of two of bits that holds the error rate at capacity.

    >>> size(1_000, 0.001)
    (16384, 10)
    """
    bits = math.ceil(capacity * -math.log(error_rate) / math.log(2) ** 2)
    return 1 << (bits - 1).bit_length(), math.ceil(-math.log2(error_rate))


BITS, HASHES = size(CAPACITY, ERROR_RATE)


def positions(item_id: str) -> np.ndarray:
    """Bit positions of one item, int64 [HASHES]; a power of two of bits and an odd step make them distinct."""
    digest = hashlib.blake2b(item_id.encode(), digest_size=16).digest()
    start, step = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") | 1
    return np.array([(start + n * step) % BITS for n in range(HASHES)], dtype=np.int64)


def position_table(item_ids: Iterable[str]) -> np.ndarray:
    """Bit positions of many items, int64 [N, HASHES]."""
    return np.array([positions(item_id) for item_id in item_ids], dtype=np.int64).reshape(-1, HASHES)


def contains(bitmap: bytes | None, table: np.ndarray) -> np.ndarray:
    """Which items the filter (perhaps) holds.

    Args:
        bitmap: the value of one key; None or a short one has zeros where it ends.
        table: int64 [N, HASHES] of ``position_table``.

    Returns:
        bool [N]; never False for an item that was added.
    """
    bits = np.zeros(BITS // 8, dtype=np.uint8)
    stored = np.frombuffer(bitmap or b"", dtype=np.uint8)[: len(bits)]
    bits[: len(stored)] = stored
    # the server counts bits from a byte's most significant one
    return ((bits[table >> 3] >> (7 - (table & 7)).astype(np.uint8)) & 1).all(axis=1)


def day_of(timestamp: float) -> str:
    """UTC day of unix seconds as YYYYMMDD."""
    return datetime.fromtimestamp(timestamp, tz=timezone.utc).strftime("%Y%m%d")


def last_days(timestamp: float, count: int) -> list[str]:
    """The UTC day of a moment and the count - 1 before it, latest first."""
    today = datetime.fromtimestamp(timestamp, tz=timezone.utc)
    return [(today - timedelta(days=n)).strftime("%Y%m%d") for n in range(count)]


def seen_key(user_id: str, day: str) -> str:
    """Key of one user and day; the id is percent-encoded, so that none can reach another user's key.

    >>> seen_key("a:20260101", "20260102")
    'seen:a%3A20260101:20260102'
    """
    return f"seen:{quote(user_id, safe='')}:{day}"


def add_commands(pipeline: redis.client.Pipeline, user_id: str, item_ids: Sequence[str], day: str,
                 seen_days: int) -> None:
    """Queue the commands that mark items as seen on a day; adding one twice changes nothing.

    The key ends ``seen_days`` + 1 days after the day began, however often it is written.
    """
    if not item_ids:
        return
    key = seen_key(user_id, day)
    sets = [part for item_id in item_ids for bit in positions(item_id) for part in ("SET", "u1", int(bit), 1)]
    pipeline.execute_command("BITFIELD", key, *sets)
    begin = datetime.strptime(day, "%Y%m%d").replace(tzinfo=timezone.utc)
    pipeline.expireat(key, int((begin + timedelta(days=seen_days + 1)).timestamp()))
