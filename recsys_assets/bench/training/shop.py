"""Generate transformed rows of a shop of any size, with a taste to learn.

The rows are made in the models' own terms (indices and normalised numbers), because the bench
measures training alone. A visitor likes a few styles; styles belong to categories; an item has a
style and a popularity. Clicks follow both, exposures popularity alone. Gender, favourite category
and recent clicks carry a part of the taste, and the pretrained vectors most of an item's style.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from merlin.schema import ColumnSchema, Schema, Tags

from recsys_assets import columns as c

CATEGORIES, STYLES = 16, 120
LIKED = 4  # styles that a visitor likes
TASTE = 0.75  # share of the clicks on a liked style; the rest follows popularity alone
#: Mean clicks of a visitor in seven days, and their share in the last 24 hours.
CLICKS_A_WEEK, OF_A_DAY = 6, 1 / 7


@dataclass(frozen=True)
class BenchShop:
    """Holds a generated shop.

    Attributes:
        schema: of the rows, with click.
        table: float32 [cardinality(item_id), 128], text then image.
        catalogue: as in item_tower_inputs.npz.
        clicks: training clicks in the types of ``loaders.read_rows``.
        exposures: training exposures.
        valid_clicks: clicks to judge by.
        valid_exposures: exposures to judge by.
    """

    schema: Schema
    table: np.ndarray
    catalogue: dict[str, np.ndarray]
    clicks: pd.DataFrame
    exposures: pd.DataFrame
    valid_clicks: pd.DataFrame
    valid_exposures: pd.DataFrame


def make(users: int, items: int, clicks: int, exposures: int, valid: int, seed: int) -> BenchShop:
    """Generate a shop; ``valid`` is the number of rows of each kind to judge by."""
    random = np.random.default_rng(seed)
    style_category = random.permutation(STYLES) % CATEGORIES
    style = random.integers(STYLES, size=items)
    popularity = 1 / (1 + random.permutation(items)) ** 0.8
    liked = np.stack([random.integers(STYLES, size=users) for _ in range(LIKED)], axis=1)
    side = {
        "gender": liked[:, 0] % 2,
        "favourite": style_category[liked[:, 0]],
        "age": random.integers(6, size=users),
    }
    by_style = _Sampler(style, popularity)
    week, day = _clicks_lately(style_category[liked], random)

    def rows(count: int, clicked: bool) -> pd.DataFrame:
        user = random.integers(users, size=count)
        anything = random.choice(items, size=count, p=popularity / popularity.sum())
        wanted = by_style.draw(liked[user, random.integers(LIKED, size=count)], random)
        tasteful = (random.random(count) < (TASTE if clicked else 0.3)) & (wanted >= 0)
        item = np.where(tasteful, wanted, anything)
        likes = (liked[user] == style[item][:, None]).any(axis=1)
        category = style_category[style[item]]
        click = (
            np.ones(count, int)
            if clicked
            else (
                random.random(count)
                < 0.03
                + 0.15 * likes
                + 0.15 * (side["favourite"][user] == category)
                + 0.3 * np.sqrt(popularity[item])
            ).astype(int)
        )
        frequency = [np.log1p(lately[user].sum(axis=1)) for lately in (day, week)]
        hour, weekday = (
            random.random(count) * 2 * np.pi,
            random.integers(7, size=count) * 2 * np.pi / 7,
        )
        first = c.VOCABULARY_START
        frame = {
            c.USER_ID: first + user,
            c.GENDER: first + side["gender"][user],
            c.TOP_CATEGORY: first + side["favourite"][user],
            c.AGE_BINNED: first + side["age"][user],
            c.DEVICE_TYPE: first + random.integers(3, size=count),
            **{name: packed["cat"][item, i] for i, name in enumerate(c.ITEM_CATEGORICAL)},
            c.AGE_NORM: (side["age"][user] - 2.5) / 1.7,
            c.USER_FREQUENCY: frequency[0],
            c.USER_FREQUENCY_LOOK_BACK: frequency[1],
            c.CATEGORY_SHARE_LOOK_BACK: week[user, category] / (week[user].sum(axis=1) + 2),
            c.CATEGORY_SHARE_24H: day[user, category] / (day[user].sum(axis=1) + 1),
            c.CATEGORY_FREQUENCY_LOOK_BACK: np.log1p(week[user, category]),
            c.CATEGORY_FREQUENCY_24H: np.log1p(day[user, category]),
            c.USER_RECENCY: random.random(count),
            c.HOUR_SIN: np.sin(hour),
            c.HOUR_COS: np.cos(hour),
            c.WEEKDAY_SIN: np.sin(weekday),
            c.WEEKDAY_COS: np.cos(weekday),
            c.PRICE_LOG_NORM: packed["cont"][item, 0],
            c.ITEM_POPULARITY: np.log1p(100 * popularity[item]),
            c.CLICK: click,
        }
        kinds = {
            **dict.fromkeys(c.RANKER_CATEGORICAL, np.int32),
            **dict.fromkeys(c.RANKER_CONTINUOUS, np.float32),
        }
        return pd.DataFrame(
            {
                name: np.asarray(values).astype(kinds.get(name, np.int32))
                for name, values in frame.items()
            }
        )

    packed = _catalogue(style, style_category, random)
    table = np.zeros((c.VOCABULARY_START + items, 2 * c.EMBEDDING_DIM), np.float32)
    table[c.VOCABULARY_START :] = (
        random.normal(size=(STYLES, 2 * c.EMBEDDING_DIM))[style]
        + random.normal(size=(items, 2 * c.EMBEDDING_DIM))
    ) / 16
    cardinality = {
        c.USER_ID: users,
        c.GENDER: 2,
        c.TOP_CATEGORY: CATEGORIES,
        c.AGE_BINNED: 6,
        c.DEVICE_TYPE: 3,
        c.ITEM_ID: items,
        c.CATEGORY_L1: CATEGORIES,
        c.CATEGORY_L2: STYLES,
        c.ITEM_GENDER: 3,
    }
    return BenchShop(
        schema({name: c.VOCABULARY_START + size for name, size in cardinality.items()}),
        table,
        packed,
        rows(clicks, True),
        rows(exposures, False),
        rows(valid, True),
        rows(valid, False),
    )


def _clicks_lately(liked: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return each visitor's clicks by category, of seven days and of 24 hours.

    Args:
        liked: int [users, LIKED], categories of the styles that a visitor likes.
        random: the source of the draws.

    Returns:
        Two int64 [users, CATEGORIES].
    """
    share = np.full((len(liked), CATEGORIES), (1 - TASTE) / CATEGORIES)
    np.add.at(share, (np.arange(len(liked))[:, None], liked), TASTE / LIKED)
    week = random.poisson(CLICKS_A_WEEK * share)
    return week, random.binomial(week, OF_A_DAY)


class _Sampler:
    """Draws items of a given style by popularity."""

    def __init__(self, style: np.ndarray, popularity: np.ndarray) -> None:
        self.of_style = [np.flatnonzero(style == s) for s in range(STYLES)]
        self.shares = [np.cumsum(popularity[found]) for found in self.of_style]

    def draw(self, styles: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return int [N] items of the styles; -1 where no item has the style."""
        drawn = np.full(len(styles), -1)
        for s, (found, shares) in enumerate(zip(self.of_style, self.shares, strict=True)):
            rows = np.flatnonzero(styles == s)
            if len(found) and len(rows):
                drawn[rows] = found[
                    np.searchsorted(shares, random.random(len(rows)) * shares[-1]).clip(
                        max=len(found) - 1
                    )
                ]
        return drawn


def _catalogue(
    style: np.ndarray, style_category: np.ndarray, random: np.random.Generator
) -> dict[str, np.ndarray]:
    items = len(style)
    cat = np.stack(
        [np.arange(items), style_category[style], style // 4, random.integers(3, size=items)],
        axis=1,
    )
    cat = (cat + c.VOCABULARY_START).astype(np.int32)
    return {
        "index": cat[:, 0],
        "cat": cat,
        "cont": random.normal(size=(items, 1)).astype(np.float32),
    }


def schema(cardinality: dict[str, int]) -> Schema:
    """Return a data set's schema as make_datasets writes it.

    Args:
        cardinality: rows of each categorical column's embedding table.
    """
    owner = {
        **dict.fromkeys(c.USER_CATEGORICAL + c.USER_CONTINUOUS, Tags.USER),
        **dict.fromkeys(c.CONTEXT_CATEGORICAL + c.CONTEXT_CONTINUOUS, Tags.CONTEXT),
    }
    identity = {c.USER_ID: [Tags.USER_ID, Tags.ID], c.ITEM_ID: [Tags.ITEM_ID, Tags.ID]}
    columns = [
        ColumnSchema(
            name,
            dims=(None,),
            dtype=np.int32,
            tags=[Tags.CATEGORICAL, owner.get(name, Tags.ITEM), *identity.get(name, [])],
            properties={
                "embedding_sizes": {"cardinality": size, "dimension": 16},
                "domain": {"min": 0, "max": size - 1, "name": name},
            },
        )
        for name, size in cardinality.items()
    ]
    columns += [
        ColumnSchema(
            name, dims=(None,), dtype=np.float32, tags=[Tags.CONTINUOUS, owner.get(name, Tags.ITEM)]
        )
        for name in c.RANKER_CONTINUOUS
    ]
    return Schema(
        [
            *columns,
            ColumnSchema(
                c.CLICK,
                dims=(None,),
                dtype=np.int32,
                tags=[Tags.BINARY_CLASSIFICATION, Tags.TARGET],
            ),
        ]
    )
