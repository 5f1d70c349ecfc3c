"""Apply each visitor event to Valkey exactly once.

An event of interest changes the seen items (each under its event type), the recent items, the views
of the look-back days, and the counts of what is popular now, which hold no visitor. A dismissal
changes the seen items alone: it hides an item and shows no interest. One Lua script per event
decides and applies in one step, so that no crash falls in between. The key
``event:<event id>`` holds the stream id that was applied: the same entry delivered again counts as
done, and another entry with the same event id is a duplicate. A reset works in the same way.

A reset leaves one key, ``reset:<user id>``: the second from which on the visitor's row in Feast
counts. It makes every later row newer than the empty one, whatever the clocks of the events are,
and it expires when no older click counts any more. The back-fill of history
(``lib.feature_store.seen_history``) leaves out events before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import redis

from recsys_assets.columns import DISMISS, INTEREST_EVENTS, MISSING, SECONDS_PER_DAY
from recsys_assets.lib.feature_store.bloom import (
    day_of,
    expiry,
    last_days,
    positions,
    reset_key,
    seen_key,
    seen_keys,
)
from recsys_assets.lib.feature_store.popular_now import MEMBERS, additions
from recsys_assets.lib.feature_store.recent_clicks import Click, RecentClicks, in_order
from recsys_assets.lib.features.activity import RECENT_CLICKS
from recsys_assets.lib.sources.forward_decay import APART
from recsys_assets.serving.events.events import Event, Reset

RECENT_ITEMS = 100
#: Between event id, item id and category of a view; no id holds it.
_SEPARATOR = "\x1f"


class Outcome(IntEnum):
    """Outcome of one stream entry."""

    DUPLICATE = 0  # another entry brought this event before
    REDELIVERED = 1  # this entry was applied before
    APPLIED = 2


#: KEYS: event, seen, recent items, views, updates, then the counts of what is popular now. ARGV:
#: see ``VisitorState._arguments``. ARGV[3] is 1 for an event of interest, 2 for a dismissal, which
#: is kept among the seen items alone, and 0 for an impression. A click that repeats one of the
#: visitor's views does not count as popular. A click on an item without category always counts,
#: because it is in no views.
_APPLY = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
if owner then return 1 end
if ARGV[3] ~= '0' then
  for index = 2 * #KEYS + 6, #ARGV do redis.call('SETBIT', KEYS[2], ARGV[index], 1) end
  redis.call('EXPIREAT', KEYS[2], ARGV[4])
end
if ARGV[3] == '1' then
  local counts = true
  if ARGV[15] ~= '' then
    for _, view in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], ARGV[13], ARGV[14])) do
      if string.find(view, ARGV[15], 1, true) then counts = false end
    end
  end
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
  for key = 6, #KEYS do
    if counts then
      redis.call('ZINCRBY', KEYS[key], ARGV[2 * key + 4], ARGV[5])
      redis.call('ZREMRANGEBYRANK', KEYS[key], 0, -ARGV[12] - 1)
      redis.call('EXPIREAT', KEYS[key], ARGV[2 * key + 5])
    end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 2
"""

#: KEYS: event, reset, then the keys to delete, views first. ARGV: stream id, its seconds to live,
#: now, the reset's seconds to live. Returns the outcome and the second of the visitor's last reset.
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
    """Return the key that marks an event as applied."""
    return f"event:{event_id}"


def recent_key(user_id: str) -> str:
    """Return the key of a visitor's recent items."""
    return f"recent:{user_id}"


def views_key(user_id: str) -> str:
    """Return the key of a visitor's views."""
    return f"views:{user_id}"


def updates_key(user_id: str) -> str:
    """Return the key that counts the changes of a visitor's views.

    The count orders updates within one second.
    """
    return f"updates:{user_id}"


class VisitorState:
    """Applies events and resets to database 1.

    Args:
        client: of database 1, replies as bytes.
        kept_days: for how many local days seen items are kept (``Settings.kept_seen_days``). An
            event id and a reset are remembered one day longer.
        zone: time zone of the shop.
        look_back_days: for how many days of 24 hours clicks count as recent.
    """

    def __init__(self, client: redis.Redis, kept_days: int, zone: str, look_back_days: int) -> None:
        self._client, self._kept_days, self._zone = client, kept_days, zone
        self._remembered = (kept_days + 1) * SECONDS_PER_DAY
        self._look_back = look_back_days * SECONDS_PER_DAY
        # one day after the last event: then none of the views counts any more
        self._views_expire = self._look_back + SECONDS_PER_DAY
        self._script, self._reset = client.register_script(_APPLY), client.register_script(_RESET)

    def apply(
        self, entries: Sequence[tuple[str, Event, str]], now: float
    ) -> list[Outcome | redis.ResponseError]:
        """Apply events in their order; an impression is only recorded as delivered.

        Args:
            entries: (stream id, event, category_l1).
            now: Unix seconds.

        Returns:
            One outcome per entry, or the error if a key of the visitor holds another type.

        Raises:
            redis.RedisError: the store does not answer or refuses to write.
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
        """Return keys and arguments of the script for one event."""
        day = day_of(event.timestamp, self._zone)
        interest, dismissed = event.event_type in INTEREST_EVENTS, event.event_type == DISMISS
        member = _SEPARATOR.join((event.event_id, event.item_id, category))
        member = member if category != MISSING else ""
        # a clock that is ahead must not make a click weigh more than one of now
        at = min(event.timestamp, int(now))
        added = additions(at, self._zone) if interest else []
        keys = [
            event_key(event.event_id),
            seen_key(event.user_id, day),
            recent_key(event.user_id),
            views_key(event.user_id),
            updates_key(event.user_id),
            *(one.key for one in added),
        ]
        # those without a user id are not one person
        view = f"{_SEPARATOR}{event.item_id}{_SEPARATOR}" if event.user_id != MISSING else ""
        return keys, [
            stream_id,
            self._remembered,
            1 if interest else 2 if dismissed else 0,
            expiry(day, self._kept_days, self._zone),
            event.item_id,
            event.timestamp,
            member,
            f"({int(now) - self._look_back}",
            self._views_expire,
            RECENT_ITEMS,
            RECENT_CLICKS,
            MEMBERS,
            f"({event.timestamp - APART}",
            f"({event.timestamp + APART}",
            view,
            *(value for one in added for value in (repr(one.weight), one.expires)),
            *(positions(event.item_id, event.event_type).tolist() if interest or dismissed else ()),
        ]

    def recent_clicks(self, user_ids: Sequence[str], now: float) -> list[RecentClicks]:
        """Return the clicks of the look-back days of each visitor who has any.

        A row holds the newest RECENT_CLICKS clicks, oldest first. Its ``updated_at`` is the time of
        the newest click, or of a later reset. The microseconds count the visitor's updates: of two
        updates within one second the later one is newer, and the same update given twice is the
        same. The row of a visitor who was reset is ``whole``.

        Args:
            user_ids: the visitors.
            now: Unix seconds.

        Raises:
            redis.RedisError: the store does not answer.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            for user_id in user_ids:
                pipeline.zrange(
                    views_key(user_id),
                    int(now) - self._look_back,
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
            clicks = []
            for member, score in views:
                item, category = _item_and_category(member.decode())
                clicks.append(Click(category, item, int(score)))
            clicks = in_order(clicks)
            updated_at = max(clicks[-1].at, int(reset or 0)) + int(updates or 0) % 1_000_000 / 1e6
            found.append(
                RecentClicks(
                    user_id,
                    [click.category for click in clicks],
                    [click.item for click in clicks],
                    [click.at for click in clicks],
                    updated_at,
                    whole=reset is not None,
                )
            )
        return found

    def reset(self, stream_id: str, reset: Reset, now: float) -> tuple[Outcome, RecentClicks]:
        """Forget a visitor's seen items, recent items and views.

        The seen items of every day that could still be read are deleted.

        Returns:
            The outcome, and an empty row for Feast that is newer than any before it.

        Raises:
            redis.RedisError: the store does not answer or refuses to write; nothing is changed.
        """
        user_id = reset.user_id
        # an event's clock may be ahead, so tomorrow may have a filter; a key expires a day after it
        # last counts
        days = last_days(now + SECONDS_PER_DAY, self._kept_days + 2, self._zone)
        keys = [
            event_key(reset.event_id),
            reset_key(user_id),
            views_key(user_id),
            updates_key(user_id),
            recent_key(user_id),
            *seen_keys(user_id, days),
        ]
        outcome, at = self._reset(
            keys=keys,
            args=[stream_id, self._remembered, int(now), max(self._views_expire, self._remembered)],
        )
        return Outcome(outcome), RecentClicks(user_id, [], [], [], float(at), whole=True)


def _item_and_category(member: str) -> tuple[str, str]:
    """Return item id and category of a view; "" for the item of a view of the older form."""
    if _SEPARATOR in member:
        _, item, category = member.split(_SEPARATOR, 2)
        return item, category
    return "", member.split("|", 1)[1]
