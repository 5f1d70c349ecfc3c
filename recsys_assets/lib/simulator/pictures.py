"""Draw product images: shape by category, pattern by style, colour by text.

If the text names no colour, only the image shows it. An encoder that is trained on such images and
their descriptions can learn all three.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from recsys_assets.columns import CATEGORY_L1, CATEGORY_L2, ITEM_ID
from recsys_assets.lib.figures.colours import COLOURS, RGB, _hash, colour_word

SIDE = 96
_SCALE = 2  # images are drawn at twice their size and reduced, for smooth edges
_CANVAS = SIDE * _SCALE


Points = list[tuple[float, float]]


def colour_of(name: str, description: str, item_id: str) -> RGB:
    """Return the colour of a product, by its ``colour_word``."""
    return COLOURS[colour_word(name, description, item_id)]


def _regular(
    corners: int, radius: float = 0.42, inner: float | None = None, turn: float = -90
) -> Points:
    """Return a regular polygon, or with an inner radius a star, in the unit square."""
    steps = corners * (2 if inner else 1)
    return [
        (
            0.5
            + (inner if inner and i % 2 else radius)
            * math.cos(math.radians(turn + 360 * i / steps)),
            0.5
            + (inner if inner and i % 2 else radius)
            * math.sin(math.radians(turn + 360 * i / steps)),
        )
        for i in range(steps)
    ]


def _ellipse(x0: float, y0: float, x1: float, y1: float) -> Points:
    return [
        ((x0 + x1) / 2 + (x1 - x0) / 2 * math.cos(a), (y0 + y1) / 2 + (y1 - y0) / 2 * math.sin(a))
        for a in np.linspace(0, 2 * math.pi, 40, endpoint=False)
    ]


def _box(x0: float, y0: float, x1: float, y1: float) -> Points:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _flower() -> Points:
    angles = np.linspace(0, 2 * math.pi, 90, endpoint=False)
    return [
        (
            0.5 + (0.3 + 0.14 * math.cos(5 * a)) * math.cos(a),
            0.5 + (0.3 + 0.14 * math.cos(5 * a)) * math.sin(a),
        )
        for a in angles
    ]


#: category → polygons in the unit square; their union is the silhouette.
SHAPES: dict[str, list[Points]] = {
    "accessories": [
        _box(0.16, 0.36, 0.84, 0.88),
        [
            (0.32, 0.38),
            (0.38, 0.12),
            (0.62, 0.12),
            (0.68, 0.38),
            (0.6, 0.38),
            (0.56, 0.2),
            (0.44, 0.2),
            (0.4, 0.38),
        ],
    ],
    "apparel": [
        [
            (0.32, 0.14),
            (0.68, 0.14),
            (0.92, 0.34),
            (0.8, 0.5),
            (0.7, 0.42),
            (0.7, 0.88),
            (0.3, 0.88),
            (0.3, 0.42),
            (0.2, 0.5),
            (0.08, 0.34),
        ]
    ],
    "beauty": [_box(0.4, 0.1, 0.6, 0.34), _box(0.28, 0.34, 0.72, 0.9)],
    "books": [_box(0.2, 0.1, 0.8, 0.9)],
    "cold dispensed": [
        [(0.26, 0.28), (0.74, 0.28), (0.66, 0.92), (0.34, 0.92)],
        _box(0.52, 0.06, 0.58, 0.28),
    ],
    "electronics": [
        _box(0.08, 0.2, 0.92, 0.72),
        _box(0.42, 0.72, 0.58, 0.84),
        _box(0.3, 0.82, 0.7, 0.9),
    ],
    "floral": [_flower()],
    "food service": [
        [(0.5, 0.92), (0.1, 0.2), (0.28, 0.12), (0.5, 0.09), (0.72, 0.12), (0.9, 0.2)]
    ],
    "footwear": [
        [
            (0.1, 0.3),
            (0.38, 0.3),
            (0.46, 0.48),
            (0.86, 0.58),
            (0.94, 0.72),
            (0.94, 0.82),
            (0.1, 0.82),
        ]
    ],
    "furniture": [_box(0.2, 0.1, 0.3, 0.92), _box(0.2, 0.5, 0.8, 0.62), _box(0.7, 0.5, 0.8, 0.92)],
    "groceries": [
        _ellipse(0.14, 0.26, 0.86, 0.92),
        _box(0.47, 0.08, 0.53, 0.3),
        _ellipse(0.53, 0.1, 0.76, 0.22),
    ],
    "homedecor": [
        [(0.34, 0.12), (0.66, 0.12), (0.84, 0.54), (0.16, 0.54)],
        _box(0.47, 0.54, 0.53, 0.82),
        _box(0.3, 0.82, 0.7, 0.9),
    ],
    "hot dispensed": [_box(0.16, 0.32, 0.68, 0.86), _ellipse(0.58, 0.4, 0.9, 0.76)],
    "housewares": [
        [(0.08, 0.44), (0.92, 0.44), (0.78, 0.78), (0.64, 0.88), (0.36, 0.88), (0.22, 0.78)]
    ],
    "instruments": [
        _ellipse(0.26, 0.5, 0.74, 0.94),
        _ellipse(0.33, 0.34, 0.67, 0.62),
        _box(0.46, 0.06, 0.54, 0.4),
    ],
    "jewelry": [[(0.28, 0.2), (0.72, 0.2), (0.92, 0.42), (0.5, 0.9), (0.08, 0.42)]],
    "outdoors": [[(0.5, 0.12), (0.94, 0.86), (0.06, 0.86)]],
    "salty snacks": [_ellipse(0.08, 0.3, 0.92, 0.74)],
    "seasonal": [_regular(5, 0.45, 0.2)],
    "tools": [_box(0.44, 0.34, 0.56, 0.94), _box(0.2, 0.1, 0.8, 0.34)],
}


def shape_of(category: str) -> list[Points]:
    """Return the silhouette of a category.

    An unknown category has a polygon or a star, by the hash of its name.
    """
    if category in SHAPES:
        return SHAPES[category]
    number = _hash(category)
    return [_regular(3 + number % 7, 0.44, 0.25 if number >> 4 & 1 else None)]


def _stripes(draw: ImageDraw.ImageDraw, pitch: int, ink: RGB) -> None:
    for y in range(0, _CANVAS, pitch):
        draw.rectangle((0, y, _CANVAS, y + pitch // 2 - 1), fill=ink)


def _columns(draw: ImageDraw.ImageDraw, pitch: int, ink: RGB) -> None:
    for x in range(0, _CANVAS, pitch):
        draw.rectangle((x, 0, x + pitch // 2 - 1, _CANVAS), fill=ink)


def _rising(draw: ImageDraw.ImageDraw, pitch: int, ink: RGB) -> None:
    for x in range(-_CANVAS, _CANVAS, pitch):
        draw.line((x, _CANVAS, x + _CANVAS, 0), fill=ink, width=pitch // 3)


def _falling(draw: ImageDraw.ImageDraw, pitch: int, ink: RGB) -> None:
    for x in range(-_CANVAS, _CANVAS, pitch):
        draw.line((x, 0, x + _CANVAS, _CANVAS), fill=ink, width=pitch // 3)


def _dots(draw: ImageDraw.ImageDraw, pitch: int, ink: RGB) -> None:
    for row, y in enumerate(range(0, _CANVAS, pitch)):
        for x in range(row % 2 * pitch // 2, _CANVAS, pitch):
            draw.ellipse((x, y, x + pitch // 2, y + pitch // 2), fill=ink)


def _checks(draw: ImageDraw.ImageDraw, pitch: int, ink: RGB) -> None:
    half = pitch // 2
    for row, y in enumerate(range(0, _CANVAS, half)):
        for x in range(row % 2 * half, _CANVAS, pitch):
            draw.rectangle((x, y, x + half - 1, y + half - 1), fill=ink)


def _grid(draw: ImageDraw.ImageDraw, pitch: int, ink: RGB) -> None:
    for at in range(0, _CANVAS, pitch):
        draw.line((at, 0, at, _CANVAS), fill=ink, width=pitch // 5)
        draw.line((0, at, _CANVAS, at), fill=ink, width=pitch // 5)


def _rings(draw: ImageDraw.ImageDraw, pitch: int, ink: RGB) -> None:
    for radius in range(pitch // 2, _CANVAS, pitch):
        box = (
            _CANVAS // 2 - radius,
            _CANVAS // 2 - radius,
            _CANVAS // 2 + radius,
            _CANVAS // 2 + radius,
        )
        draw.ellipse(box, outline=ink, width=pitch // 3)


def _zigzag(draw: ImageDraw.ImageDraw, pitch: int, ink: RGB) -> None:
    for y in range(0, _CANVAS + pitch, pitch):
        line = [
            (x, y + (pitch // 2 if i % 2 else 0))
            for i, x in enumerate(range(0, _CANVAS + pitch, pitch // 2))
        ]
        draw.line(line, fill=ink, width=pitch // 5)


def _plain(draw: ImageDraw.ImageDraw, pitch: int, ink: RGB) -> None:
    draw.rectangle((0, _CANVAS - 2 * pitch, _CANVAS, _CANVAS), fill=ink)  # only a shaded foot


Pattern = Callable[[ImageDraw.ImageDraw, int, RGB], None]
PATTERNS: tuple[Pattern, ...] = (
    _plain,
    _stripes,
    _columns,
    _rising,
    _falling,
    _dots,
    _checks,
    _grid,
    _rings,
    _zigzag,
)
_PITCHES = (20, 30, 44)


def pattern_of(category: str, style: str) -> tuple[Pattern, int, bool]:
    """Return (pattern, pitch in canvas pixels, whether the ink is darker) of a style.

    They depend on the hash of category and style.
    """
    number = _hash(f"{category}/{style}")
    return (
        PATTERNS[number % len(PATTERNS)],
        _PITCHES[number // 16 % len(_PITCHES)],
        bool(number // 64 % 2),
    )


def _toward(colour: RGB, target: int, share: float) -> RGB:
    red, green, blue = (round(c + (target - c) * share) for c in colour)
    return red, green, blue


def draw_product(name: str, description: str, category: str, style: str, item_id: str) -> bytes:
    """Draw a 96 × 96 RGB image as PNG bytes.

    The same arguments and the same version of Pillow give the same bytes.
    """
    number = _hash(item_id + name)
    colour = colour_of(name, description, item_id)
    pattern, pitch, darker = pattern_of(category, style)
    light = sum(colour) / 3 > 128
    # A near-white product on white, or a near-black pattern on black, would be invisible.
    paper = _toward(colour, 60, 0.75) if sum(colour) / 3 > 200 else _toward(colour, 255, 0.86)
    fill = Image.new("RGB", (_CANVAS, _CANVAS), colour)
    ink = (
        _toward(colour, 0, 0.45 if darker else 0.25)
        if light
        else _toward(colour, 255, 0.35 if darker else 0.6)
    )
    pattern(ImageDraw.Draw(fill), pitch, ink)
    size = 0.82 + 0.16 * (number % 64) / 63
    shift_x, shift_y = ((number >> 6) % 17 - 8) / 200, ((number >> 11) % 17 - 8) / 200
    tilt = math.radians(((number >> 16) % 25) - 12)
    mask = Image.new("L", (_CANVAS, _CANVAS), 0)
    outline = ImageDraw.Draw(mask)
    for points in shape_of(category):
        outline.polygon([_place(x, y, size, tilt, shift_x, shift_y) for x, y in points], fill=255)
    image = Image.new("RGB", (_CANVAS, _CANVAS), paper)
    image.paste(fill, (0, 0), mask)
    buffer = io.BytesIO()
    image.reduce(_SCALE).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _place(
    x: float, y: float, size: float, tilt: float, shift_x: float, shift_y: float
) -> tuple[float, float]:
    x, y = (x - 0.5) * size, (y - 0.5) * size
    return (
        _CANVAS * (0.5 + shift_x + x * math.cos(tilt) - y * math.sin(tilt)),
        _CANVAS * (0.5 + shift_y + x * math.sin(tilt) + y * math.cos(tilt)),
    )


def draw_catalogue(items: pl.DataFrame) -> pl.DataFrame:
    """Draw every product of RAW_ITEMS that names an image.

    Returns:
        {image: String, content: Binary}, in the items' order.
    """
    named = items.filter(pl.col("image") != "")
    rows = named.select("name", "description", CATEGORY_L1, CATEGORY_L2, ITEM_ID).iter_rows()
    return pl.DataFrame(
        {"image": named["image"], "content": [draw_product(*row) for row in rows]},
        schema={"image": pl.String, "content": pl.Binary},
    )
