"""What an explanation holds; apart from how it is made, so that a client of the gateway needs none
of that.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from recsys_assets.serving.gateway.models import ReleaseInfo

RANKED_BELOW, DIVERSITY = "ranked below", "category cap or diversity"


class VisitorFeatures(BaseModel):
    """What is known of the visitor and the moment; null: unknown."""

    raw: dict[str, str | float | None] = Field(
        description="As the feature store and the request gave them."
    )
    clicked_categories: list[str] = Field(
        description="Of each click of the last days, oldest first."
    )
    transformed: dict[str, float | None] = Field(
        description="As the models read them; categories as Categorify's indices."
    )


class Candidate(BaseModel):
    item_id: str
    similarity: float | None = Field(description="Inner product with the query embedding.")


class Dropped(BaseModel):
    item_id: str
    why: str = Field(description="seen, out_of_stock, hidden or surplus (beyond RETRIEVAL_TOPK).")


class Scored(BaseModel):
    item_id: str
    why_kept: str = Field(
        description="kept, backfilled (popular, because too few were left) or shown_again (nothing "
        "unseen is left)."
    )
    similarity: float | None
    features: dict[str, float | None] = Field(
        description="Those of the ranker's in which this visitor's candidates differ."
    )
    score: float | None = Field(description="The ranker's click probability.")
    blended: float | None = Field(
        description="That score, lowered by how much less similar than the nearest candidate the "
        "item is; "
        "the list is ordered by it."
    )
    position: int | None = Field(description="In the final list, from 1.")
    why_not: str | None = Field(
        description=f"Why it is not in the list: {RANKED_BELOW!r} or {DIVERSITY!r}."
    )


class Retrieval(BaseModel):
    query_embedding: list[float]
    candidates: list[Candidate]


class Filter(BaseModel):
    fates: dict[str, int] = Field(description="How many items met which fate.")
    dropped: list[Dropped]


class Listed(BaseModel):
    item_id: str
    score: float = Field(
        description="The ranker's, lowered by how much less similar than the nearest candidate the "
        "item is."
    )


class Explanation(BaseModel):
    user_id: str
    release: ReleaseInfo
    degraded: bool
    reasons: list[str]
    visitor: VisitorFeatures
    retrieval: Retrieval
    filter: Filter
    ranking: list[Scored] = Field(description="Highest score first.")
    answer: list[Listed]
    request_id: str
