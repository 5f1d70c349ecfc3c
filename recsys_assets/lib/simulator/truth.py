"""Define the simulator's truth: the probability of each click, as a formula.

    P(click | user, item, device, t) = 0 before the item's launch, else
        σ(b + taste + intent + gender + quality + price + discount + colour + mood + device + hour +
        weekend)

- taste: a user has three ranked categories; their items get TASTE by rank. Interests shift: on the
  user's shift_day, within the simulated days, three other categories replace them. Only a share of
  the users has a shift_day.
- intent: each UTC day the user seeks one of the three categories (.6/.25/.15 by rank), whose items
  get INTENT. The clicks of the last 24 hours reveal it. A hash of (seed, user, day) draws it, so
  that the probability is known for every context.
- gender: an item for the other gender gets WRONG_GENDER, which is negative.
- quality: each item has its own.
- price: PRICE_TASTE × the user's taste for high prices × the item's price level in its category.
- discount: bargain hunters give promoted items DISCOUNT.
- colour, mood: an item whose look (``looks``) is the user's gets COLOUR_TASTE and MOOD_TASTE. The
  look, and a part of the quality, are only in text and image, so content helps with new items.
- device, hour, weekend: effects on a category, so that the best list depends on the context, also
  for unknown visitors.

Launch and shift happen at midnight UTC. P is the probability at position 1. A visitor looks at
position k with probability k^-POSITION_DECAY (``examination``; the position-based model, Craswell
et al. 2008). A logged exposure is clicked with probability examination(position) × P.

Only the simulator and evaluation may read a truth; features may not. ``population`` draws a truth.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from recsys_assets.columns import DEVICES, EPOCH_WEEKDAY, GENDERS
from recsys_assets.files import write_json

#: Raise it with each change of the formula or its constants: landing zones are then made again.
TRUTH_VERSION = 3
PERSONA_WEIGHTS = np.array([0.60, 0.25, 0.15])  # of a persona's three ranked categories
TASTE = np.array([2.2, 1.8, 1.3])  # logits, by rank
INTENT, WRONG_GENDER, DISCOUNT = 1.4, -1.7, 0.8  # logits
COLOUR_TASTE, MOOD_TASTE, PRICE_TASTE = 1.2, 0.9, 0.35  # logits
POSITION_DECAY = 0.20
FROM_THE_START = 0  # launch_day of an item without a launch
NEVER = np.iinfo(np.int32).max  # shift_day of a user without a shift
ANY_GENDER = len(GENDERS)
_COLD_SAMPLE = 512
_DAY = 86_400


class TruthError(ValueError):
    """Raised for unknown ids or devices, or a truth file of another version."""


@dataclass(frozen=True)
class Truth:
    """Holds the parameters of the click model: U users, I items, C categories.

    Users and items are indexed by their positions in ``user_ids`` and ``item_ids``, devices as in
    ``columns.DEVICES``. Days count from 1970-01-01, UTC.
    """

    seed: int
    bias: float
    categories: tuple[str, ...]  # C, sorted
    user_ids: np.ndarray  # str [U]
    item_ids: np.ndarray  # str [I]
    persona: np.ndarray  # int16 [U, 3], categories by rank
    later_persona: np.ndarray  # int16 [U, 3], from shift_day on
    shift_day: np.ndarray  # int32 [U], or NEVER
    user_gender: np.ndarray  # int8 [U], index into columns.GENDERS
    age: np.ndarray  # int16 [U], years
    price_taste: np.ndarray  # float32 [U]
    bargain_hunter: np.ndarray  # bool [U]
    user_palette: np.ndarray  # int8 [U], index into looks.PALETTES
    user_mood: np.ndarray  # int8 [U], index into looks.MOODS
    activity: np.ndarray  # float32 [U], sums to 1: share of sessions
    device_share: np.ndarray  # float32 [U, 3]
    item_category: np.ndarray  # int16 [I]
    item_gender: np.ndarray  # int8 [I], index into columns.GENDERS, or ANY_GENDER
    launch_day: np.ndarray  # int32 [I], or FROM_THE_START
    quality: np.ndarray  # float32 [I], logits
    price_level: np.ndarray  # float32 [I], standardised log price within the category
    promoted: np.ndarray  # bool [I]
    item_palette: np.ndarray  # int8 [I]
    item_mood: np.ndarray  # int8 [I], or looks.NO_MOOD
    device_effect: np.ndarray  # float32 [3, C], logits
    hour_effect: np.ndarray  # float32 [24, C], logits, by UTC hour
    weekend_effect: np.ndarray  # float32 [C], logits

    def user_index(self, user_ids: Sequence[str]) -> np.ndarray:
        """Return the positions of users, int64 [n].

        Raises:
            TruthError: an id is not one of the simulator's users; names it.
        """
        return _positions("user_id", self.user_ids, user_ids)

    def item_index(self, item_ids: Sequence[str]) -> np.ndarray:
        """Return the positions of items, int64 [n].

        Raises:
            TruthError: an id is not one of the simulator's items; names it.
        """
        return _positions("item_id", self.item_ids, item_ids)

    @staticmethod
    def device_index(devices: Sequence[str]) -> np.ndarray:
        """Return the positions of devices, int64 [n].

        Raises:
            TruthError: a device is not in ``columns.DEVICES``; names it.
        """
        return _positions("device_type", np.array(DEVICES), devices)

    def persona_at(self, user: np.ndarray, timestamp: np.ndarray | int) -> np.ndarray:
        """Return the three ranked categories at a time, int16 [..., 3].

        User and timestamp (unix seconds) broadcast.
        """
        user = np.asarray(user)
        shifted = np.asarray(timestamp) // _DAY >= self.shift_day[user]
        later: np.ndarray = self.later_persona[user]
        return np.where(shifted[..., None], later, self.persona[user])

    def intent(self, user: np.ndarray, timestamp: np.ndarray | int) -> np.ndarray:
        """Return the category that each user seeks on the timestamp's UTC day; broadcasts."""
        user, day = np.broadcast_arrays(
            np.asarray(user, np.int64), np.asarray(timestamp, np.int64) // _DAY
        )
        draw = _hash_uniform(self.seed, user, day)
        rank = np.searchsorted(np.cumsum(PERSONA_WEIGHTS)[:-1], draw, side="right")
        persona = self.persona_at(user, day * _DAY)
        sought: np.ndarray = np.take_along_axis(persona, rank[..., None], axis=-1)[..., 0]
        return sought

    def launched(self, item: np.ndarray, timestamp: np.ndarray | int) -> np.ndarray:
        """Return whether the item is launched, bool; broadcasts."""
        return np.asarray(np.asarray(timestamp) // _DAY >= self.launch_day[item])

    def click_probability(
        self,
        user: np.ndarray | int,
        item: np.ndarray,
        device: np.ndarray | int,
        timestamp: np.ndarray | int,
    ) -> np.ndarray:
        """Return P(click) at position 1, float64, by the formula of this module.

        The arguments broadcast: user [n, 1] and item [m] give [n, m].

        Args:
            user: from ``user_index``.
            item: from ``item_index``.
            device: from ``device_index``.
            timestamp: unix seconds, UTC.
        """
        user, item, timestamp = np.asarray(user), np.asarray(item), np.asarray(timestamp)
        category, gender = self.item_category[item], self.item_gender[item]
        logit = self._context_logit(item, category, np.asarray(device), timestamp)
        persona = self.persona_at(user, timestamp)
        for rank, worth in enumerate(TASTE):
            logit = logit + worth * (persona[..., rank] == category)
        logit = logit + INTENT * (self.intent(user, timestamp) == category)
        logit = logit + WRONG_GENDER * ((gender != ANY_GENDER) & (gender != self.user_gender[user]))
        logit = logit + PRICE_TASTE * self.price_taste[user] * self.price_level[item]
        logit = logit + DISCOUNT * (self.bargain_hunter[user] & self.promoted[item])
        logit = logit + COLOUR_TASTE * (self.user_palette[user] == self.item_palette[item])
        logit = logit + MOOD_TASTE * (self.user_mood[user] == self.item_mood[item])
        return np.asarray(self.launched(item, timestamp) / (1.0 + np.exp(-logit)))

    def _context_logit(
        self, item: np.ndarray, category: np.ndarray, device: np.ndarray, timestamp: np.ndarray
    ) -> np.ndarray:
        """Return the part of the logit that does not depend on the user."""
        hour, weekday = timestamp // 3_600 % 24, (timestamp // _DAY + EPOCH_WEEKDAY) % 7
        return np.asarray(
            self.bias
            + self.quality[item].astype(np.float64)
            + self.device_effect[device, category]
            + self.hour_effect[hour, category]
            + np.where(weekday >= 5, self.weekend_effect[category], 0.0)
        )

    def cold_click_probability(self, item: np.ndarray, device: int, timestamp: int) -> np.ndarray:
        """Return P(click) [m] of an unknown visitor: the mean over a sample of users."""
        sample = np.random.default_rng([self.seed, 5]).integers(
            len(self.user_ids), size=_COLD_SAMPLE
        )
        mean: np.ndarray = self.click_probability(
            sample[:, None], np.asarray(item)[None, :], device, timestamp
        ).mean(axis=0)
        return mean

    def save(self, folder: Path) -> None:
        """Write ``truth.npz`` (arrays, no pickle) and, last, ``truth.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if isinstance(getattr(self, f.name), np.ndarray)
        }
        temporary = folder / ".truth.npz"
        with open(temporary, "wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        temporary.replace(folder / "truth.npz")
        write_json(
            folder / "truth.json",
            {
                "version": TRUTH_VERSION,
                "seed": self.seed,
                "bias": self.bias,
                "categories": list(self.categories),
            },
        )

    @classmethod
    def read(cls, folder: Path) -> Truth:
        """Read a truth that ``save`` wrote.

        Raises:
            FileNotFoundError: a file is missing.
            TruthError: the file has another version.
        """
        meta = json.loads((folder / "truth.json").read_text())
        if meta.pop("version") != TRUTH_VERSION:
            raise TruthError(
                f"{folder / 'truth.json'} is of another version: run `recsys simulate` again"
            )
        with np.load(folder / "truth.npz", allow_pickle=False) as arrays:
            return cls(
                seed=meta["seed"], bias=meta["bias"], categories=tuple(meta["categories"]), **arrays
            )


def examination(position: np.ndarray) -> np.ndarray:
    """Return the probability that a visitor looks at a position (from 1)."""
    return np.asarray(np.asarray(position, np.float64) ** -POSITION_DECAY)


def _positions(column: str, known: np.ndarray, wanted: Sequence[str]) -> np.ndarray:
    """Return the positions of the wanted values in the known ones, int64 [n].

    Raises:
        TruthError: a value is unknown; names the first.
    """
    values = np.asarray(wanted, dtype=str)
    order = np.argsort(known, kind="stable")
    at = np.searchsorted(known, values, sorter=order).clip(max=len(known) - 1)
    positions: np.ndarray = order[at]
    unknown = known[positions] != values
    if unknown.any():
        raise TruthError(
            f"{column}: {int(unknown.sum())} values are unknown to the simulator, "
            f"for example {str(values[unknown][0])!r}"
        )
    return positions


def _hash_uniform(seed: int, user: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Return uniform numbers in [0, 1) that depend only on seed, user and day.

    The hash is splitmix64's finaliser (Steele et al. 2014).
    """
    # Arrays overflow without a warning, scalars do not.
    value = np.atleast_1d(user).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    value += np.atleast_1d(day).astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
    value += np.full(1, seed, np.uint64) * np.uint64(0x8CB92BA72F3D8DD7)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
    value ^= value >> np.uint64(31)
    uniform: np.ndarray = (value >> np.uint64(11)).astype(np.float64).reshape(user.shape) / 2.0**53
    return uniform
