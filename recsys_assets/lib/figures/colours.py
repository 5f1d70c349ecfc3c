"""Find the colour words of products, and their colours."""

from __future__ import annotations

import re
import zlib

RGB = tuple[int, int, int]
#: Colour word → sRGB; also the words that the synthetic catalogue uses.
COLOURS: dict[str, RGB] = {
    "black": (35, 35, 38),
    "white": (245, 245, 245),
    "red": (205, 35, 40),
    "blue": (40, 90, 200),
    "green": (45, 145, 65),
    "yellow": (245, 210, 50),
    "orange": (240, 130, 30),
    "purple": (125, 55, 160),
    "pink": (240, 130, 170),
    "brown": (115, 75, 45),
    "beige": (220, 205, 175),
    "gray": (130, 130, 135),
    "gold": (205, 160, 50),
    "silver": (190, 195, 205),
    "navy": (25, 35, 90),
    "teal": (20, 130, 130),
    "turquoise": (65, 205, 200),
    "khaki": (165, 150, 105),
    "caramel": (190, 125, 65),
    "mauve": (175, 130, 160),
    "ivory": (250, 245, 225),
    "cream": (250, 235, 200),
    "olive": (115, 115, 45),
    "maroon": (115, 25, 40),
    "burgundy": (125, 20, 55),
    "lavender": (190, 170, 230),
    "peach": (250, 195, 160),
    "coral": (250, 125, 105),
    "mint": (165, 230, 195),
    "tan": (205, 170, 125),
    "charcoal": (65, 70, 78),
    "bronze": (160, 110, 55),
    "copper": (185, 105, 70),
    "crimson": (185, 15, 55),
    "emerald": (20, 150, 100),
    "indigo": (70, 40, 140),
}
_SYNONYMS = {
    "grey": "gray",
    "golden": "gold",
    "violet": "purple",
    "magenta": "pink",
    "scarlet": "red",
}
_COLOUR_WORD = re.compile(r"\b(" + "|".join([*COLOURS, *_SYNONYMS]) + r")\b", re.IGNORECASE)


def colour_word(name: str, description: str, item_id: str) -> str:
    """Return the first word of COLOURS in the name, or else in the description.

    Without such a word, the id determines the colour.
    """
    for text in (name, description):
        if found := _COLOUR_WORD.search(text):
            word = found.group(1).lower()
            return _SYNONYMS.get(word, word)
    return list(COLOURS)[_hash(item_id) % len(COLOURS)]


def _hash(text: str) -> int:
    return zlib.crc32(text.encode())  # hash() differs between processes
