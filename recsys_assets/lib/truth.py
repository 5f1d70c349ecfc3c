"""The simulator's truth: who would click what, when and on which device, as a closed formula.

    P(click | user, item, device, t) = σ(b + taste + intent + gender + quality + price + device + hour + weekend)

- taste: a user has three ranked categories (drawn by age and gender); an item of one of them is worth more.
- intent: each UTC day one of the three is what the user is after (.6/.25/.15 by rank): what the last 24 hours'
  clicks reveal. A hash of (seed, user, day) draws it, so that the probability is known for any context.
- gender: an item made for the other gender is worth less. quality: an item's own. price: dear or cheap for its
  category, times the user's taste for dear things.
- device, hour, weekend: effects on the interest in a category; so the best list changes with context, also for a
  visitor of whom nothing is known.

Only the simulator and evaluation may read a truth; no feature may.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets.artifacts import write_json
from recsys_assets.columns import CATEGORY_L1, DEVICES, GENDERS, ITEM_GENDER, ITEM_ID, PRICE

TRUTH_VERSION = 2  # raise it with any change of the formula or its constants: landing zones are then made anew
PERSONA_WEIGHTS = np.array([0.60, 0.25, 0.15])  # of a persona's three ranked categories
TASTE = np.array([1.9, 1.5, 1.1])  # logits, by rank
INTENT = 1.2
WRONG_GENDER = -1.5
QUALITY_SD, PRICE_TASTE, DEVICE_SD, HOUR_AMPLITUDE, WEEKEND_SD = 0.4, 0.35, 0.6, 0.8, 0.25
DEVICE_SHARES = np.array([0.55, 0.35, 0.10])  # in the order of columns.DEVICES
AGE_MIN, AGE_MAX, AGE_MEAN, AGE_SD = 18, 100, 32.0, 15.0
_COLD_SAMPLE = 512
_ANY_GENDER = len(GENDERS)


class TruthError(ValueError):
    """Unknown ids or devices, or a truth file of another version."""


@dataclass(frozen=True)
class Truth:
    """Parameters of the click model: U users, I items, C categories.

    Indices: user and item positions in ``user_ids`` and ``item_ids``; devices as in ``columns.DEVICES``.
    """

    seed: int
    bias: float
    categories: tuple[str, ...]  # C, sorted
    user_ids: np.ndarray  # str [U]
    item_ids: np.ndarray  # str [I]
    persona: np.ndarray  # int16 [U, 3], categories by rank
    user_gender: np.ndarray  # int8 [U], index into columns.GENDERS
    age: np.ndarray  # int16 [U], years
    price_taste: np.ndarray  # float32 [U]
    activity: np.ndarray  # float32 [U], sums to 1: share of sessions
    device_share: np.ndarray  # float32 [U, 3]
    item_category: np.ndarray  # int16 [I]
    item_gender: np.ndarray  # int8 [I], index into columns.GENDERS, 2 = Any
    quality: np.ndarray  # float32 [I], logits
    price_level: np.ndarray  # float32 [I], standardised log price within the category
    device_effect: np.ndarray  # float32 [3, C], logits
    hour_effect: np.ndarray  # float32 [24, C], logits, by UTC hour
    weekend_effect: np.ndarray  # float32 [C], logits

    # --- indices
    def user_index(self, user_ids: Sequence[str]) -> np.ndarray:
        """Positions int64 [n]; raises TruthError naming an id that is not one of the simulator's users."""
        return _positions("user_id", self.user_ids, user_ids)

    def item_index(self, item_ids: Sequence[str]) -> np.ndarray:
        return _positions("item_id", self.item_ids, item_ids)

    @staticmethod
    def device_index(devices: Sequence[str]) -> np.ndarray:
        return _positions("device_type", np.array(DEVICES), devices)

    # --- the model
    def intent(self, user: np.ndarray, timestamp: np.ndarray) -> np.ndarray:
        """The category that each user is after on the timestamp's UTC day; broadcasts."""
        user, day = np.broadcast_arrays(np.asarray(user, np.int64), np.asarray(timestamp, np.int64) // 86_400)
        draw = _hash_uniform(self.seed, user, day)
        return self.persona[user, np.searchsorted(np.cumsum(PERSONA_WEIGHTS)[:-1], draw, side="right")]

    def click_probability(self, user: np.ndarray, item: np.ndarray, device: np.ndarray | int,
                          timestamp: np.ndarray | int) -> np.ndarray:
        """P(click) as float64.

        Args:
            user, item, device: indices (see ``user_index``, ``item_index``, ``device_index``).
            timestamp: unix seconds, UTC.
                All four broadcast against each other: user [n, 1] and item [m] give [n, m].
        """
        user, item = np.asarray(user), np.asarray(item)
        category = self.item_category[item]
        persona = self.persona[user]
        logit = self._context_logit(item, category, np.asarray(device), np.asarray(timestamp))
        for rank, worth in enumerate(TASTE):
            logit = logit + worth * (persona[..., rank] == category)
        logit = logit + INTENT * (self.intent(user, timestamp) == category)
        gender = self.item_gender[item]
        logit = logit + WRONG_GENDER * ((gender != _ANY_GENDER) & (gender != self.user_gender[user]))
        logit = logit + PRICE_TASTE * self.price_taste[user] * self.price_level[item]
        return 1.0 / (1.0 + np.exp(-logit))

    def _context_logit(self, item: np.ndarray, category: np.ndarray, device: np.ndarray,
                       timestamp: np.ndarray) -> np.ndarray:
        hour, weekday = timestamp // 3_600 % 24, (timestamp // 86_400 + 3) % 7  # 1970-01-01 was a Thursday
        return (self.bias + self.quality[item].astype(np.float64) + self.device_effect[device, category]
                + self.hour_effect[hour, category] + np.where(weekday >= 5, self.weekend_effect[category], 0.0))

    def cold_click_probability(self, item: np.ndarray, device: int, timestamp: int) -> np.ndarray:
        """P(click) [m] of a visitor of whom nothing is known: the mean over a fixed sample of users."""
        sample = np.random.default_rng([self.seed, 5]).integers(len(self.user_ids), size=_COLD_SAMPLE)
        return self.click_probability(sample[:, None], np.asarray(item)[None, :], device, timestamp).mean(axis=0)

    # --- storage
    def save(self, folder: Path) -> None:
        """Write ``truth.npz`` (arrays, no pickle) and, last, ``truth.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), np.ndarray)}
        temporary = folder / ".truth.npz"
        with open(temporary, "wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        temporary.replace(folder / "truth.npz")
        write_json(folder / "truth.json", {"version": TRUTH_VERSION, "seed": self.seed, "bias": self.bias,
                                           "categories": list(self.categories)})

    @classmethod
    def read(cls, folder: Path) -> Truth:
        """Raises FileNotFoundError, or TruthError for a file of another version."""
        meta = json.loads((folder / "truth.json").read_text())
        if meta.pop("version") != TRUTH_VERSION:
            raise TruthError(f"{folder / 'truth.json'} is of another version: run `recsys simulate` again")
        with np.load(folder / "truth.npz", allow_pickle=False) as arrays:
            return cls(seed=meta["seed"], bias=meta["bias"], categories=tuple(meta["categories"]), **arrays)


def _positions(column: str, known: np.ndarray, wanted: Sequence[str]) -> np.ndarray:
    wanted = np.asarray(wanted, dtype=str)
    order = np.argsort(known, kind="stable")
    at = np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)
    positions = order[at]
    unknown = known[positions] != wanted
    if unknown.any():
        raise TruthError(f"{column}: {int(unknown.sum())} values are unknown to the simulator, "
                         f"for example {str(wanted[unknown][0])!r}")
    return positions


def _hash_uniform(seed: int, user: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Uniform [0, 1) from (seed, user, day): splitmix64's finaliser (Steele et al. 2014), vectorised."""
    value = user.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    value += day.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
    value += np.full(1, seed, np.uint64) * np.uint64(0x8CB92BA72F3D8DD7)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
    value ^= value >> np.uint64(31)
    return (value >> np.uint64(11)).astype(np.float64) / 2.0**53


def make_truth(items: pl.DataFrame, n_users: int, seed: int) -> Truth:
    """Draw a truth for a catalogue (RAW_ITEMS) and users "1"…"n_users".

    Its bias is 0: ``exposures.calibrated`` sets it, since the click rate depends on what is shown.
    Raises TruthError where the catalogue has fewer than three categories.
    """
    rng = np.random.default_rng([seed, 2])
    categories = sorted(items[CATEGORY_L1].unique())
    if len(categories) < len(PERSONA_WEIGHTS):
        raise TruthError(f"category_l1: the catalogue has {len(categories)} categories; a persona ranks "
                         f"{len(PERSONA_WEIGHTS)}")
    item_category = np.searchsorted(categories, items[CATEGORY_L1].to_numpy()).astype(np.int16)
    sizes = np.bincount(item_category, minlength=len(categories))
    age = _truncated_normal(rng, n_users)
    user_gender = rng.integers(len(GENDERS), size=n_users).astype(np.int8)
    activity = rng.lognormal(0.0, 0.9, n_users)
    gender_codes = {**{g: i for i, g in enumerate(GENDERS)}, "Any": _ANY_GENDER}
    hours = np.arange(24)[:, None]
    peaks = rng.permutation(np.linspace(0, 24, len(categories), endpoint=False))  # spread over the whole day
    return Truth(
        seed=seed, bias=0.0, categories=tuple(categories),
        user_ids=np.arange(1, n_users + 1).astype(str), item_ids=items[ITEM_ID].to_numpy().astype(str),
        persona=_personas(rng, age, user_gender, sizes), user_gender=user_gender, age=age,
        price_taste=rng.standard_normal(n_users).astype(np.float32),
        activity=(activity / activity.sum()).astype(np.float32),
        device_share=rng.dirichlet(DEVICE_SHARES * 3, n_users).astype(np.float32),
        item_category=item_category,
        item_gender=np.array([gender_codes[g] for g in items[ITEM_GENDER]], np.int8),
        quality=(QUALITY_SD * rng.standard_normal(len(items))
                 + 0.2 * items["promoted"].to_numpy()).astype(np.float32),
        price_level=_standardise(np.log(items[PRICE].to_numpy()), item_category, len(categories)),
        device_effect=(DEVICE_SD * rng.standard_normal((len(DEVICES), len(categories)))).astype(np.float32),
        hour_effect=(HOUR_AMPLITUDE * np.cos(2 * np.pi * (hours - peaks) / 24)).astype(np.float32),
        weekend_effect=(WEEKEND_SD * rng.standard_normal(len(categories))).astype(np.float32),
    )


def _truncated_normal(rng: np.random.Generator, n: int) -> np.ndarray:
    """Ages int16 [n] by rejection."""
    ages = np.empty(0)
    while len(ages) < n:
        draw = rng.normal(AGE_MEAN, AGE_SD, 2 * n)
        ages = np.concatenate([ages, draw[(draw >= AGE_MIN) & (draw <= AGE_MAX)]])
    return ages[:n].astype(np.int16)


def _personas(rng: np.random.Generator, age: np.ndarray, gender: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Three distinct categories a user, int16 [U, 3]; large ones, and those that suit age and gender, more often.

    Gumbel top-3: the three largest of (log weight + Gumbel noise) are a draw without replacement by weight.
    """
    preferred_age = rng.uniform(20, 65, len(sizes))
    lean = rng.normal(0, 0.7, len(sizes))  # towards F where positive
    score = (0.5 * np.log(sizes) - ((age[:, None] - preferred_age) / 18) ** 2 / 2
             + np.where(gender[:, None] == 0, lean, -lean) + rng.gumbel(size=(len(age), len(sizes))))
    return np.argsort(-score, axis=1)[:, :3].astype(np.int16)


def _standardise(values: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Zero mean and unit deviation within each group; 0 in a group of equal values."""
    count = np.maximum(np.bincount(group, minlength=n_groups), 1)
    centred = values - (np.bincount(group, values, n_groups) / count)[group]
    deviation = np.sqrt(np.bincount(group, centred**2, n_groups) / count)
    return (centred / np.where(deviation > 0, deviation, 1.0)[group]).astype(np.float32)
