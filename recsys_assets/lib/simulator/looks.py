"""Derive a product's colour family, mood and praise from its text.

The simulator's visitors prefer some colours and moods, and praise is correlated with quality. No
column of the catalogue holds these three. For a new item, a model can learn them only from the
text, and the colour also from the image.
"""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from recsys_assets.columns import ITEM_ID
from recsys_assets.lib.figures.colours import colour_word

#: Families of ``colours.COLOURS``; a visitor likes a family, not one shade.
PALETTES: dict[str, tuple[str, ...]] = {
    "dark": ("black", "charcoal", "navy", "indigo", "maroon", "burgundy"),
    "light": ("white", "ivory", "cream", "beige", "silver", "gray"),
    "warm": ("red", "orange", "yellow", "coral", "crimson", "peach", "gold"),
    "cool": ("blue", "teal", "turquoise", "green", "mint", "emerald"),
    "earthy": ("brown", "tan", "khaki", "caramel", "olive", "bronze", "copper"),
    "soft": ("pink", "purple", "lavender", "mauve"),
}
MOODS: dict[str, tuple[str, ...]] = {
    "heritage": (
        "classic",
        "rustic",
        "vintage",
        "traditional",
        "timeless",
        "handmade",
        "handcrafted",
        "artisan",
    ),
    "modern": ("modern", "sleek", "minimalist", "contemporary", "streamlined", "compact"),
    "refined": ("elegant", "premium", "refined", "luxurious", "sophisticated", "chic"),
    "practical": ("everyday", "sturdy", "rugged", "casual", "durable", "comfortable", "versatile"),
    "playful": (
        "playful",
        "cosy",
        "cozy",
        "bold",
        "whimsical",
        "fun",
        "festive",
        "vibrant",
        "cheerful",
    ),
}
NO_MOOD = -1
PRAISE = (
    "beautifully",
    "delightful",
    "exceptional",
    "expertly",
    "exquisite",
    "finest",
    "impeccable",
    "meticulously",
    "outstanding",
    "quality",
    "stunning",
    "superior",
)

_PALETTE_OF = {word: number for number, words in enumerate(PALETTES.values()) for word in words}
_MOOD_OF = {word: number for number, words in enumerate(MOODS.values()) for word in words}
_MOOD_WORD = re.compile(r"\b(" + "|".join(_MOOD_OF) + r")\b", re.IGNORECASE)
_PRAISE_WORD = re.compile(r"\b(" + "|".join(PRAISE) + r")\b", re.IGNORECASE)


def palette_of(name: str, description: str, item_id: str) -> int:
    """Return the index into PALETTES of the product's ``colour_word``."""
    return _PALETTE_OF[colour_word(name, description, item_id)]


def mood_of(name: str, description: str) -> int:
    """Return the index into MOODS of the first mood word, or NO_MOOD.

    The name counts before the description.
    """
    found = _MOOD_WORD.search(f"{name} {description}")
    return _MOOD_OF[found.group(1).lower()] if found else NO_MOOD


def praise_of(name: str, description: str) -> int:
    """Return how many different words of PRAISE the text has."""
    return len({word.lower() for word in _PRAISE_WORD.findall(f"{name} {description}")})


def looks_of(items: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return palette int8 [I], mood int8 [I] and praise int16 [I] of RAW_ITEMS."""
    rows = [
        (palette_of(name, text, item), mood_of(name, text), praise_of(name, text))
        for name, text, item in items.select("name", "description", ITEM_ID).iter_rows()
    ]
    palette, mood, praise = np.array(rows, np.int16).reshape(-1, 3).T
    return palette.astype(np.int8), mood.astype(np.int8), praise
