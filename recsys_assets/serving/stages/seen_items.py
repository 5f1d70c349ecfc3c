"""Leaves out what the visitor has seen lately, and fills up with what is popular where too little remains."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import redis

from recsys_assets.columns import MISSING, VOCABULARY_START
from recsys_assets.serving import bloom
from recsys_assets.serving.stage import Stage, StageFileCorrupt, StageInputInvalid, Tensors, TensorSpec, read_json
from recsys_assets.serving.stages.catalogue import ITEM_IDS, check_indices, read_item_ids
from recsys_assets.serving.stores import Breaker, StoreUnavailable, visitor_client
from recsys_assets.settings import VISITOR_DATABASE, Settings

LOG = logging.getLogger(__name__)

POPULARITY = "popularity.json"


class FilterSeenItems(Stage):
    """Candidates minus the visitor's Bloom filters of the last days; passes them through where the store fails.

    Backfill is by popularity, then by catalogue order, with items that are unseen and no candidates already; such an
    item's similarity is unknown and counts as the smallest of the candidates', as 0 where there are none. A
    visitor who has seen the whole catalogue is shown the candidates again: an answer is never empty.

    Args:
        client: visitors' database; its calls have a time limit.
        item_ids: item i has index 3 + i.
        popular: item indices, most popular first, without repetition.
        most: RETRIEVAL_TOPK, that are kept at most.
        least: RANKING_TOPK, below which the list is filled up.
        seen_days: for how many UTC days, the current one included, an item counts as seen.
    """

    name = "filter_seen_items"
    inputs = (TensorSpec("user_id", "STRING", (1,)), TensorSpec("candidates", "INT32", (-1,)),
              TensorSpec("candidate_similarity", "FP32", (-1,)))
    outputs = (TensorSpec("kept", "INT32", (-1,)), TensorSpec("kept_similarity", "FP32", (-1,)),
               TensorSpec("filter_degraded", "INT32", (1,)))
    files = (ITEM_IDS, POPULARITY)

    def __init__(self, client: redis.Redis, item_ids: Sequence[str], popular: np.ndarray, *, most: int, least: int,
                 seen_days: int, clock: Callable[[], float] = time.time, breaker: Breaker | None = None):
        self._client, self._breaker, self._clock = client, breaker or Breaker(), clock
        self._most, self._least, self._seen_days = most, min(least, most), seen_days
        self._items = len(item_ids)
        self._positions = bloom.position_table(item_ids)
        everything = np.arange(VOCABULARY_START, VOCABULARY_START + self._items, dtype=np.int32)
        self._backfill = np.concatenate([popular, everything[~np.isin(everything, popular)]]).astype(np.int32)

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> FilterSeenItems:
        item_ids = read_item_ids(directory)
        popular = np.array(read_json(directory / POPULARITY), dtype=np.int64)
        outside = (popular < VOCABULARY_START) | (popular >= VOCABULARY_START + len(item_ids))
        if outside.any() or len(np.unique(popular)) != len(popular):
            raise StageFileCorrupt(f"{directory / POPULARITY} must list catalogue indices, each once; build the "
                                   "release again")
        return cls(visitor_client(settings, VISITOR_DATABASE), item_ids, popular, most=settings.retrieval_topk,
                   least=settings.ranking_topk, seen_days=settings.seen_days)

    def run(self, inputs: Tensors) -> Tensors:
        user_id, candidates, similarity = inputs["user_id"][0], inputs["candidates"], inputs["candidate_similarity"]
        check_indices("candidates", candidates, self._items)
        if len(similarity) != len(candidates):
            raise StageInputInvalid(f"candidate_similarity must be as many as candidates, got {len(similarity)} and "
                                    f"{len(candidates)}")
        bitmaps: list[bytes | None] = []
        degraded = 0
        if user_id != MISSING:  # anonymous visitors share nothing, least of all what they have seen
            try:
                bitmaps = self._breaker.call(lambda: self._read(user_id))
            except StoreUnavailable as error:
                LOG.debug("seen items: %s", error)
                degraded = 1
        unseen = np.flatnonzero(~self._seen(candidates, bitmaps))[: self._most]
        kept, near = candidates[unseen], similarity[unseen]
        if len(kept) < self._least:
            more = self._backfill[~np.isin(self._backfill, candidates)]
            more = more[~self._seen(more, bitmaps)][: self._least - len(kept)]
            kept = np.concatenate([kept, more])
            least_near = similarity.min() if len(similarity) else 0.0
            near = np.concatenate([near, np.full(len(more), least_near, dtype=np.float32)])
        if len(kept) == 0:
            kept, near = candidates[: self._most], similarity[: self._most]
        return {"kept": kept, "kept_similarity": near, "filter_degraded": np.array([degraded], dtype=np.int32)}

    def close(self) -> None:
        self._client.close()

    def _read(self, user_id: str) -> list[bytes | None]:
        """The bitmaps of the last days, in one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        for day in bloom.last_days(self._clock(), self._seen_days):
            pipeline.get(bloom.seen_key(user_id, day))
        return pipeline.execute()

    def _seen(self, indices: np.ndarray, bitmaps: Sequence[bytes | None]) -> np.ndarray:
        """bool [N]."""
        seen = np.zeros(len(indices), dtype=bool)
        positions = self._positions[indices - VOCABULARY_START]
        for bitmap in bitmaps:
            if bitmap:
                seen |= bloom.contains(bitmap, positions)
        return seen
