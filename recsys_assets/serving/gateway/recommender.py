"""Turn rankings into answers; popular items replace a missing ranking."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import redis.asyncio

from recsys_assets.lib.feature_store.valkey import STORE_ERRORS
from recsys_assets.serving.gateway.availability_watch import AvailabilityWatch
from recsys_assets.serving.gateway.cards import Cards
from recsys_assets.serving.gateway.errors import Refused
from recsys_assets.serving.gateway.limits import Admission
from recsys_assets.serving.gateway.metrics import ASSEMBLING, TRITON, Metrics
from recsys_assets.serving.gateway.models import RecommendRequest
from recsys_assets.serving.gateway.triton_call import TritonUnavailable
from recsys_assets.serving.gateway.triton_client import Ranking, RankingClient
from recsys_assets.serving.published.display import Display, DisplayMissing, LiveDisplay
from recsys_assets.serving.stages.answer import Degraded
from recsys_assets.serving.stages.stage import Tensors
from recsys_assets.serving.stores.connections import Breaker

logger = logging.getLogger(__name__)

POPULARITY = "popularity:"
#: Popular items per read (some of them are not shown), and reads per answer at most.
PAGE, PAGES = 200, 10

RANKING, POPULARITY_STORE, AVAILABILITY = (
    "ranking_unavailable",
    "popularity_unavailable",
    Degraded.AVAILABILITY.reasons[0],
)


@dataclass(frozen=True)
class Popular:
    """Popular items, most clicked first.

    Attributes:
        item_ids: N ids.
        scores: N clicks over those of the most clicked item; 0 if no clicks are known.
        reasons: the parts that failed.
    """

    item_ids: list[str]
    scores: list[float]
    reasons: list[str] = field(default_factory=list)


class PopularItems:
    """The catalogue's items by clicks, without those out of stock or hidden.

    Args:
        client: of database 3.
        availability: what must not be shown.
    """

    def __init__(self, client: redis.asyncio.Redis, availability: AvailabilityWatch) -> None:
        self._client, self._availability, self._breaker = client, availability, Breaker()

    async def top(self, display: Display, count: int, category: str | None = None) -> Popular:
        """Return at most ``count`` items.

        If too few have clicks, or the store fails, other items follow, promoted ones first.

        Args:
            display: the catalogue.
            count: items wanted.
            category: a category_l1 or category_l2 of the catalogue; None: all.
        """
        unshown, reasons = (
            self._availability.statuses,
            [] if self._availability.known else [AVAILABILITY],
        )
        level = "category_l1" if category in display.categories["category_l1"] else "category_l2"
        clicks: dict[str, float] = {}
        most = 0.0
        try:
            async for item_id, score in self._ranked(
                f"{level}:{category}" if category is not None else "global"
            ):
                if item_id in display.items and item_id not in unshown:
                    clicks[item_id], most = score, most or score
                if len(clicks) == count:
                    break
        except STORE_ERRORS as error:
            logger.warning("popularity: %s", error)
            self._breaker.failed()
            reasons.insert(0, POPULARITY_STORE)
        chosen = list(clicks)[:count]
        for item_id in self._catalogue(display, level, category):
            if len(chosen) >= count:
                break
            if item_id not in clicks and item_id not in unshown:
                chosen.append(item_id)
        return Popular(
            chosen, [clicks.get(item_id, 0.0) / (most or 1.0) for item_id in chosen], reasons
        )

    async def _ranked(self, scope: str) -> AsyncIterator[tuple[str, float]]:
        """Yield (item id, clicks), most clicked first; raises STORE_ERRORS."""
        if self._breaker.refuses():
            raise redis.ConnectionError("not asked after several consecutive errors")
        for page in range(PAGES):
            found = await self._client.zrevrange(
                POPULARITY + scope, page * PAGE, page * PAGE + PAGE - 1, withscores=True
            )
            self._breaker.answered()
            for member, score in found:
                yield member.decode(errors="replace"), score
            if len(found) < PAGE:
                return

    @staticmethod
    def _catalogue(display: Display, level: str, category: str | None) -> Iterator[str]:
        """Yield the items of a category, promoted ones first."""
        return (
            item_id
            for item_id in display.promoted_first
            if category is None or display.items[item_id][level] == category
        )


@dataclass(frozen=True)
class Answered:
    """One visitor's answer, before it is text."""

    user_id: str
    ranking: Ranking | None  # None: popular items replace it
    item_ids: Sequence[str]
    scores: Sequence[float]
    reasons: list[str]
    trace: Tensors | None = None  # every tensor of the answer, where ``Recommender`` traces it


class Recommender:
    """Answers visitors with Triton's ranking, else with popular items.

    If popularity is missing too, items come in the order of ``Display.promoted_first``.

    Args:
        ranking: asks Triton.
        popular: stands in for it.
        display: of the release in service.
        admission: limits the requests.
        metrics: of the gateway.
        traces: whether the answer to a request of one visitor has its trace, by the user id and
            the request id; None: no answer has.
    """

    def __init__(
        self,
        ranking: RankingClient,
        popular: PopularItems,
        display: LiveDisplay,
        admission: Admission,
        metrics: Metrics,
        traces: Callable[[str, str], bool] | None = None,
    ) -> None:
        self._ranking, self._popular, self._display, self._admission, self._metrics = (
            ranking,
            popular,
            display,
            admission,
            metrics,
        )
        self._traces = traces
        self._cards = Cards()

    async def recommend(
        self,
        requests: Sequence[RecommendRequest],
        request_id: str,
        tell: Callable[[list[Answered]], None],
    ) -> list[str]:
        """Return the JSON text of models.Answer per request, without its closing brace.

        Args:
            requests: one per visitor.
            request_id: for Triton and the log.
            tell: gets the answers, for log and metrics.

        Raises:
            Overloaded: too many requests wait already.
            Refused: there is nothing to answer with (503).
        """
        try:
            display = self._display.current()
        except DisplayMissing as error:
            logger.error("%s", error)
            display = Display()
        began = None
        try:
            async with self._admission.place(len(requests)):
                began = time.perf_counter()
                rankings, trace = await self._ranked(requests, request_id, display)
            ranked = time.perf_counter()
            self._metrics.phases[TRITON].observe(ranked - began)
            answers = [
                Answered(
                    asked.user_id,
                    one,
                    one.item_ids[: asked.top_k],
                    one.scores[: asked.top_k],
                    one.reasons,
                    trace,
                )
                for asked, one in zip(requests, rankings, strict=True)
            ]
        except TritonUnavailable as error:
            logger.warning("request %s: %s; answering with popular items", request_id, error)
            ranked = time.perf_counter()
            answers = await self._stand_in(display, requests)
        tell(answers)
        texts = [self._text(display, one) for one in answers]
        self._metrics.phases[ASSEMBLING].observe(time.perf_counter() - ranked)
        return texts

    async def _ranked(
        self, requests: Sequence[RecommendRequest], request_id: str, display: Display
    ) -> tuple[list[Ranking], Tensors | None]:
        """Ask Triton, and for the trace where it is wanted and can be had.

        Raises:
            TritonUnavailable: Triton did not answer in time, or not properly.
        """
        if (
            self._traces is not None
            and display.release is not None
            and len(requests) == 1
            and self._traces(requests[0].user_id, request_id)
        ):
            try:
                ranking, trace = await self._ranking.rank_traced(
                    requests[0], display.release, request_id
                )
            except TritonUnavailable as error:
                logger.debug("request %s: no trace (%s)", request_id, error)
            else:
                return [ranking], trace
        return await self._ranking.rank(requests, request_id), None

    async def _stand_in(
        self, display: Display, requests: Sequence[RecommendRequest]
    ) -> list[Answered]:
        """Answer with popular items.

        Raises:
            Refused: no release was promoted (503).
        """
        if not display.items:
            raise Refused(
                503,
                None,
                "the ranking is not available and no release was promoted: start Triton and "
                "promote a release, then try again",
            )
        popular = await self._popular.top(display, max(asked.top_k for asked in requests))
        return [
            Answered(
                asked.user_id,
                None,
                popular.item_ids[: asked.top_k],
                popular.scores[: asked.top_k],
                [RANKING, *popular.reasons],
            )
            for asked in requests
        ]

    def _text(self, display: Display, answer: Answered) -> str:
        """Return the JSON text of an answer without its closing brace."""
        made = answer.ranking
        release = (
            "null"
            if made is None
            else f'{{"query": {made.query_release}, "ranker": {made.ranker_release}, '
            f'"rung": "{display.rung}", "hides": {json.dumps(display.hides)}, '
            f'"learnt_to": {json.dumps(display.learnt_to)}}}'
        )
        reasons = json.dumps(answer.reasons) if answer.reasons else "[]"
        return (
            f'{{"user_id": {json.dumps(answer.user_id)}, "release": {release}, "degraded": '
            f"{'true' if answer.reasons else 'false'}, "
            f'"reasons": {reasons}, "items": '
            f"{self._cards.text(display, answer.item_ids, answer.scores)}"
        )
