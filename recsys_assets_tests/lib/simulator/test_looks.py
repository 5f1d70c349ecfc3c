"""Test that text and image hold a product's look, which predicts a new item's clicks."""

import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from recsys_assets.lib.figures.colours import COLOURS
from recsys_assets.lib.simulator.catalogue import synthetic_catalogue
from recsys_assets.lib.simulator.exposures import calibrated, draw_exposures
from recsys_assets.lib.simulator.looks import (
    MOODS,
    NO_MOOD,
    PALETTES,
    looks_of,
    mood_of,
    palette_of,
    praise_of,
)
from recsys_assets.lib.simulator.pictures import draw_catalogue
from recsys_assets.lib.simulator.population import make_truth

START = "2026-11-09"


def test_palettes_hold_each_colour_once():
    assert sorted(word for words in PALETTES.values() for word in words) == sorted(COLOURS)
    assert len({word for words in MOODS.values() for word in words}) == sum(
        map(len, MOODS.values())
    )


def test_looks_golden():
    names = list(PALETTES)
    assert names[palette_of("Sleek Navy Bag", "A red bag.", "1")] == "dark"
    assert names[palette_of("Sleek Bag", "With a golden clasp.", "1")] == "warm"
    assert list(MOODS)[mood_of("Bag", "A Rustic, modern bag.")] == "heritage"
    assert list(MOODS)[mood_of("Sleek Bag", "A rustic bag.")] == "modern"
    assert mood_of("Bag", "Classical funding.") == NO_MOOD  # whole words only
    assert praise_of("Superior Bag", "Exquisite, truly exquisite.") == 2
    palette, mood, praise = looks_of(
        pl.DataFrame(
            {
                "item_id": ["1", "2"],
                "name": ["Red Bag", "Bold Pink Hat"],
                "description": ["", "The finest."],
            }
        )
    )
    assert ([names[p] for p in palette], mood.tolist(), praise.tolist()) == (
        ["warm", "soft"],
        [NO_MOOD, 4],
        [0, 1],
    )


def test_the_image_alone_shows_a_colour_that_the_text_does_not_name():
    items = synthetic_catalogue(200, 7)
    text = items["name"] + " " + items["description"]
    unnamed = ~text.str.to_lowercase().str.contains(r"\b(" + "|".join(COLOURS) + r")\b")
    assert unnamed.mean() == pytest.approx(0.2, abs=0.07)
    hidden = items.filter(unnamed)
    rgb = np.array(list(COLOURS.values()))
    palettes = [
        number
        for word in COLOURS
        for number, words in enumerate(PALETTES.values())
        if word in words
    ]
    expected, _, _ = looks_of(hidden)
    for content, palette in zip(draw_catalogue(hidden)["content"], expected, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(content))).reshape(-1, 3).astype(int)
        distance = np.abs(pixels[:, None] - rgb[None]).sum(axis=2)
        exact = distance.argmin(axis=1)[
            distance.min(axis=1) == 0
        ]  # the product's own fill: no paper, no ink
        assert palettes[np.bincount(exact, minlength=len(rgb)).argmax()] == palette


def test_content_foresees_the_clicks_of_new_items():
    """By least squares, content predicts new items' click rates better than columns alone."""
    items = synthetic_catalogue(600, 7)
    truth = calibrated(make_truth(items, 3_000, 7, START), START)
    shown = draw_exposures(truth, 120_000, "2026-11-22", np.random.default_rng(2))
    odds = truth.click_probability(
        shown["user"], shown["item"], shown["device"], shown["timestamp"]
    )
    count = np.bincount(shown["item"], minlength=600)
    rate = np.bincount(shown["item"], odds, 600) / np.maximum(count, 1)
    palette, mood, praise = looks_of(items)
    columns = np.column_stack(
        [np.eye(20)[truth.item_category], np.eye(3)[truth.item_gender], truth.price_level]
    )
    content = np.column_stack(
        [columns, np.eye(len(PALETTES))[palette], np.eye(len(MOODS) + 1)[mood], praise]
    )
    new = truth.launch_day > 0

    def agreement(known: np.ndarray) -> float:
        ridge = np.linalg.solve(
            known[~new].T @ known[~new] + np.eye(known.shape[1]), known[~new].T @ rate[~new]
        )
        return np.corrcoef(known[new] @ ridge, rate[new])[0, 1]

    assert agreement(content) > agreement(columns) + 0.05
    assert agreement(content) > 0.7
