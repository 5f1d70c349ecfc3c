"""Define the form of an explanation.

It is apart from the code that makes one, so that a client of the gateway needs none of that code.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from recsys_assets.serving.gateway.models import ReleaseInfo

RANKED_BELOW, DIVERSITY = "ranked below", "category cap or diversity"
NEW_ITEM = "a new item has its place"


class VisitorFeatures(BaseModel):
    """Features of the visitor and the moment; null: unknown."""

    raw: dict[str, str | float | None] = Field(
        description="Values of the feature store and of the request."
    )
    clicked_categories: list[str] = Field(
        description="Category of each click of the look-back days, oldest first."
    )
    transformed: dict[str, float | None] = Field(
        description="Values that the models read; categories as Categorify's indices."
    )


class Candidate(BaseModel):
    """An item that retrieval found."""

    item_id: str
    similarity: float | None = Field(description="Inner product with the query embedding.")


class Dropped(BaseModel):
    """An item that the filter removed."""

    item_id: str
    why: str = Field(
        description="seen (by the release's rule), dismissed (the visitor is not interested), "
        "out_of_stock, hidden or surplus (beyond RETRIEVAL_TOPK)."
    )


class Scored(BaseModel):
    """An item that the ranker scored."""

    item_id: str
    why_kept: str = Field(
        description="kept, backfilled (popular, because too few candidates were left) or "
        "shown_again (nothing else is left)."
    )
    similarity: float | None = Field(
        description="Score of the union of all sources; without sources, the inner product with "
        "the query embedding."
    )
    after: str | None = Field(
        description="The visitor's own recent item that contributes most to this item in the "
        "source to which it owes most. For own items, it is the item itself. Null where the source "
        "does not go by single items (only follow_ups, item_knn, ease, item_to_item, young_items "
        "and own_items do), and where no source lists it."
    )
    because: str | None = Field(
        description="Why the item was found, by the source to which it owes most; null if none "
        "lists it. It names the title of the item in `after` where that has one."
    )
    features: dict[str, float | None] = Field(
        description="The ranker's features in which this visitor's candidates differ."
    )
    score: float | None = Field(description="The ranker's click probability.")
    blended: float | None = Field(
        description="The score, lowered for an item that is less similar than the nearest "
        "candidate. The list is ordered by it, except for new items in reserved places."
    )
    position: int | None = Field(description="Position in the answer, from 1; null if not in it.")
    why_not: str | None = Field(
        description=f"Why it is not in the answer: {RANKED_BELOW!r}, {DIVERSITY!r} or {NEW_ITEM!r}."
    )


class Found(BaseModel):
    """An item of the union of all sources."""

    item_id: str
    score: float | None = Field(
        description="Weighted ranks; in a release without other sources the inner product with the "
        "query embedding."
    )
    sources: list[str] = Field(description="The sources that list the item.")
    after: str | None = Field(
        description="The visitor's own recent item that contributes most to this item in the "
        "source to which it owes most. For own items, it is the item itself. Null where the source "
        "does not go by single items (only follow_ups, item_knn, ease, item_to_item, young_items "
        "and own_items do)."
    )
    because: str = Field(
        description="Why the item was found, by the source to which it owes most, such as 'often "
        "clicked after Red shoes'. It names the title of the item in `after` where that has one."
    )


class Retrieval(BaseModel):
    """The search for candidates."""

    query_embedding: list[float] = Field(description="Output of the query tower.")
    candidates: list[Candidate] = Field(description="Best first.")


class Filter(BaseModel):
    """The removal of items that are seen, dismissed or unavailable."""

    fates: dict[str, int] = Field(description="Number of items per outcome, such as kept or seen.")
    dropped: list[Dropped] = Field(description="Items that the filter removed.")


class Listed(BaseModel):
    """An item of the answer."""

    item_id: str
    score: float = Field(
        description="The ranker's score, lowered for an item that is less similar than the nearest "
        "candidate."
    )


class Explanation(BaseModel):
    """Every stage of one answer."""

    user_id: str
    release: ReleaseInfo
    degraded: bool = Field(description="Whether a part failed while this answer was made.")
    reasons: list[str] = Field(description="The parts that failed.")
    visitor: VisitorFeatures
    retrieval: Retrieval
    sources: list[Found] = Field(description="Candidates of all sources, best first.")
    filter: Filter
    ranking: list[Scored] = Field(description="All ranked items, highest score first.")
    answer: list[Listed] = Field(description="The items of the answer, best first.")
    request_id: str = Field(description="The header x-request-id of this answer.")
