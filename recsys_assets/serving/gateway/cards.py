"""Build what is shown of an item, and cache its JSON text per catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from recsys_assets.serving.published.display import Display

#: Items whose text is cached, some 20 MB.
KEPT = 50_000


def image_path(item_id: str) -> str:
    """Return the URL path of an item's image."""
    return f"/images/{quote(item_id, safe='')}"


def card(display: Display, item_id: str) -> dict[str, Any]:
    """Return the fields of models.Card; fields of an unknown item are null."""
    shown = display.items.get(item_id, {})
    return {
        "item_id": item_id,
        "title": shown.get("title"),
        "category_l1": shown.get("category_l1"),
        "category_l2": shown.get("category_l2"),
        "price": shown.get("price"),
        "image": image_path(item_id),
    }


class Cards:
    """Makes the JSON text of models.Item lists, with a cache per item."""

    def __init__(self) -> None:
        self._display: Display | None = None
        self._heads: dict[str, str] = {}

    def text(self, display: Display, item_ids: Iterable[str], scores: Iterable[float]) -> str:
        """Return the items as a JSON list in their order; scores must be finite."""
        if display is not self._display or len(self._heads) > KEPT:
            self._display, self._heads = display, {}
        heads, parts = self._heads, []
        for item_id, score in zip(item_ids, scores, strict=True):
            head = heads.get(item_id)
            if head is None:
                head = heads[item_id] = json.dumps(card(display, item_id))[:-1] + ', "score": '
            parts.append(f"{head}{score!r}}}")
        return f"[{', '.join(parts)}]"
