"""Add the routes that answer with items, and /explain."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, Security
from fastapi.security import HTTPBearer

from recsys_assets.serving.gateway.body_route import BodyRoute
from recsys_assets.serving.gateway.cards import card
from recsys_assets.serving.gateway.errors import Refused, documented
from recsys_assets.serving.gateway.explanation import IdsDiffer, explain
from recsys_assets.serving.gateway.explanation_models import Explanation
from recsys_assets.serving.gateway.models import (
    MAX_SIMILAR,
    MAX_TOP_K,
    BatchRequest,
    BatchResponse,
    Card,
    Item,
    PopularResponse,
    RecommendRequest,
    RecommendResponse,
    SimilarResponse,
)
from recsys_assets.serving.gateway.parts import Parts
from recsys_assets.serving.gateway.triton_call import TritonUnavailable

#: Documents in OpenAPI that a call needs the token; the middleware checks it.
BEARER = Security(HTTPBearer(auto_error=False, description="RECSYS_TOKEN of the gateway"))


def reading_routes(parts: Parts) -> list[APIRouter]:
    """Return the routes that answer with items, and /explain."""
    router, bodies = APIRouter(tags=["items"]), APIRouter(tags=["items"], route_class=BodyRoute)
    _add_recommend(bodies, parts)
    _add_explain(bodies, parts)
    _add_similar(router, parts)
    _add_popular(router, parts)
    return [bodies, router]


def _add_recommend(bodies: APIRouter, parts: Parts) -> None:
    """Add /recommend and /recommend/batch."""

    @bodies.post(
        "/recommend",
        response_model=RecommendResponse,
        responses=documented(413, 415, 422, 503),
        summary="Recommend items to a visitor",
    )
    async def recommend(body: RecommendRequest, request: Request) -> Response:
        """Recommend items to one visitor in one context, best first.

        If a part fails, the answer is degraded and names the part. If there is no ranking, popular
        items replace it.
        """
        (text,) = await parts.recommender.recommend(
            [body], request.state.request_id, partial(parts.tell, request, [body])
        )
        return Response(
            f'{text}, "request_id": "{request.state.request_id}"}}', media_type="application/json"
        )

    @bodies.post(
        "/recommend/batch",
        response_model=BatchResponse,
        responses=documented(413, 415, 422, 503),
        summary="Recommend items to several visitors",
    )
    async def recommend_batch(body: BatchRequest, request: Request) -> Response:
        """Recommend items to at most 64 visitors; each is answered as if it were alone."""
        texts = await parts.recommender.recommend(
            body.requests, request.state.request_id, partial(parts.tell, request, body.requests)
        )
        return Response(
            f'{{"answers": [{"}, ".join(texts)}}}], "request_id": "{request.state.request_id}"}}',
            media_type="application/json",
        )


def _add_explain(bodies: APIRouter, parts: Parts) -> None:
    """Add /explain."""

    @bodies.post(
        "/explain",
        response_model=Explanation,
        responses=documented(401, 403, 413, 415, 422, 503),
        dependencies=[BEARER],
        summary="Explain an answer",
    )
    async def explained(body: RecommendRequest, request: Request) -> Response:
        """Return every stage of one answer.

        That is: the visitor's features, the candidates, what was dropped and why, the ranker's
        features and scores, and the final list. It shows what the shop knows of the visitor, so it
        needs the token.
        """
        if parts.settings.recommend_model == "ensemble_model":
            raise Refused(
                503,
                None,
                "only the fused model can be explained: set RECSYS_TRITON_MODELS to both or fused",
            )
        request_id = request.state.request_id
        try:
            async with parts.admission.place():
                # gives the release in force
                (served,) = await parts.ranking.rank([body], request_id)
                ranking, trace = await parts.ranking.explain(
                    body, served.ranker_release, request_id
                )
            item_ids = (await asyncio.to_thread(parts.similar.current)).item_ids
            answer = await asyncio.to_thread(
                explain, body.user_id, ranking, trace, item_ids, request_id, parts.display.current()
            )
        except TritonUnavailable as error:
            raise Refused(503, None, f"there is no ranking to explain ({error})") from error
        except IdsDiffer as error:
            raise Refused(
                503, None, "a promotion is under way, or was not finished: try again"
            ) from error
        return Response(answer.model_dump_json(), media_type="application/json")


def _add_similar(router: APIRouter, parts: Parts) -> None:
    """Add /similar."""

    @router.get(
        "/similar/{item_id:path}",
        responses=documented(404, 422, 503),
        summary="Items similar to an item",
    )
    def similar(
        item_id: str, request: Request, top_k: Annotated[int, Query(ge=1, le=MAX_SIMILAR)] = 10
    ) -> SimilarResponse:
        """Return the items nearest by the item tower's vectors, most similar first.

        Items that are out of stock or hidden are left out.
        """
        display, unshown = parts.display.current(), parts.availability.statuses
        found = parts.similar.of(item_id, MAX_SIMILAR)
        if found is None:
            raise Refused(404, "item_id", "is not in the catalogue")
        shown = [other for other in found if other not in unshown][:top_k]
        return SimilarResponse(
            item_id=item_id,
            items=[Card(**card(display, other)) for other in shown],
            request_id=request.state.request_id,
        )


def _add_popular(router: APIRouter, parts: Parts) -> None:
    """Add /popular."""

    @router.get("/popular", responses=documented(404, 422, 503), summary="Most clicked items")
    async def popular(
        request: Request,
        top_k: Annotated[int, Query(ge=1, le=MAX_TOP_K)] = 10,
        category: Annotated[
            str | None, Query(description="A category_l1 or category_l2.", max_length=200)
        ] = None,
    ) -> PopularResponse:
        """Return the most clicked items of the catalogue, or of one category.

        Items that are out of stock or hidden are left out.
        """
        display = parts.display.current()
        if not display.items:
            raise Refused(
                503,
                None,
                "no release was promoted yet, so no item is known: promote one, then try again",
            )
        if category is not None and not any(
            category in values for values in display.categories.values()
        ):
            raise Refused(404, "category", "is not in the catalogue")
        found = await parts.popular.top(display, top_k, category)
        return PopularResponse(
            category=category,
            degraded=bool(found.reasons),
            reasons=found.reasons,
            request_id=request.state.request_id,
            items=[
                Item(**card(display, item_id), score=score)
                for item_id, score in zip(found.item_ids, found.scores, strict=True)
            ],
        )
