"""Say why an item was found, by the source to which it owes most."""

from __future__ import annotations

from recsys_assets.source_names import (
    EASE,
    FOLLOW_UPS,
    IALS,
    ITEM_KNN,
    ITEM_TO_ITEM,
    OWN_ITEMS,
    POPULAR_NOW,
    POPULARITY,
    RETRIEVAL,
    SESSION_KNN,
    YOUNG_ITEMS,
)

#: Source → what it says of an item.
BECAUSE = {
    RETRIEVAL: "near the visitor's profile and this moment",
    FOLLOW_UPS: "often clicked after the visitor's latest items",
    ITEM_KNN: "clicked by the same visitors as the visitor's items",
    EASE: "clicked together with the visitor's items",
    IALS: "clicked by visitors with a similar taste",
    SESSION_KNN: "clicked in visits like this one",
    POPULARITY: "popular lately",
    OWN_ITEMS: "clicked by the visitor before",
    YOUNG_ITEMS: "new, and like the visitor's latest items by content",
    POPULAR_NOW: "popular now",
    ITEM_TO_ITEM: "clicked by visitors like those of the visitor's items",
}
#: Source → what it says of an item and the visitor's item that contributes most.
AFTER = {
    FOLLOW_UPS: "often clicked after {}",
    ITEM_KNN: "clicked by the same visitors as {}",
    EASE: "clicked together with {}",
    YOUNG_ITEMS: "new, and like {} by content",
    ITEM_TO_ITEM: "clicked by visitors like those of {}",
}


def because(source: str, item_id: str, after: str | None, title: str | None) -> str:
    """Return the sentence of a source about an item.

    Args:
        source: of ALL_SOURCES.
        item_id: of the item.
        after: the visitor's item that contributes most; None: there is none.
        title: of that item; None: unknown.

    >>> because("follow_ups", "b", "a", "Red shoes")
    'often clicked after Red shoes'
    >>> because("follow_ups", "b", "a", None)
    "often clicked after the visitor's latest items"
    """
    if after == item_id:
        return BECAUSE[OWN_ITEMS]
    if after is None or not title or source not in AFTER:
        return BECAUSE[source]
    return AFTER[source].format(title)
