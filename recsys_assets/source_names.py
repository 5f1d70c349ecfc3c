"""Name the sources of candidates, and say which items are young. This module imports nothing."""

from __future__ import annotations

RETRIEVAL = "retrieval"  # the two-tower and FAISS, or the vectors of a simple rung
FOLLOW_UPS, ITEM_KNN, EASE, IALS = "follow_ups", "item_knn", "ease", "ials"
SESSION_KNN, POPULARITY = "session_knn", "popularity"
OWN_ITEMS, YOUNG_ITEMS, POPULAR_NOW = "own_items", "young_items", "popular_now"
ITEM_TO_ITEM = "item_to_item"  # the list of the rung of this name
#: The sources beside retrieval.
SOURCE_NAMES = (
    *(FOLLOW_UPS, ITEM_KNN, EASE, IALS, SESSION_KNN, POPULARITY, OWN_ITEMS, YOUNG_ITEMS),
    *(POPULAR_NOW, ITEM_TO_ITEM),
)
#: All lists; the code of a source in an answer's trace is its place here.
ALL_SOURCES = (RETRIEVAL, *SOURCE_NAMES)
#: Those that rank an item by the clicks on it, so that they say nothing of an item without clicks.
BY_CLICKS = tuple(name for name in SOURCE_NAMES if name != YOUNG_ITEMS)
#: An item with fewer clicks is young.
YOUNG_CLICKS = 3
