"""Check that the event consumer is alive: exit code 0 or 1 for Kubernetes' probes.

    python -m recsys_assets.serving.events.consumer_probe --name recsys-consumer-0

A consumer is alive if it asked the stream for events within the last minute. If the store does not
answer, the consumer waits, and a restart would not help. Then the probe says "alive" with a note.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import redis

from recsys_assets.lib.feature_store.valkey import STORE_ERRORS, visitor_client
from recsys_assets.serving.events.events import GROUP, STREAM
from recsys_assets.settings import VISITOR_DATABASE, Settings, get_settings

#: The consumer reads at least every 200 ms and lands every 3 s. Its longest store calls end after
#: 5 s.
LONGEST_SILENCE_MS = 60_000
STORE_LIMIT_MS = 3_000


def silence_ms(settings: Settings, name: str) -> float | None:
    """Return the milliseconds since a consumer last asked for events.

    None: the group does not know the consumer.

    Raises:
        redis.RedisError, OSError: the store does not answer.
    """
    client = visitor_client(settings, VISITOR_DATABASE, timeout_ms=STORE_LIMIT_MS)
    try:
        members: Any = client.xinfo_consumers(STREAM, GROUP)
    except redis.ResponseError as error:
        if "no such key" in str(error).lower() or "NOGROUP" in str(error):
            return None  # the first consumer makes stream and group
        raise
    finally:
        client.close()
    return next(
        (float(member["idle"]) for member in members if member["name"].decode() == name), None
    )


def main() -> int:
    """Print the state of the consumer and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m recsys_assets.serving.events.consumer_probe", description=__doc__
    )
    parser.add_argument("--name", required=True, help="the consumer's name in its group")
    name = parser.parse_args().name
    try:
        silence = silence_ms(get_settings(), name)
    except STORE_ERRORS as error:
        print(f"assumed alive: the store does not answer ({error})")
        return 0
    if silence is None:
        print(f"{name} has not joined the group {GROUP} of the stream {STREAM} yet")
        return 1
    print(f"{name} last read {silence:.0f} ms ago")
    return 0 if silence <= LONGEST_SILENCE_MS else 1


if __name__ == "__main__":
    sys.exit(main())
