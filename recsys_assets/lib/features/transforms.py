"""The compiled NVTabular workflows: plain tables out of ``transforms.json``, applied with numpy.

Semantics are NVTabular's: Categorify gives 0 to padding, 1 to null, 2 to whatever is out of the
vocabulary (also to ``columns.MISSING``, which never is in one) and counts the vocabulary from 3;
Bucketize gives the number of boundaries that are ≤ x (``np.digitize``); Normalize is (x - mean) /
std in float64, then float32; the price's log is the natural one, a count's is log(1 + count). The
same functions serve one visitor and a whole table, so both agree to the bit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.columns import (
    AGE_BINNED,
    CATEGORY_L1,
    CATEGORY_L2,
    DEVICE_TYPE,
    EPOCH_WEEKDAY,
    GENDER,
    ITEM_CATEGORICAL,
    ITEM_GENDER,
    ITEM_ID,
    LOOK_BACK_HOURS,
    MISSING,
    NULL_INDEX,
    OOV_INDEX,
    SECONDS_PER_HOUR,
    TOP_CATEGORY,
    USER_CATEGORICAL,
    USER_ID,
    VOCABULARY_START,
)
from recsys_assets.files import read_json

VOCABULARY_COLUMNS = (
    USER_ID,
    GENDER,
    TOP_CATEGORY,
    AGE_BINNED,
    DEVICE_TYPE,
    ITEM_ID,
    CATEGORY_L1,
    CATEGORY_L2,
    ITEM_GENDER,
)


class TransformsInvalid(ValueError):
    """``transforms.json`` lacks a part or contradicts itself; the message names the part."""


def _circle(steps: int) -> np.ndarray:
    """float32 [steps, 2]: sine and cosine of each step."""
    angle = 2 * np.pi * np.arange(steps) / steps
    return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


#: float32 [168, 4]: clock features of each hour of a week that begins on Monday.
_HOURS_OF_WEEK = np.concatenate(
    [np.tile(_circle(24), (7, 1)), np.repeat(_circle(7), 24, axis=0)], axis=1
)


def clock_features(timestamp: np.ndarray) -> np.ndarray:
    """Hour of day and weekday (UTC, Monday = 0) on the circle.

    Args:
        timestamp: unix seconds, int64 [N].

    Returns:
        float32 [N, 4]: hour_sin, hour_cos, weekday_sin, weekday_cos.
    """
    return _HOURS_OF_WEEK.take(
        (timestamp // SECONDS_PER_HOUR + 24 * EPOCH_WEEKDAY) % len(_HOURS_OF_WEEK), axis=0
    )


def log_count(counts: np.ndarray) -> np.ndarray:
    """float32 [N]: log(1 + count) in float64; of a visitor's clicks, also on one category, and of
    an item's on a day.
    """
    return np.log1p(counts.astype(np.float64)).astype(np.float32)


def share_of_window(hours: np.ndarray) -> np.ndarray:
    """float32 [N]: hours since the last click as a share of the window that is looked back on; 1
    where there is none.
    """
    return (hours.astype(np.float64) / LOOK_BACK_HOURS).astype(np.float32)


def affinity(
    c7: np.ndarray, c24: np.ndarray, n7: np.ndarray | np.number, n24: np.ndarray | np.number
) -> np.ndarray:
    """What visitors' clicks say of an item's category, in float64 arithmetic.

    The shares are smoothed towards 0: one click of two days ago says less than ten.

    Args:
        c7, c24: [N], the visitor's clicks on the item's category_l1 in the seven days and the 24
            hours before.
        n7, n24: [N], or one number: all clicks of the visitor in the same times.

    Returns:
        float32 [N, 4], AFFINITY_CONTINUOUS: c7 / (n7 + 2), c24 / (n24 + 1), log(1 + c7), log(1 +
        c24).
    """
    c7, c24 = c7.astype(np.float64), c24.astype(np.float64)
    n7, n24 = n7.astype(np.float64), n24.astype(np.float64)
    found = np.empty((len(c7), 4), np.float32)
    for place, values in enumerate((c7 / (n7 + 2), c24 / (n24 + 1), np.log1p(c7), np.log1p(c24))):
        found[:, place] = values
    return found


class Vocabulary:
    """Categorify of one column: value → index.

    Args:
        buckets: rows after the vocabulary for values that arrived after the fit, found by their
            crc32; with 0 these are out-of-vocabulary. ``columns.MISSING`` is never hashed.

    >>> Vocabulary("gender", ["F", "M"]).indices(["M", "-1", None, "x"]).tolist()
    [4, 2, 1, 2]
    >>> Vocabulary("user_id", ["a", "b"], buckets=100).indices(["b", "-1", None, "new"]).tolist()
    [4, 2, 1, 66]
    """

    def __init__(self, column: str, values: Sequence[str], buckets: int = 0) -> None:
        self.column, self.buckets = column, buckets
        self.values = tuple(values)
        self._index = {value: VOCABULARY_START + n for n, value in enumerate(self.values)}
        if len(self._index) != len(self.values):
            raise TransformsInvalid(f"vocabulary.{column} lists a value twice")
        if MISSING in self._index:
            raise TransformsInvalid(
                f"vocabulary.{column} lists {MISSING!r}, which means unknown; fit without it"
            )
        if not all(isinstance(value, str) for value in self.values):
            raise TransformsInvalid(f"vocabulary.{column} must list strings")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def rows(self) -> int:
        """Of the column's embedding table."""
        return VOCABULARY_START + len(self) + self.buckets

    def index(self, value: str | None) -> int:
        if value is None:
            return NULL_INDEX
        found = self._index.get(value, OOV_INDEX)
        if found == OOV_INDEX and self.buckets and value != MISSING:
            return VOCABULARY_START + len(self) + zlib.crc32(value.encode()) % self.buckets
        return found

    def indices(self, values: Iterable[str | None]) -> np.ndarray:
        """int32 [N]."""
        return np.array([self.index(value) for value in values], np.int32)


def history_counts(
    vocabulary: Vocabulary, categories: Sequence[str] | np.ndarray, n7: int, n24: int
) -> np.ndarray:
    """One visitor's clicks by category.

    Args:
        vocabulary: of category_l1, with K rows.
        categories: category_l1 of the visitor's clicks, oldest first.
        n7, n24: how many of them, the latest, lie in the last seven days and in the last 24 hours;
            0 ≤ n24 ≤ n7 ≤ their number. Both are 0 for a masked visitor, whatever was clicked.

    Returns:
        float32 [2·K]: clicks by Categorify index, of seven days and then of 24 hours.

    Raises:
        TransformsInvalid: the three do not go together.

    >>> history_counts(
    ...     Vocabulary("category_l1", ["books", "tools"]), ["books", "tools", "tools"], 3, 1
    ... ).tolist()
    [0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """
    if not 0 <= n24 <= n7 <= len(categories):
        raise TransformsInvalid(
            f"a click history needs 0 ≤ clicks of 24 h ≤ of 7 days ≤ categories, got {n24}, {n7} "
            f"and {len(categories)}"
        )
    found = np.zeros(2 * vocabulary.rows, np.float32)
    if n7:
        index = vocabulary.indices(categories[len(categories) - n7 :])
        found[: vocabulary.rows] = np.bincount(index, minlength=vocabulary.rows)
        if n24:
            found[vocabulary.rows :] = np.bincount(index[n7 - n24 :], minlength=vocabulary.rows)
    return found


@dataclass(frozen=True)
class Normalizer:
    """(x - mean) / std in float64, then float32."""

    mean: float
    std: float  # > 0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return ((values.astype(np.float64) - self.mean) / self.std).astype(np.float32)


@dataclass(frozen=True)
class Transforms:
    """Every workflow of one generation."""

    vocabulary: Mapping[str, Vocabulary]
    age: Normalizer
    price_log: Normalizer
    age_boundaries: np.ndarray  # ascending, [B]
    age_bucket_index: np.ndarray  # int32 [B + 1]: bucket number → index of age_binned
    mean_age: np.float32

    @classmethod
    def read(cls, path: Path) -> Transforms:
        return cls.from_dict(read_json(path))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Transforms:
        """Compile the content of ``transforms.json``; raises TransformsInvalid naming what is
        wrong.
        """
        try:
            buckets = content["hashed_buckets"]
            vocabulary = {
                column: Vocabulary(column, content["vocabulary"][column], buckets.get(column, 0))
                for column in VOCABULARY_COLUMNS
            }
            cardinality = content["cardinality"]
            boundaries = np.array(content["age_boundaries"], dtype=np.float64)
            normalizers = {
                part: Normalizer(float(content[part]["mean"]), float(content[part]["std"]))
                for part in ("age", "price_log")
            }
            mean_age = np.float32(content["mean_age"])
        except KeyError as error:
            raise TransformsInvalid(
                f"transforms.json has no {error}; materialise features/workflows again"
            ) from error
        for column, table in vocabulary.items():
            if cardinality.get(column) != table.rows:
                raise TransformsInvalid(
                    f"cardinality.{column} is {cardinality.get(column)}, but the vocabulary makes "
                    f"it {table.rows}; materialise features/workflows again"
                )
        for part, normalizer in normalizers.items():
            if not (np.isfinite(normalizer.mean) and normalizer.std > 0):
                raise TransformsInvalid(f"{part} needs a finite mean and std > 0, got {normalizer}")
        if np.any(np.diff(boundaries) <= 0):
            raise TransformsInvalid(f"age_boundaries must ascend, got {boundaries.tolist()}")
        buckets = vocabulary[AGE_BINNED].indices(
            str(bucket) for bucket in range(len(boundaries) + 1)
        )
        return cls(
            vocabulary, normalizers["age"], normalizers["price_log"], boundaries, buckets, mean_age
        )

    def fill_age(self, age: np.ndarray) -> np.ndarray:
        """float32 [N]; a null (NaN) becomes the training users' mean age."""
        age = age.astype(np.float32)
        age[age != age] = self.mean_age
        return age

    def age_binned(self, age: np.ndarray) -> np.ndarray:
        """int32 [N] from filled ages."""
        return self.age_bucket_index[
            self.age_boundaries.searchsorted(age, "right")
        ]  # np.digitize of what ascends

    def price_log_norm(self, price: np.ndarray) -> np.ndarray:
        """float32 [N] from prices (> 0), which are rounded to float32 first, as tensors carry
        them.
        """
        return self.price_log(np.log(price.astype(np.float32).astype(np.float64)))

    def users(self, raw: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """B visitors → USER_CATEGORICAL int32 [B, 4], USER_CONTINUOUS float32 [B, 4].

        Args:
            raw: [B, 3] user_id, gender, top_category. numbers: float32 [B, 4] age (NaN: unknown),
                clicks_24h, hours_since_click, clicks_7d.
        """
        age = self.fill_age(numbers[:, 0])
        cat, cont = (
            np.empty((len(raw), len(USER_CATEGORICAL)), np.int32),
            np.empty(numbers.shape, np.float32),
        )
        columns = [self.vocabulary[column].index for column in (USER_ID, GENDER, TOP_CATEGORY)]
        cat[:, :3] = [
            [index(value) for index, value in zip(columns, row, strict=True)]
            for row in raw.tolist()
        ]
        cat[:, 3] = self.age_binned(age)
        cont[:, 0] = self.age(age)
        cont[:, 1::2] = log_count(numbers[:, 1::2])
        cont[:, 2] = share_of_window(numbers[:, 2])
        return cat, cont

    @property
    def history_width(self) -> int:
        """2·K: the length of ``history``."""
        return 2 * self.vocabulary[CATEGORY_L1].rows

    def histories(self, categories: Sequence[str] | np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Visitors' clicks by category, float32 [B, 2·K].

        Args:
            categories: of all visitors' clicks, one visitor's after the other's, oldest first.
                numbers: as for ``users``; the last says how many clicks are whose.

        Raises:
            TransformsInvalid: categories and numbers do not go together.
        """
        counts = [(int(n7), int(n24)) for _, n24, _, n7 in numbers.tolist()]
        vocabulary = self.vocabulary[CATEGORY_L1]
        found, end = np.empty((len(counts), 2 * vocabulary.rows), np.float32), 0
        if min((n7 for n7, _ in counts), default=0) < 0 or sum(n7 for n7, _ in counts) != len(
            categories
        ):
            raise TransformsInvalid(
                f"clicks_7d must add up to the {len(categories)} categories, got "
                f"{[n7 for n7, _ in counts]}"
            )
        for row, (n7, n24) in enumerate(counts):
            begin, end = end, end + n7
            found[row] = history_counts(vocabulary, categories[begin:end], n7, n24)
        return found

    def context(
        self, devices: Iterable[str], timestamps: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """B requests: devices, timestamps int64 [B] → CONTEXT_CATEGORICAL int32 [B, 1],
        CONTEXT_CONTINUOUS float32 [B, 4].
        """
        return self.vocabulary[DEVICE_TYPE].indices(devices)[:, None], clock_features(timestamps)

    def items(
        self, index: np.ndarray, codes: np.ndarray, numbers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """N items → ITEM_CATEGORICAL int32 [N, 4] and float32 [N, 2]: price_log_norm,
        item_popularity.

        Args:
            index: [N]. codes: [N, 3], of ``item_codes``. numbers: float32 [N, 2] price,
                item_clicks.
        """
        cat, cont = (
            np.empty((len(index), len(ITEM_CATEGORICAL)), np.int32),
            np.empty((len(index), 2), np.float32),
        )
        cat[:, 0], cat[:, 1:] = index, codes
        cont[:, 0], cont[:, 1] = self.price_log_norm(numbers[:, 0]), log_count(numbers[:, 1])
        return cat, cont

    def item_codes(
        self, category_l1: Iterable[str], category_l2: Iterable[str], gender: Iterable[str]
    ) -> np.ndarray:
        """Categorify indices of raw item features, int32 [N, 3]."""
        columns = ((CATEGORY_L1, category_l1), (CATEGORY_L2, category_l2), (ITEM_GENDER, gender))
        return np.stack(
            [self.vocabulary[column].indices(values) for column, values in columns], axis=1
        )
