"""Draw the parameters of ``truth.Truth`` for a catalogue and a number of users.

The parameters are set so that taste, intent, context and content can all be learnt from clicks, and
none of them is enough alone.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from recsys_assets.columns import CATEGORY_L1, DEVICES, GENDERS, ITEM_GENDER, ITEM_ID, PRICE
from recsys_assets.lib.simulator.looks import MOODS, PALETTES, looks_of
from recsys_assets.lib.simulator.truth import (
    ANY_GENDER,
    FROM_THE_START,
    NEVER,
    PERSONA_WEIGHTS,
    Truth,
    TruthError,
)
from recsys_assets.partitions import SIMULATED_DAYS

AGE_MIN, AGE_MAX, AGE_MEAN, AGE_SD = 18, 100, 32.0, 15.0  # of a truncated normal distribution
DEVICE_SHARES = np.array([0.55, 0.35, 0.10])  # in the order of columns.DEVICES
LAUNCH_SHARE, SHIFT_SHARE, HUNTER_SHARE = 0.12, 0.25, 0.30
SHIFT_FROM, SHIFT_TO = 3, SIMULATED_DAYS - 2  # first and last day offset of a shift of interests
#: Share of users whose look follows from main category and gender; others have their own.
TYPICAL_LOOK_SHARE = 0.8
FASHION = 0.6  # popularity of each look relative to the next more popular one
QUALITY_SD, DEVICE_SD, HOUR_AMPLITUDE, WEEKEND_SD = 0.4, 0.6, 0.8, 0.25  # logits
PRAISE_CORRELATION = 0.7  # of an item's quality with the praise in its text


def make_truth(items: pl.DataFrame, n_users: int, seed: int, start: str) -> Truth:
    """Draw a truth for a catalogue and the users "1" to "n_users".

    Its bias is 0. ``exposures.calibrated`` sets the bias, because the click rate depends on the
    shown items.

    Args:
        items: RAW_ITEMS.
        n_users: number of users.
        seed: random seed.
        start: first day (ISO) of the 14 days over which items launch and interests shift.

    Raises:
        TruthError: the catalogue has fewer than three categories.
    """
    rng = np.random.default_rng([seed, 2])
    categories = sorted(items[CATEGORY_L1].unique())
    if len(categories) < len(PERSONA_WEIGHTS):
        raise TruthError(
            f"category_l1: the catalogue has {len(categories)} categories; a persona ranks "
            f"{len(PERSONA_WEIGHTS)}, so give a catalogue with more"
        )
    first_day = (date.fromisoformat(start) - date(1970, 1, 1)).days
    item_category = np.searchsorted(categories, items[CATEGORY_L1].to_numpy()).astype(np.int16)
    item_palette, item_mood, praise = looks_of(items)
    quality = _quality(rng, praise)

    age, user_gender = _ages(rng, n_users), rng.integers(len(GENDERS), size=n_users).astype(np.int8)
    attraction = _attraction(
        rng, age, user_gender, np.bincount(item_category, minlength=len(categories))
    )
    persona, later_persona = _personas(rng, attraction), _personas(rng, attraction)
    activity = rng.lognormal(0.0, 0.9, n_users)
    gender_codes = {**{g: i for i, g in enumerate(GENDERS)}, "Any": ANY_GENDER}
    hours = np.arange(24)[:, None]
    # peaks spread over the whole day
    peaks = rng.permutation(np.linspace(0, 24, len(categories), endpoint=False))
    return Truth(
        seed=seed,
        bias=0.0,
        categories=tuple(categories),
        user_ids=np.arange(1, n_users + 1).astype(str),
        item_ids=items[ITEM_ID].to_numpy().astype(str),
        persona=persona,
        later_persona=later_persona,
        shift_day=_shift_days(rng, n_users, first_day),
        user_gender=user_gender,
        age=age,
        price_taste=rng.standard_normal(n_users).astype(np.float32),
        bargain_hunter=rng.random(n_users) < HUNTER_SHARE,
        user_palette=_typical(rng, len(PALETTES), persona[:, 0], user_gender, len(categories)),
        user_mood=_typical(rng, len(MOODS), persona[:, 0], user_gender, len(categories)),
        activity=(activity / activity.sum()).astype(np.float32),
        device_share=rng.dirichlet(DEVICE_SHARES * 3, n_users).astype(np.float32),
        item_category=item_category,
        item_gender=np.array([gender_codes[g] for g in items[ITEM_GENDER]], np.int8),
        launch_day=_launch_days(rng, len(items), first_day),
        quality=quality.astype(np.float32),
        price_level=_price_level(items, item_category, len(categories)),
        promoted=items["promoted"].to_numpy(),
        item_palette=item_palette,
        item_mood=item_mood,
        device_effect=(DEVICE_SD * rng.standard_normal((len(DEVICES), len(categories)))).astype(
            np.float32
        ),
        hour_effect=(HOUR_AMPLITUDE * np.cos(2 * np.pi * (hours - peaks) / 24)).astype(np.float32),
        weekend_effect=(WEEKEND_SD * rng.standard_normal(len(categories))).astype(np.float32),
    )


def _quality(rng: np.random.Generator, praise: np.ndarray) -> np.ndarray:
    """Draw each item's quality in logits, float64 [I], correlated with its praise [I]."""
    noise = rng.standard_normal(len(praise))
    praised = _standardise(praise, np.zeros(len(praise), np.int16), 1)
    quality: np.ndarray = QUALITY_SD * (
        PRAISE_CORRELATION * praised + np.sqrt(1 - PRAISE_CORRELATION**2) * noise
    )
    return quality


def _ages(rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw whole years, int16 [n], from a truncated normal distribution by rejection."""
    ages = np.empty(0)
    while len(ages) < n:
        draw = rng.normal(AGE_MEAN, AGE_SD, 2 * n)
        ages = np.concatenate([ages, draw[(draw >= AGE_MIN) & (draw <= AGE_MAX)]])
    return ages[:n].astype(np.int16)


def _attraction(
    rng: np.random.Generator, age: np.ndarray, gender: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Return the log weight of each category for each user, float64 [U, C].

    Large categories, and those that suit the user's age and gender, have more weight.
    """
    preferred_age = rng.uniform(20, 65, len(sizes))
    lean = rng.normal(0, 0.7, len(sizes))  # positive: preferred by F
    weight: np.ndarray = (
        0.5 * np.log(sizes)
        - ((age[:, None] - preferred_age) / 18) ** 2 / 2
        + np.where(gender[:, None] == 0, lean, -lean)
    )
    return weight


def _personas(rng: np.random.Generator, attraction: np.ndarray) -> np.ndarray:
    """Draw three distinct categories per user, int16 [U, 3], by attraction [U, C].

    By the Gumbel top-k trick, the three largest of (log weight + Gumbel noise) are a draw without
    replacement by weight.
    """
    return np.argsort(-(attraction + rng.gumbel(size=attraction.shape)), axis=1)[:, :3].astype(
        np.int16
    )


def _shift_days(rng: np.random.Generator, n: int, first_day: int) -> np.ndarray:
    """Draw the day of each user's shift of interests, int32 [n]; NEVER for most users."""
    days = first_day + rng.integers(SHIFT_FROM, SHIFT_TO + 1, size=n)
    return np.where(rng.random(n) < SHIFT_SHARE, days, NEVER).astype(np.int32)


def _launch_days(rng: np.random.Generator, n: int, first_day: int) -> np.ndarray:
    """Draw the launch day of each item, int32 [n].

    LAUNCH_SHARE of the items launch evenly over the simulated days after the first.
    """
    days = np.full(n, FROM_THE_START, np.int32)
    new = rng.permutation(n)[: round(LAUNCH_SHARE * n)]
    days[new] = first_day + 1 + np.arange(len(new)) % (SIMULATED_DAYS - 1)
    return days


def _typical(
    rng: np.random.Generator,
    n_looks: int,
    category: np.ndarray,
    gender: np.ndarray,
    n_categories: int,
) -> np.ndarray:
    """Draw the look that each user likes, int8 [U].

    It is mostly that of the main category and gender, so that models can learn it. Some looks are
    more popular than others, so that they also help with unknown visitors.
    """
    fashion = rng.permutation(FASHION ** np.arange(n_looks))
    fashion /= fashion.sum()
    usual = rng.choice(n_looks, size=(n_categories, len(GENDERS)), p=fashion)
    own = rng.choice(n_looks, size=len(category), p=fashion)
    return np.where(
        rng.random(len(category)) < TYPICAL_LOOK_SHARE, usual[category, gender], own
    ).astype(np.int8)


def _price_level(items: pl.DataFrame, category: np.ndarray, n_categories: int) -> np.ndarray:
    """Return log prices standardised per category, float32 [I]; 0 for an unknown price."""
    logs = np.log(items[PRICE].to_numpy())
    known = np.isfinite(logs)
    level = np.zeros(len(logs), np.float32)
    level[known] = _standardise(logs[known], category[known], n_categories)
    return level


def _standardise(values: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Scale to zero mean and unit deviation per group; 0 in a group of equal values."""
    count = np.maximum(np.bincount(group, minlength=n_groups), 1)
    centred = values - (np.bincount(group, values, n_groups) / count)[group]
    deviation = np.sqrt(np.bincount(group, centred**2, n_groups) / count)
    scaled: np.ndarray = centred / np.where(deviation > 0, deviation, 1.0)[group]
    return scaled.astype(np.float32)
