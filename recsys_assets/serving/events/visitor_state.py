"""What a visitor's event changes in Valkey, exactly once: seen items, recent items, views of the
last seven days.

One Lua script an event decides and applies in one step, so that no crash falls in between. The key
``event:<event id>`` holds the stream id that was applied: the same entry delivered again is known
to be done, and another entry with the same event id is a duplicate. A reset is decided and applied
in the same way.

A reset leaves one key, ``reset:<user id>``: the second from which on the visitor's row in Feast
counts. It makes every later row newer than the empty one, whatever the events' own clocks say, and
ends when no older click counts any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import redis

from recsys_assets.columns import IMPRESSION, MISSING
from recsys_assets.lib.feature_store.recent_clicks import RecentClicks
from recsys_assets.lib.features.activity import HISTORY_SECONDS, RECENT_CLICKS
from recsys_assets.serving.events.events import Event, Reset
from recsys_assets.serving.stores.bloom import (
    day_of,
    expiry,
    last_days,
    positions,
    seen_key,
    seen_keys,
)

RECENT_ITEMS = 100
VIEWS_EXPIRE_SECONDS = (
    HISTORY_SECONDS + 86_400
)  # after the last event: none of the views counts any more


class Outcome(IntEnum):
    DUPLICATE = 0  # another entry brought this event before
    REDELIVERED = 1  # this entry was applied before
    APPLIED = 2


_APPLY = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
if owner then return 1 end
if ARGV[3] == '1' then
  for index = 12, #ARGV do redis.call('SETBIT', KEYS[2], ARGV[index], 1) end
  redis.call('EXPIREAT', KEYS[2], ARGV[4])
  if ARGV[7] ~= '' then
    redis.call('ZADD', KEYS[4], ARGV[6], ARGV[7])
    redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', ARGV[8])
    redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -ARGV[11] - 1)
    redis.call('EXPIRE', KEYS[4], ARGV[9])
    redis.call('INCR', KEYS[5])
    redis.call('EXPIRE', KEYS[5], ARGV[9])
  end
  redis.call('LREM', KEYS[3], 0, ARGV[5])
  redis.call('LPUSH', KEYS[3], ARGV[5])
  redis.call('LTRIM', KEYS[3], 0, ARGV[10] - 1)
  redis.call('EXPIRE', KEYS[3], ARGV[2])
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 2
"""

#: KEYS: event, reset, views, then what is forgotten. ARGV: stream id, its seconds to live, now,
#: reset's seconds to live. Gives the outcome, and the second of the visitor's last reset.
_RESET = """
local owner, last = redis.call('GET', KEYS[1]), tonumber(redis.call('GET', KEYS[2]) or '') or 0
if owner and owner ~= ARGV[1] then return {0, last} end
if owner then return {1, last} end
local at = math.max(tonumber(ARGV[3]), last)
if redis.call('TYPE', KEYS[3])['ok'] == 'zset' then
  at = math.max(at, tonumber(redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]))
end
at = string.format('%.0f', at + 1)
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('SET', KEYS[2], at, 'EX', ARGV[4])
for index = 3, #KEYS do redis.call('DEL', KEYS[index]) end
return {2, tonumber(at)}
"""


def event_key(event_id: str) -> str:
    return f"event:{event_id}"


def recent_key(user_id: str) -> str:
    return f"recent:{user_id}"


def views_key(user_id: str) -> str:
    return f"views:{user_id}"


def updates_key(user_id: str) -> str:
    """Counts the changes of a visitor's views; orders updates within one second."""
    return f"updates:{user_id}"


def reset_key(user_id: str) -> str:
    return f"reset:{user_id}"


class VisitorState:
    """Applies events and resets to database 1.

    Args:
        client: of database 1, answers as bytes.
        seen_days: for how many days an item counts as seen; an event id is remembered one day
            longer.
    """

    def __init__(self, client: redis.Redis, seen_days: int) -> None:
        self._client, self._seen_days, self._remembered = (
            client,
            seen_days,
            (seen_days + 1) * 86_400,
        )
        self._script, self._reset = client.register_script(_APPLY), client.register_script(_RESET)

    def apply(
        self, entries: Sequence[tuple[str, Event, str]], now: float
    ) -> list[Outcome | redis.ResponseError]:
        """Apply (stream id, event, category_l1) in order; an Impression is only remembered as
        delivered.

        Returns one outcome an entry, or the error where one of the visitor's keys holds a value of
        another type.
        Raises redis.RedisError where the store does not answer or refuses to write.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            for stream_id, event, category in entries:
                keys, arguments = self._arguments(stream_id, event, category, now)
                self._script(keys=keys, args=arguments, client=pipeline)
            results = pipeline.execute(raise_on_error=False)
        for result in results:
            if isinstance(result, redis.RedisError) and "WRONGTYPE" not in str(result):
                raise result
        return [
            result if isinstance(result, redis.ResponseError) else Outcome(result)
            for result in results
        ]

    def _arguments(
        self, stream_id: str, event: Event, category: str, now: float
    ) -> tuple[list[str], list[Any]]:
        day = day_of(event.timestamp)
        live = event.event_type != IMPRESSION
        member = f"{event.event_id}|{category}" if category != MISSING else ""
        keys = [
            event_key(event.event_id),
            seen_key(event.user_id, day),
            recent_key(event.user_id),
            views_key(event.user_id),
            updates_key(event.user_id),
        ]
        return keys, [
            stream_id,
            self._remembered,
            int(live),
            expiry(day, self._seen_days),
            event.item_id,
            event.timestamp,
            member,
            f"({int(now) - HISTORY_SECONDS}",
            VIEWS_EXPIRE_SECONDS,
            RECENT_ITEMS,
            RECENT_CLICKS,
            *(positions(event.item_id).tolist() if live else ()),
        ]

    def recent_clicks(self, user_ids: Sequence[str], now: float) -> list[RecentClicks]:
        """The clicks at or after now - 7 days of the visitors who have any: the newest
        RECENT_CLICKS, oldest first.

        The microseconds of ``updated_at``, the time of the newest click or of a reset after it,
        count the visitor's updates, so that of two updates within one second the later is the newer
        one, and the same update given twice is the same. A reset visitor's row is ``whole``.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            for user_id in user_ids:
                pipeline.zrange(
                    views_key(user_id),
                    int(now) - HISTORY_SECONDS,
                    "+inf",
                    byscore=True,
                    withscores=True,
                )
                pipeline.get(updates_key(user_id))
                pipeline.get(reset_key(user_id))
            replies = pipeline.execute(raise_on_error=False)
        found = []
        for user_id, *row in zip(user_ids, replies[::3], replies[1::3], replies[2::3], strict=True):
            refused = [reply for reply in row if isinstance(reply, redis.RedisError)]
            for reply in refused:
                if "WRONGTYPE" not in str(reply):
                    raise reply
            views, updates, reset = row
            if refused or not views:
                continue
            timestamps = [int(score) for _, score in views]
            updated_at = max(timestamps[-1], int(reset or 0)) + int(updates or 0) % 1_000_000 / 1e6
            found.append(
                RecentClicks(
                    user_id,
                    [member.decode().split("|", 1)[1] for member, _ in views],
                    timestamps,
                    updated_at,
                    whole=reset is not None,
                )
            )
        return found

    def reset(self, stream_id: str, reset: Reset, now: float) -> tuple[Outcome, RecentClicks]:
        """Forget a visitor: seen items of every day that could still be asked for, recent items,
        views.

        Returns the outcome and the empty row that takes the place of the one in Feast: newer than
        any before it.
        Raises redis.RedisError where the store does not answer or refuses to write; then nothing is
        changed.
        """
        user_id, day = reset.user_id, 86_400
        # an event's own clock may be a little ahead, so tomorrow may have a filter; a key ends a
        # day after it last counts
        days = last_days(now + day, self._seen_days + 2)
        keys = [
            event_key(reset.event_id),
            reset_key(user_id),
            views_key(user_id),
            updates_key(user_id),
            recent_key(user_id),
            *seen_keys(user_id, days),
        ]
        outcome, at = self._reset(
            keys=keys, args=[stream_id, self._remembered, int(now), VIEWS_EXPIRE_SECONDS]
        )
        return Outcome(outcome), RecentClicks(user_id, [], [], float(at), whole=True)
