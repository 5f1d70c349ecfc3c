"""Drop items that the visitor has seen or dismissed or that are unavailable; backfill the rest."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import redis

from recsys_assets.columns import MISSING, VOCABULARY_START
from recsys_assets.files import FileCorrupt, read_json
from recsys_assets.lib.feature_store import bloom
from recsys_assets.lib.feature_store.hidden import hidden
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.features.seen import SeenRule, read_rule
from recsys_assets.partitions import time_zone
from recsys_assets.release_files import INDEX, MODEL_FILES, POPULARITY, SEEN_RULE
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.answer import Degraded, Fate
from recsys_assets.serving.stages.candidates import parts, require_counts
from recsys_assets.serving.stages.catalogue import read_item_ids, rows_of
from recsys_assets.serving.stages.context import known_visitors
from recsys_assets.serving.stages.retrieval import Searcher
from recsys_assets.serving.stages.stage import StageInputInvalid, Tensors, TwoPartStage
from recsys_assets.serving.stores.availability import HIDDEN, Unavailable
from recsys_assets.serving.stores.connections import (
    Asked,
    Breaker,
    Lines,
    Replies,
    StoreUnavailable,
    argument,
    command,
)
from recsys_assets.serving.stores.poller import Pause, Poller
from recsys_assets.settings import VISITOR_DATABASE, Settings

LOG = logging.getLogger(__name__)

#: Limits of over-fetched candidates, and of popular items that backfill considers. They exceed what
#: a visitor can have seen at the filter's capacity. Without a limit, a filter that takes everything
#: for seen would search a catalogue of millions.
MOST_FETCHED, MOST_POPULAR = 32_768, 65_536
_FIRST_POPULAR = 256  # popular items considered at first; each further part is twice as large
# plain numbers, which numpy takes faster
_KEPT, _SEEN, _DISMISSED, _SURPLUS = map(int, (Fate.KEPT, Fate.SEEN, Fate.DISMISSED, Fate.SURPLUS))

_GET = command(b"GET", 1)

Bitmaps = Sequence[bytes | None]


class FilterSeenItems(TwoPartStage[Asked]):
    """Drops candidates that the visitor has seen lately or dismissed, or that are unavailable.

    Seen items are those that the visitor's Bloom filters of the last days hold under an event type
    of the release's rule, dismissed ones those that they hold under Dismiss. If fewer than
    RETRIEVAL_TOPK candidates are left and the index has more, it is searched again for twice as
    many, with the same result as one wide search. Where the scores are weighted ranks, what only
    the wider search finds follows the union. If fewer than RANKING_TOPK are left in the end, the
    list is filled up by popularity, then by catalogue order, with items that are unseen and were no
    candidates. The similarity of such an item is unknown; it counts as the smallest of the
    candidates', or as 0 without candidates. A visitor who has seen the whole catalogue is shown the
    candidates again, and one who has dismissed all that is left those, so that an answer is never
    empty. Nothing unavailable is ever shown. If the visitors' store fails, everything counts as
    unseen.

    Args:
        client: visitors' database; its calls have a time limit.
        unavailable: polled by the stage's own thread from ``start`` on; ``close`` closes both.
        searcher: opens the index that the candidates come from.
        item_ids: item i has index 3 + i.
        popular: item indices, most popular first, without repetition.
        most: RETRIEVAL_TOPK, the most items that are kept.
        least: RANKING_TOPK, below which the list is filled up.
        rule: of the release: which events make an item seen, for how many days.
        zone: time zone of the shop.
        clock: Unix seconds.
        breaker: of the visitors' store.
    """

    name = "filter_seen_items"
    inputs = (
        t.VISITOR_ID,
        t.QUERY_EMBEDDING,
        t.UNION,
        t.UNION_SCORE,
        t.UNION_COUNTS,
        t.UNION_BY_SOURCES,
    )
    outputs = (
        t.KEPT,
        t.KEPT_SIMILARITY,
        t.KEPT_COUNTS,
        t.CONSIDERED,
        t.CONSIDERED_FATE,
        t.CONSIDERED_COUNTS,
        t.FILTER_DEGRADED,
    )
    files = MODEL_FILES[name]
    begins_with = (t.VISITOR_ID,)

    def __init__(
        self,
        client: redis.Redis,
        unavailable: Unavailable,
        searcher: Callable[[], Searcher],
        item_ids: Sequence[str],
        popular: np.ndarray,
        *,
        most: int,
        least: int,
        rule: SeenRule,
        zone: str,
        clock: Callable[[], float] = time.time,
        breaker: Breaker | None = None,
    ) -> None:
        self._client, self._unavailable, self._open_searcher = client, unavailable, searcher
        self._lines = Lines(client)
        self._breaker, self._clock = breaker or Breaker(), clock
        self._most, self._least = most, min(least, most)
        self._rule, self._zone = rule, zone
        self._keys = rule.dismissed_days  # read per visitor
        self._items, self._item_ids = len(item_ids), item_ids
        self._prints = bloom.fingerprints(item_ids)
        everything = np.arange(VOCABULARY_START, VOCABULARY_START + self._items, dtype=np.int32)
        self._popular = np.concatenate([popular, everything[~np.isin(everything, popular)]]).astype(
            np.int32
        )
        self._searcher: Searcher | None = None
        self._statuses: Mapping[str, str] | None = None
        self._row_of: dict[str, int] | None = None
        # the Fate of an item that must not be shown, else 0
        self._barred = np.zeros(self._items, np.int32)
        self.poller = Poller("availability", self._poll)

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> FilterSeenItems:
        """Read popularity and seen rule, connect to the stores and start to poll availability.

        Raises:
            FileCorrupt: the popularity does not list catalogue indices, each once, or the seen
                rule is none.
        """
        item_ids = read_item_ids(directory)
        popular = np.array(read_json(directory / POPULARITY), dtype=np.int64)
        outside = (popular < VOCABULARY_START) | (popular >= VOCABULARY_START + len(item_ids))
        if outside.any() or len(np.unique(popular)) != len(popular):
            raise FileCorrupt(
                f"{directory / POPULARITY} must list catalogue indices, each once; build the "
                "release again"
            )
        stage = cls(
            visitor_client(settings, VISITOR_DATABASE),
            Unavailable(settings),
            partial(Searcher.open, directory / INDEX),
            item_ids,
            popular,
            most=settings.retrieval_topk,
            least=settings.ranking_topk,
            rule=read_rule(directory / SEEN_RULE),
            zone=time_zone(settings),
        )
        # one process with the retrieval, which has the index open; a thin model may never need it
        if "faiss" in sys.modules:
            stage._searcher = stage._open_searcher()
        stage.start()
        return stage

    def start(self) -> None:
        """Read what is unavailable, if the store answers, then poll for changes."""
        self.poller.poll()
        self.poller.start()

    def gauges(self) -> dict[str, tuple[str, float]]:
        """Return when availability was refreshed, and the number of unavailable items."""
        return {
            "recsys_availability_refreshed_seconds": (
                "Unix time when the unavailable items last equalled the store's.",
                self.poller.refreshed_at,
            ),
            "recsys_unavailable_items": (
                "Items of the catalogue that must not be shown.",
                int(np.count_nonzero(self._barred)),
            ),
        }

    def close(self) -> None:
        """End the thread and close the connections."""
        self.poller.close()
        self._unavailable.close()
        self._client.close()

    def begin(self, inputs: Tensors) -> Asked:
        """Ask for the bitmaps of the known visitors."""
        visitors = known_visitors(inputs[t.VISITOR_ID.name].tolist())
        return Asked(visitors, self._ask(visitors) if visitors else None)

    def finish(self, inputs: Tensors, begun: Asked) -> Tensors:
        """Return the kept items, and what was considered and why."""
        visitors, queries = inputs[t.VISITOR_ID.name].tolist(), inputs[t.QUERY_EMBEDDING.name]
        if begun.visitors != known_visitors(visitors):
            begun.drop()
            return self.run(inputs)
        seen, union = self._read(begun), (t.UNION, t.UNION_SCORE, t.UNION_COUNTS)
        candidates, similarity, counts = (inputs[spec.name] for spec in union)
        rows_of(t.UNION.name, candidates, self._items)
        if len(similarity) != len(candidates):
            raise StageInputInvalid(
                f"union_score must be as many as union, got {len(similarity)} and {len(candidates)}"
            )
        require_counts(t.UNION_COUNTS.name, counts, len(candidates), len(visitors))
        if len(queries) != len(visitors):
            raise StageInputInvalid(
                f"query_embedding must be one for each of {len(visitors)} visitors, got "
                f"{len(queries)}"
            )
        unknown = 0 if self._unavailable.known else int(Degraded.AVAILABILITY)
        by_sources = bool(inputs[t.UNION_BY_SOURCES.name][0])
        barred = self._barred  # one state for all visitors
        lists, degraded = [], []
        for visitor, query, part in zip(visitors, queries, parts(counts), strict=True):
            bitmaps = seen.get(visitor)
            lists.append(
                self._filter(
                    query, candidates[part], similarity[part], bitmaps or (), barred, by_sources
                )
            )
            degraded.append(unknown | (int(Degraded.SEEN_FILTER) if bitmaps is None else 0))
        kept, near, considered, fates = (
            lists[0] if len(lists) == 1 else map(np.concatenate, zip(*lists, strict=True))
        )
        return {
            t.KEPT.name: kept,
            t.KEPT_SIMILARITY.name: near,
            t.KEPT_COUNTS.name: np.array([len(found[0]) for found in lists], np.int32),
            t.CONSIDERED.name: considered,
            t.CONSIDERED_FATE.name: fates,
            t.CONSIDERED_COUNTS.name: np.array([len(found[2]) for found in lists], np.int32),
            t.FILTER_DEGRADED.name: np.array(degraded, np.int32),
        }

    def _filter(
        self,
        query: np.ndarray,
        candidates: np.ndarray,
        similarity: np.ndarray,
        bitmaps: Bitmaps,
        barred: np.ndarray,
        by_sources: bool,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return one visitor's kept items, similarities, considered items and fates."""
        fetched = 0 if by_sources else len(candidates)
        fates = self._fates(candidates, bitmaps, barred)
        kept = (fates == _KEPT).nonzero()[0]
        while len(kept) < self._most:
            more, nearer = self._fetch(query, fetched)
            if len(more) <= fetched:
                break
            fetched = len(more)
            if by_sources:  # what only the wide search finds comes last, nearest first
                further = more[~np.isin(more, candidates)]
                least = similarity.min() if len(similarity) else np.float32(0)
                candidates = np.concatenate([candidates, further])
                similarity = np.concatenate([similarity, np.full(len(further), least)])
                fates = np.concatenate([fates, self._fates(further, bitmaps, barred)])
                kept = np.flatnonzero(fates == _KEPT)
                continue
            # an approximate index may give other items first
            known = len(candidates) if np.array_equal(more[: len(candidates)], candidates) else 0
            fates = np.concatenate([fates[:known], self._fates(more[known:], bitmaps, barred)])
            candidates, similarity, kept = more, nearer, np.flatnonzero(fates == _KEPT)
        fates[kept[self._most :]] = _SURPLUS
        kept = kept[: self._most]
        if len(kept) >= self._least and len(kept):
            return candidates.take(kept), similarity.take(kept), candidates, fates
        filled, fate = (
            self._backfill(self._least - len(kept), candidates, bitmaps, barred, _KEPT),
            Fate.BACKFILLED,
        )
        for again in (_SEEN, _DISMISSED):  # a filter far beyond its capacity holds everything
            if not len(kept) and not len(filled):
                kept, fate = np.flatnonzero(fates == again)[: self._most], Fate.SHOWN_AGAIN
                fates[kept] = fate
                count = self._least - len(kept)
                filled = self._backfill(count, candidates, bitmaps, barred, again)
        least_near = similarity.min() if len(similarity) else np.float32(0)
        return (
            np.concatenate([candidates[kept], filled]),
            np.concatenate([similarity[kept], np.full(len(filled), least_near, np.float32)]),
            np.concatenate([candidates, filled]),
            np.concatenate([fates, np.full(len(filled), fate, np.int32)]),
        )

    def _fates(self, items: np.ndarray, bitmaps: Bitmaps, barred: np.ndarray) -> np.ndarray:
        """Return int32 [N]: kept, unless the item must not be shown, was dismissed or seen."""
        rows = items - VOCABULARY_START
        fates = barred.take(rows)
        if bitmaps:
            free = fates == _KEPT
            seen, dismissed = hidden(bitmaps, self._prints.take(rows, axis=0), self._rule)
            fates[seen & free], fates[dismissed & free] = _SEEN, _DISMISSED
        return fates

    def _fetch(self, query: np.ndarray, fetched: int) -> tuple[np.ndarray, np.ndarray]:
        """Return twice as many candidates; none if there are no more or none is found."""
        if self._searcher is None:
            self._searcher = self._open_searcher()
        count = min(2 * max(fetched, self._most), MOST_FETCHED, len(self._searcher))
        if count <= fetched:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        items, similarity = self._searcher.search(query, count)
        rows_of(INDEX, items, self._items)
        return items, similarity

    def _backfill(
        self, count: int, candidates: np.ndarray, bitmaps: Bitmaps, barred: np.ndarray, fate: int
    ) -> np.ndarray:
        """Return at most ``count`` popular items of a fate that are no candidates, int32 [N]."""
        found = [np.empty(0, np.int32)]
        for items in self._by_popularity() if count > 0 else ():
            items = items[~np.isin(items, candidates)]
            found.append(items[self._fates(items, bitmaps, barred) == fate][:count])
            count -= len(found[-1])
            if not count:
                break
        return np.concatenate(found)

    def _by_popularity(self) -> Iterator[np.ndarray]:
        """Yield the catalogue in growing parts; most visitors need only the first."""
        start, size = 0, _FIRST_POPULAR
        while start < min(self._items, MOST_POPULAR):
            yield self._popular[start : start + size]
            start, size = start + size, 2 * size

    def _ask(self, visitors: Sequence[str]) -> Replies | None:
        """Ask for the bitmaps of each visitor's last days; None if that is not possible."""
        days = bloom.last_days(self._clock(), self._keys, self._zone)
        keys = [
            argument(key.encode()) for visitor in visitors for key in bloom.seen_keys(visitor, days)
        ]
        try:
            return self._breaker.begin(lambda: self._lines.send(_GET + _GET.join(keys), len(keys)))
        except StoreUnavailable as error:
            LOG.debug("seen items: %s", error)
            return None

    def _read(self, asked: Asked) -> dict[str, Bitmaps | None]:
        """Return each visitor's bitmaps.

        A visitor whose bitmaps could not be read is absent or has None.
        """
        found: dict[str, Bitmaps | None] = {MISSING: ()}
        if asked.replies is not None:
            replies = asked.replies
            try:
                found |= self._breaker.finish(lambda: self._bitmaps(asked.visitors, replies.read()))
            except StoreUnavailable as error:
                LOG.debug("seen items: %s", error)
        return found

    def _bitmaps(
        self, visitors: Sequence[str], replies: Sequence[Any]
    ) -> dict[str, Bitmaps | None]:
        """Return each visitor's bitmaps; raise if reads failed and no visitor has any."""
        found: dict[str, Bitmaps | None] = {}
        failure = None
        for place, visitor in enumerate(visitors):
            own = replies[place * self._keys : (place + 1) * self._keys]
            refused = next((reply for reply in own if isinstance(reply, redis.ResponseError)), None)
            failure = failure or refused
            found[visitor] = (own if any(own) else ()) if refused is None else None
        if failure is not None and not any(bitmaps is not None for bitmaps in found.values()):
            raise failure
        return found

    def _poll(self, pause: Pause) -> None:
        """Update what must not be shown.

        Raises:
            StoreUnavailable: the store did not answer; what is known stays.
        """
        self._unavailable.poll()
        statuses = self._unavailable.statuses
        if statuses is self._statuses:
            return
        if self._row_of is None:
            self._row_of = {item_id: row for row, item_id in enumerate(self._item_ids)}
        barred = np.zeros(self._items, np.int32)
        for item_id, state in statuses.items():
            row = self._row_of.get(item_id)
            if row is not None:
                barred[row] = Fate.HIDDEN if state == HIDDEN else Fate.OUT_OF_STOCK
        self._barred, self._statuses = barred, statuses
