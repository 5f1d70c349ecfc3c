"""Drawn product images: what they carry, and that they stay the same."""

import io

import numpy as np
import polars as pl
from PIL import Image

from recsys_assets.lib.figures.colours import COLOURS
from recsys_assets.lib.simulator.catalogue import STYLES, synthetic_catalogue
from recsys_assets.lib.simulator.pictures import (
    SHAPES,
    SIDE,
    colour_of,
    draw_catalogue,
    draw_product,
    pattern_of,
)


def _pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def _silhouette(content: bytes) -> np.ndarray:
    """Where the image differs from its paper: bool [96, 96]."""
    pixels = _pixels(content).astype(int)
    return np.abs(pixels - pixels[0, 0]).sum(axis=2) > 20


def test_colour_is_the_first_that_the_text_names():
    assert colour_of("Sleek Navy Bag", "A red bag.", "1") == COLOURS["navy"]
    assert colour_of("Sleek Bag", "A golden clasp on black leather.", "1") == COLOURS["gold"]
    assert colour_of("Redwood Bench", "Handmade.", "1") == colour_of(
        "Bench", "Handmade.", "1"
    )  # no word "red"
    assert colour_of("Bag", "", "1") != colour_of("Bag", "", "2")


def test_images_are_png_of_the_same_size_and_deterministic():
    items = synthetic_catalogue(60, 7)
    images = draw_catalogue(items)
    assert images.columns == ["image", "content"]
    assert images["image"].to_list() == items["image"].to_list()
    assert images.equals(draw_catalogue(items))
    assert images["content"].n_unique() == 60
    for content in images["content"][:5]:
        assert Image.open(io.BytesIO(content)).format == "PNG"
        assert _pixels(content).shape == (SIDE, SIDE, 3)


def test_an_item_without_image_name_gets_none():
    items = synthetic_catalogue(20, 7).with_columns(
        image=pl.when(pl.col("item_id") == "3").then(pl.lit("")).otherwise(pl.col("image"))
    )
    assert draw_catalogue(items)["image"].to_list() == [f"{n}.png" for n in range(1, 21) if n != 3]


def test_the_dominant_colour_is_the_named_one():
    for word in ("red", "blue", "green", "purple"):
        content = draw_product(f"Classic {word.title()} Book", "", "books", "plain-to-see", "7")
        pixels = _pixels(content)[_silhouette(content)].astype(int)
        distance = {name: np.abs(pixels - rgb).sum(axis=1).min() for name, rgb in COLOURS.items()}
        share = (np.abs(pixels - COLOURS[word]).sum(axis=1) < 30).mean()
        assert distance[word] == 0
        assert share > 0.3


def test_the_shape_says_the_category():
    def drawn(category: str) -> np.ndarray:
        return _silhouette(draw_product("Red", "", category, "style", "7"))

    masks = {
        category: drawn(category) for category in [*SHAPES, "a new category", "and another one"]
    }
    names = list(masks)
    for i, first in enumerate(names):
        assert 0.05 < masks[first].mean() < 0.6, first
        for second in names[:i]:
            overlap = (masks[first] & masks[second]).sum() / (masks[first] | masks[second]).sum()
            assert overlap < 0.97, (first, second)
    assert set(SHAPES) == set(STYLES)


def test_the_pattern_says_the_style():
    patterns = {
        pattern_of(category, style) for category, styles in STYLES.items() for style in styles
    }
    assert len(patterns) > 30
    boot = draw_product("Red", "", "footwear", "boot", "7")
    assert boot != draw_product("Red", "", "footwear", "sneaker", "7")
    assert boot == draw_product("Red", "", "footwear", "boot", "7")


def test_a_white_product_can_be_seen():
    assert _silhouette(draw_product("White Shirt", "", "apparel", "shirt", "1")).mean() > 0.1
    assert _silhouette(draw_product("Ivory Shirt", "", "apparel", "shirt", "1")).mean() > 0.1
