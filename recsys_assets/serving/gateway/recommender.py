"""From a ranking to the cards of an answer, and what stands in where there is no ranking."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import quote

import redis.asyncio

from recsys_assets.serving.display import Display, DisplayMissing, LiveDisplay
from recsys_assets.serving.gateway.models import Item, RecommendRequest, RecommendResponse, Release
from recsys_assets.serving.gateway.triton_client import RankingClient, RankingUnavailable
from recsys_assets.serving.stores import STORE_ERRORS

logger = logging.getLogger(__name__)

POPULARITY = "popularity:global"
#: Popular items that may be gone from the catalogue are asked for beyond top_k.
POPULAR_RESERVE = 100

RANKING, POPULARITY_STORE, USER_FEATURES, SEEN_FILTER = (
    "ranking_unavailable", "popularity_unavailable", "user_features_unavailable", "seen_filter_unavailable")


class NothingKnown(RuntimeError):
    """Neither a ranking nor a catalogue: there is nothing to answer with."""


def image_path(item_id: str) -> str:
    """URL path of an item's image."""
    return f"/images/{quote(item_id, safe='')}"


def cards(display: Display, item_ids: Sequence[str], scores: Sequence[float]) -> list[Item]:
    """Ids with what is shown of them; an id that the display file lacks keeps nulls."""
    found = []
    for item_id, score in zip(item_ids, scores, strict=True):
        shown = display.items.get(item_id, {})
        found.append(Item(item_id=item_id, score=score, title=shown.get("title"), price=shown.get("price"),
                          category_l1=shown.get("category_l1"), category_l2=shown.get("category_l2"),
                          image=image_path(item_id)))
    return found


class Recommender:
    """Answers one visitor: the ensemble's ranking, else popular items, else what the catalogue promotes.

    Args:
        popularity: async client of database 3.
    """

    def __init__(self, ranking: RankingClient, popularity: redis.asyncio.Redis, display: LiveDisplay):
        self._ranking, self._popularity, self._display = ranking, popularity, display

    async def recommend(self, request: RecommendRequest, request_id: str) -> RecommendResponse:
        """Raises NothingKnown."""
        try:
            display = self._display.current()
        except DisplayMissing as error:
            logger.error("%s", error)
            display = Display()
        try:
            ranking = await self._ranking.rank(request.user_id, request.device_type, request.timestamp, request_id)
        except RankingUnavailable as error:
            logger.warning("request %s: %s; answering with popular items", request_id, error)
            return await self._popular(display, request, request_id)
        reasons = [USER_FEATURES] * ranking.user_degraded + [SEEN_FILTER] * ranking.filter_degraded
        return RecommendResponse(
            user_id=request.user_id, release=Release(query=ranking.query_release, ranker=ranking.ranker_release),
            degraded=bool(reasons), reasons=reasons, request_id=request_id,
            items=cards(display, ranking.item_ids[: request.top_k], ranking.scores[: request.top_k]))

    async def _popular(self, display: Display, request: RecommendRequest, request_id: str) -> RecommendResponse:
        """Score: clicks over the most clicked item's; 0 where popularity is not known either."""
        if not display.items:
            raise NothingKnown("the ranking is not available and no release was promoted: start Triton and promote "
                               "a release, then try again")
        reasons, ranked = [RANKING], []
        try:
            ranked = await self._popularity.zrevrange(POPULARITY, 0, request.top_k + POPULAR_RESERVE - 1,
                                                      withscores=True)
        except STORE_ERRORS as error:
            logger.warning("request %s: popularity: %s", request_id, error)
            reasons.append(POPULARITY_STORE)
        clicks = {member.decode(): score for member, score in ranked}
        item_ids = [item_id for item_id in clicks if item_id in display.items]
        rest = (item_id for item_id in display.items if item_id not in clicks)
        # promoted products first; sorted() keeps the catalogue's order among equals
        item_ids += sorted(rest, key=lambda item_id: not display.items[item_id]["promoted"])
        item_ids = item_ids[: request.top_k]
        most = max(clicks.values(), default=0.0) or 1.0
        return RecommendResponse(
            user_id=request.user_id, release=None, degraded=True, reasons=reasons, request_id=request_id,
            items=cards(display, item_ids, [clicks.get(item_id, 0.0) / most for item_id in item_ids]))
