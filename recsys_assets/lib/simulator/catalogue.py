"""Generate a synthetic catalogue of any size, with the schema RAW_ITEMS.

Category and style names and their relative sizes are those of the Retail Demo Store's catalogue (20
categories, 84 styles).
"""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.columns import (
    CATEGORY_L1,
    CATEGORY_L2,
    ITEM_GENDER,
    ITEM_GENDERS,
    ITEM_ID,
    PRICE,
    RAW_ITEMS,
)
from recsys_assets.lib.figures.colours import COLOURS

MIN_PRICE, MAX_PRICE = 1.99, 24_999.99

#: category → style → number of products in the Retail Demo Store's catalogue.
STYLES: dict[str, dict[str, int]] = {
    "accessories": {
        "backpack": 48,
        "bag": 21,
        "belt": 38,
        "glasses": 59,
        "handbag": 38,
        "watch": 24,
    },
    "apparel": {"jacket": 81, "scarf": 53, "shirt": 67, "socks": 30},
    "beauty": {"bathing": 19, "grooming": 41},
    "books": {"cooking": 15, "travel": 20},
    "cold dispensed": {"fountain-carbonated": 1, "fountain-non-carbonated": 2},
    "electronics": {
        "cable": 12,
        "camera": 36,
        "computer": 6,
        "headphones": 16,
        "keyboard": 4,
        "speaker": 21,
        "television": 9,
    },
    "floral": {"arrangement": 36, "bouquet": 24, "centerpiece": 9, "plant": 42, "wreath": 16},
    "food service": {
        "nachos": 1,
        "other cuisine": 1,
        "pizza": 1,
        "sandwiches/wraps": 1,
        "seafood": 1,
        "soup and salad": 3,
    },
    "footwear": {"boot": 30, "formal": 79, "sandals": 31, "sneaker": 48},
    "furniture": {"chairs": 72, "dressers": 32, "sofas": 49, "tables": 92},
    "groceries": {
        "bakery": 54,
        "dairy": 21,
        "fruits": 27,
        "meat": 31,
        "seafood": 21,
        "vegetables": 41,
    },
    "homedecor": {"bedroom": 1, "clock": 29, "cushion": 46, "decorative": 65, "lighting": 53},
    "hot dispensed": {"hot chocolate": 1},
    "housewares": {"bowls": 54, "consumable": 1, "kitchen": 160, "salon": 2},
    "instruments": {"keys": 33, "microphone": 18, "percussion": 40, "strings": 61, "wind": 15},
    "jewelry": {"bracelet": 37, "earrings": 23, "necklace": 30},
    "outdoors": {"camping": 25, "fishing": 37, "kayaking": 12, "pet": 18},
    "salty snacks": {"nuts/seeds": 3, "potato chips": 1},
    "seasonal": {"christmas": 92, "easter": 42, "halloween": 46, "valentine": 37},
    "tools": {
        "axe": 2,
        "drill": 6,
        "hammer": 7,
        "knife": 3,
        "plier": 7,
        "saw": 13,
        "screwdriver": 3,
        "set": 8,
        "wrench": 10,
    },
}
#: Median price per category; prices have a log-normal distribution.
_MEDIAN_PRICE = {
    "accessories": 90,
    "apparel": 80,
    "beauty": 25,
    "books": 25,
    "cold dispensed": 10,
    "electronics": 300,
    "floral": 60,
    "food service": 13,
    "footwear": 130,
    "furniture": 500,
    "groceries": 15,
    "homedecor": 50,
    "hot dispensed": 12,
    "housewares": 50,
    "instruments": 800,
    "jewelry": 60,
    "outdoors": 80,
    "salty snacks": 8,
    "seasonal": 25,
    "tools": 50,
}
_PRICE_SIGMA = 0.8
#: Shares of (F, M, Any) per category; all items of other categories are for Any.
_GENDER_SHARES = {
    "accessories": (0.55, 0.35, 0.10),
    "apparel": (0.50, 0.50, 0.0),
    "beauty": (0.43, 0.09, 0.48),
    "footwear": (0.48, 0.52, 0.0),
    "jewelry": (0.79, 0.21, 0.0),
}
_PROMOTED_SHARE = 0.25
_UNNAMED_COLOUR_SHARE = 0.2  # products whose colour is only in the image

_ADJECTIVES = (
    "Classic",
    "Modern",
    "Rustic",
    "Elegant",
    "Compact",
    "Premium",
    "Everyday",
    "Handmade",
    "Vintage",
    "Sleek",
    "Cosy",
    "Bold",
    "Refined",
    "Sturdy",
    "Playful",
    "Minimalist",
)
#: Phrases by grade. Their words of ``looks.PRAISE`` are correlated with an item's quality.
_QUALITIES = (
    ("a simple make", "a light touch", "honest parts", "generous proportions"),
    (
        "careful work and dependable quality",
        "beautifully plain lines",
        "expertly joined parts",
        "a superior finish",
    ),
    (
        "exquisite detail and superior parts",
        "exceptional care and the finest parts",
        "outstanding, meticulously checked parts",
        "stunning lines and impeccable edges",
    ),
)
_OCCASIONS = (
    "for every day",
    "for a special evening",
    "for the weekend",
    "for travelling light",
    "as a thoughtful gift",
    "for the whole family",
    "for small spaces",
    "for those who look twice",
)
_OPENINGS = ("Meet the", "Enjoy the", "Discover the", "Treat yourself to the")
_AUDIENCE = {"F": "women", "M": "men"}


def proportional_sizes(n: int, weights: np.ndarray) -> np.ndarray:
    """Split n into parts proportional to weights, at least 1 each.

    The method is that of largest remainders; the first part wins a tie.

    Args:
        n: the sum of the parts.
        weights: [K].

    Returns:
        int64 [K] with sum n.

    Raises:
        ValueError: n < K.
    """
    if n < len(weights):
        raise ValueError(
            f"cannot split {n} into {len(weights)} parts of at least one: ask for {len(weights)} "
            "or more"
        )
    share = (n - len(weights)) * weights / weights.sum()
    sizes: np.ndarray = np.floor(share).astype(np.int64)
    rest = n - len(weights) - int(sizes.sum())
    sizes[np.argsort(-(share - sizes), kind="stable")[:rest]] += 1
    return sizes + 1


def _draw_kinds(rng: np.random.Generator, n_items: int) -> list[tuple[str, str]]:
    """Draw n (category, style) pairs in the proportions of STYLES, shuffled."""
    categories = sorted(STYLES)
    sizes = proportional_sizes(
        n_items, np.array([sum(STYLES[c].values()) for c in categories], dtype=float)
    )
    kinds: list[tuple[str, str]] = []
    for category, size in zip(categories, sizes, strict=True):
        weights, names = (
            np.array(list(STYLES[category].values()), dtype=float),
            list(STYLES[category]),
        )
        if size >= len(names):  # every style occurs
            kinds += [
                (category, name)
                for name in np.repeat(names, proportional_sizes(int(size), weights)).tolist()
            ]
        else:
            kinds += [
                (category, names[i])
                for i in rng.choice(len(names), size, False, weights / weights.sum())
            ]
    return [kinds[i] for i in rng.permutation(n_items)]


def synthetic_catalogue(n_items: int, seed: int) -> pl.DataFrame:
    """Generate a catalogue of n_items products (RAW_ITEMS) with the ids "1" to "N".

    The result depends only on the arguments.

    Raises:
        ValueError: n_items is below 20.
    """
    rng = np.random.default_rng([seed, n_items, 1])
    kinds = _draw_kinds(rng, n_items)
    colours = list(COLOURS)
    rows: list[dict[str, Any]] = []
    for number, (category, style) in enumerate(kinds, start=1):
        gender = str(rng.choice(ITEM_GENDERS, p=_GENDER_SHARES.get(category, (0.0, 0.0, 1.0))))
        colour = "" if rng.random() < _UNNAMED_COLOUR_SHARE else colours[rng.integers(len(colours))]
        adjective = _ADJECTIVES[rng.integers(len(_ADJECTIVES))]
        promoted = bool(rng.random() < _PROMOTED_SHARE)
        price = np.clip(
            np.ceil(_MEDIAN_PRICE[category] * np.exp(_PRICE_SIGMA * rng.standard_normal())) - 0.01,
            MIN_PRICE,
            MAX_PRICE,
        )
        rows.append(
            {
                ITEM_ID: str(number),
                "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"recsys:{seed}:{n_items}:{number}")),
                "name": " ".join(
                    word for word in (adjective, colour.title(), style.title()) if word
                ),
                "description": _describe(rng, category, style, colour, adjective, gender, promoted),
                CATEGORY_L1: category,
                CATEGORY_L2: style,
                PRICE: round(float(price), 2),
                ITEM_GENDER: gender,
                "promoted": promoted,
                "image": f"{number}.png",
            }
        )
    return pl.DataFrame(rows, schema={name: getattr(pl, kind) for name, kind in RAW_ITEMS.items()})


def _describe(
    rng: np.random.Generator,
    category: str,
    style: str,
    colour: str,
    adjective: str,
    gender: str,
    promoted: bool,
) -> str:
    """Write a product's description."""
    audience = f" for {_AUDIENCE[gender]}" if gender in _AUDIENCE else ""
    opening, qualities, occasion = (
        words[rng.integers(len(words))] for words in (_OPENINGS, _QUALITIES, _OCCASIONS)
    )
    product = " ".join(word for word in (adjective.lower(), colour, style) if word)
    sentences = [f"{opening} {product} from our {category} range{audience}."]
    if rng.random() >= 0.25:
        sentences.append(f"Made with {qualities[rng.integers(len(qualities))]}, {occasion}.")
    if promoted:
        sentences.append("Now at a reduced price.")
    return " ".join(sentences)
