"""Write what was popular at past moments into the store of an own home."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import polars as pl
import redis

from recsys_assets import columns as c
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.feature_store.popular_now import period_key
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.features.counted_clicks import counted
from recsys_assets.lib.served_check.subject import Subject
from recsys_assets.lib.sources.forward_decay import period_of, period_start, weights
from recsys_assets.lib.sources.stored import read_blend
from recsys_assets.release_files import CANDIDATE_SOURCES, MODELS
from recsys_assets.settings import VISITOR_DATABASE, Settings


class PastPopularity:
    """Keeps the counts of what is popular as they were at a moment.

    The stage reads the counts of the present period. A period's counts are written there with the
    weights of their own time, so that the sums are those of the consumer to the bit.

    Args:
        client: of VISITOR_DATABASE of an own home, whose Valkey runs.
        half_lives: hours, of the lists that the release reads.
        clicks: {user_id, item_id, timestamp}, without impressions.
    """

    def __init__(
        self, client: redis.Redis, half_lives: Sequence[int], clicks: pl.DataFrame
    ) -> None:
        known = counted(clicks)
        self.half_lives, self._client = half_lives, client
        self._items, self._times = known[c.ITEM_ID].to_list(), known[c.TIMESTAMP].to_numpy()
        self._counts: dict[int, _Counts] = {}

    @classmethod
    def of(cls, own: Settings, subject: Subject) -> PastPopularity:
        """Read what a release and the log of its queries say."""
        blend = read_blend(subject.release.artifact.local / MODELS / CANDIDATE_SOURCES)
        half_lives = () if blend is None else blend.half_lives
        clicks = read_clicks(subject.log if half_lives else [])
        return cls(visitor_client(own, VISITOR_DATABASE), half_lives, clicks)

    def forget(self) -> None:
        """Write all counts with the next moment: the visitors were set anew.

        That empties the store, and then counts their clicks as those of these days, also the clicks
        that are later than the moment.
        """
        for known in self._counts.values():
            known.written = False

    def set(self, at: int) -> None:
        """Write the counts of the clicks strictly before a moment; at: unix seconds."""
        for half_life in self.half_lives:
            self._set(half_life, at)

    def _set(self, half_life: int, at: int) -> None:
        period, end = period_of(at, half_life), int(np.searchsorted(self._times, at))
        key = period_key(half_life, period_of(time.time(), half_life))
        known = self._counts.get(half_life)
        if known is None or known.place != (key, period) or known.done > end:
            first = period_start(period - 1, half_life)
            known = _Counts((key, period), int(np.searchsorted(self._times, first)))
            self._counts[half_life] = known
        if not known.written:
            self._client.delete(key)
        clicked = range(known.done, end)
        added = weights(self._times[known.done : end], period_start(period, half_life), half_life)
        changed = {} if known.written else known.sums
        for position, weight in zip(clicked, added.tolist(), strict=True):
            item = self._items[position]
            changed[item] = known.sums[item] = known.sums.get(item, 0.0) + weight
        known.done, known.written = end, True
        if changed:
            self._client.zadd(key, {item: repr(value) for item, value in changed.items()})


class _Counts:
    """Holds what a key has."""

    def __init__(self, place: tuple[str, int], done: int) -> None:
        self.place, self.done = place, done  # key and period; clicks that are counted
        self.sums: dict[str, float] = {}
        self.written = False  # whether the key has them, and nothing else
