"""Apply the compiled NVTabular workflows of ``transforms.json`` with numpy.

The semantics are NVTabular's:

- Categorify: 0 is padding, 1 null, 2 out-of-vocabulary (also MISSING); the vocabulary starts at 3.
- Bucketize: the number of boundaries ≤ x (``np.digitize``).
- Normalize: (x - mean) / std in float64, then float32. An unknown price becomes 0, the mean.
- Logarithms: natural for the price, log(1 + count) for counts.

The same functions serve one visitor and a whole table, so both agree to the bit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.columns import (
    AGE_BINNED,
    CATEGORY_L1,
    CATEGORY_L2,
    DEVICE_TYPE,
    GENDER,
    ITEM_CATEGORICAL,
    ITEM_GENDER,
    ITEM_ID,
    MISSING,
    NULL_INDEX,
    OOV_INDEX,
    RECENT_HOURS,
    TOP_CATEGORY,
    USER_CATEGORICAL,
    USER_ID,
    VOCABULARY_START,
)
from recsys_assets.files import read_json
from recsys_assets.lib.features.clock import clock_features, zone_of
from recsys_assets.lib.features.item_index import ADDED_ITEMS, ItemIndex
from recsys_assets.lib.features.normalizer import Normalizer
from recsys_assets.local_time import UTC, UnknownTimeZone, offsets

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
    """Raised if a part of ``transforms.json`` is missing or wrong; names the part."""


def log_count(counts: np.ndarray) -> np.ndarray:
    """Return log(1 + count), computed in float64, as float32 [N]."""
    return np.log1p(counts.astype(np.float64)).astype(np.float32)


def share_of_window(hours: np.ndarray) -> np.ndarray:
    """Return hours since the last click as a share of RECENT_HOURS, float32 [N]."""
    return (hours.astype(np.float64) / RECENT_HOURS).astype(np.float32)


def affinity(
    c_long: np.ndarray, c24: np.ndarray, n_long: np.ndarray | np.number, n24: np.ndarray | np.number
) -> np.ndarray:
    """Return visitors' affinity to an item's category, computed in float64.

    The shares are smoothed towards 0, because one click is weaker evidence than ten.

    Args:
        c_long: [N], the visitor's clicks on the item's category_l1 in the look-back days before.
        c24: [N], the same in the 24 hours before.
        n_long: [N] or one number, all clicks of the visitor in the look-back days before.
        n24: [N] or one number, the same in the 24 hours before.

    Returns:
        float32 [N, 4], AFFINITY_CONTINUOUS: c_long / (n_long + 2), c24 / (n24 + 1),
        log(1 + c_long) and log(1 + c24).
    """
    c_long, c24 = c_long.astype(np.float64), c24.astype(np.float64)
    n_long, n24 = n_long.astype(np.float64), n24.astype(np.float64)
    found = np.empty((len(c_long), 4), np.float32)
    for place, values in enumerate(
        (c_long / (n_long + 2), c24 / (n24 + 1), np.log1p(c_long), np.log1p(c24))
    ):
        found[:, place] = values
    return found


class Vocabulary:
    """Applies Categorify to one column: value → index.

    Args:
        column: name of the column.
        values: the distinct values, in the order of their indices.
        buckets: number of hash buckets (CRC-32) for values that arrived after the fit; with 0 they
            are out-of-vocabulary. ``columns.MISSING`` is never hashed.

    Raises:
        TransformsInvalid: a value repeats, is MISSING, or is not a string.

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
        """Return the number of rows of the column's embedding table."""
        return VOCABULARY_START + len(self) + self.buckets

    def index(self, value: str | None) -> int:
        """Return the index of a value."""
        if value is None:
            return NULL_INDEX
        found = self._index.get(value, OOV_INDEX)
        if found == OOV_INDEX and self.buckets and value != MISSING:
            return VOCABULARY_START + len(self) + zlib.crc32(value.encode()) % self.buckets
        return found

    def indices(self, values: Iterable[str | None]) -> np.ndarray:
        """Return the indices of N values, int32 [N]."""
        return np.array([self.index(value) for value in values], np.int32)


def history_counts(
    vocabulary: Vocabulary, categories: Sequence[str] | np.ndarray, n_long: int, n24: int
) -> np.ndarray:
    """Return one visitor's clicks per category.

    Args:
        vocabulary: of category_l1, with K rows.
        categories: category_l1 of C clicks, oldest first.
        n_long: how many of them, at the end, lie in the look-back; 0 for a masked visitor.
        n24: how many of them, at the end, lie in the last 24 hours; 0 for a masked visitor.

    Returns:
        float32 [2·K]: clicks per Categorify index, of the look-back and then of 24 hours.

    Raises:
        TransformsInvalid: not 0 ≤ n24 ≤ n_long ≤ C.

    >>> history_counts(
    ...     Vocabulary("category_l1", ["books", "tools"]), ["books", "tools", "tools"], 3, 1
    ... ).tolist()
    [0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """
    if not 0 <= n24 <= n_long <= len(categories):
        raise TransformsInvalid(
            f"a click history needs 0 ≤ clicks of 24 h ≤ of the look-back ≤ categories, got {n24}, "
            f"{n_long} and {len(categories)}"
        )
    found = np.zeros(2 * vocabulary.rows, np.float32)
    if n_long:
        index = vocabulary.indices(categories[len(categories) - n_long :])
        found[: vocabulary.rows] = np.bincount(index, minlength=vocabulary.rows)
        if n24:
            found[vocabulary.rows :] = np.bincount(index[n_long - n24 :], minlength=vocabulary.rows)
    return found


@dataclass(frozen=True)
class Transforms:
    """Holds the compiled workflows of one generation."""

    vocabulary: Mapping[str, Vocabulary]
    age: Normalizer
    price_log: Normalizer
    age_boundaries: np.ndarray  # ascending, [B]
    age_bucket_index: np.ndarray  # int32 [B + 1]: bucket number → index of age_binned
    mean_age: np.float32
    time_zone: str = UTC  # of hour and weekday
    added_items: tuple[str, ...] = ()  # ids that fine-tunes added, after the vocabulary's

    @classmethod
    def read(cls, path: Path) -> Transforms:
        """Read and compile ``transforms.json``, as ``from_dict``."""
        return cls.from_dict(read_json(path))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Transforms:
        """Compile the content of ``transforms.json``.

        Raises:
            TransformsInvalid: a part is missing or wrong.
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
            mean_age, zone = np.float32(content["mean_age"]), zone_of(content)
            offsets(zone)  # computed and refused here, not at the first request
        except UnknownTimeZone as error:
            raise TransformsInvalid(f"transforms.json: time_zone: {error}") from error
        except KeyError as error:
            raise TransformsInvalid(
                f"transforms.json has no {error}; materialise features/workflows again"
            ) from error
        for column, table in vocabulary.items():
            if cardinality.get(column) != table.rows:
                raise TransformsInvalid(
                    f"cardinality.{column} is {cardinality.get(column)}, but the vocabulary has "
                    f"{table.rows} rows; materialise features/workflows again"
                )
        for part, normalizer in normalizers.items():
            if not (np.isfinite(normalizer.mean) and normalizer.std > 0):
                raise TransformsInvalid(f"{part} needs a finite mean and std > 0, got {normalizer}")
        if np.any(np.diff(boundaries) <= 0):
            raise TransformsInvalid(f"age_boundaries must ascend, got {boundaries.tolist()}")
        buckets = vocabulary[AGE_BINNED].indices(
            str(bucket) for bucket in range(len(boundaries) + 1)
        )
        made = cls(
            vocabulary,
            normalizers["age"],
            normalizers["price_log"],
            boundaries,
            buckets,
            mean_age,
            zone,
            tuple(content.get(ADDED_ITEMS, ())),
        )
        if made.added_items:  # computed and refused here, not at the first request
            try:
                _ = made.item_index
            except ValueError as error:
                raise TransformsInvalid(f"transforms.json: {error}") from error
        return made

    @cached_property
    def item_index(self) -> ItemIndex:
        """The indices of all items, those that fine-tunes added among them."""
        return ItemIndex(self.vocabulary[ITEM_ID], self.added_items)

    def of_models(self, index: np.ndarray) -> np.ndarray:
        """Return what the models take for items of the catalogue; see ``ItemIndex.of_models``."""
        return self.item_index.of_models(index) if self.added_items else index

    def fill_age(self, age: np.ndarray) -> np.ndarray:
        """Replace NaN by the training users' mean age; float32 [N]."""
        age = age.astype(np.float32)
        age[age != age] = self.mean_age
        return age

    def age_binned(self, age: np.ndarray) -> np.ndarray:
        """Return the indices of age_binned for filled ages, int32 [N]."""
        # the same as np.digitize for ascending boundaries
        return self.age_bucket_index[self.age_boundaries.searchsorted(age, "right")]

    def price_log_norm(self, price: np.ndarray) -> np.ndarray:
        """Return normalised log prices, float32 [N]; 0, the mean, for NaN (unknown).

        Prices (> 0, NaN: unknown) are first rounded to float32, the type of the serving tensors.
        """
        logs = np.log(price.astype(np.float32).astype(np.float64))
        return np.where(np.isnan(logs), np.float32(0), self.price_log(logs))

    def users(self, raw: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Transform B visitors.

        Args:
            raw: [B, 3] user_id, gender, top_category.
            numbers: float32 [B, 4] age (NaN: unknown), clicks_24h, hours_since_click and
                clicks_look_back.

        Returns:
            USER_CATEGORICAL int32 [B, 4] and USER_CONTINUOUS float32 [B, 4].
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
        """Return 2·K, the width of ``histories``."""
        return 2 * self.vocabulary[CATEGORY_L1].rows

    def histories(self, categories: Sequence[str] | np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return B visitors' clicks per category, float32 [B, 2·K].

        Args:
            categories: category_l1 of all visitors' clicks, visitor after visitor, each oldest
                first.
            numbers: as for ``users``; clicks_look_back is the number of the visitor's categories.

        Raises:
            TransformsInvalid: clicks_look_back do not add up to the number of categories.
        """
        counts = [(int(n_long), int(n24)) for _, n24, _, n_long in numbers.tolist()]
        vocabulary = self.vocabulary[CATEGORY_L1]
        found, end = np.empty((len(counts), 2 * vocabulary.rows), np.float32), 0
        if min((n_long for n_long, _ in counts), default=0) < 0 or sum(
            n_long for n_long, _ in counts
        ) != len(categories):
            raise TransformsInvalid(
                f"clicks_look_back must add up to the {len(categories)} categories, got "
                f"{[n_long for n_long, _ in counts]}"
            )
        for row, (n_long, n24) in enumerate(counts):
            begin, end = end, end + n_long
            found[row] = history_counts(vocabulary, categories[begin:end], n_long, n24)
        return found

    def context(
        self, devices: Iterable[str], timestamps: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Transform the context of B requests.

        Args:
            devices: B device types.
            timestamps: unix seconds, int64 [B].

        Returns:
            CONTEXT_CATEGORICAL int32 [B, 1] and CONTEXT_CONTINUOUS float32 [B, 4].
        """
        clock = clock_features(timestamps, self.time_zone)
        return self.vocabulary[DEVICE_TYPE].indices(devices)[:, None], clock

    def items(
        self, index: np.ndarray, codes: np.ndarray, numbers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Transform N items.

        Args:
            index: item indices of the catalogue, [N].
            codes: [N, 3], from ``item_codes``.
            numbers: float32 [N, 2] price (NaN: unknown), item_clicks.

        Returns:
            ITEM_CATEGORICAL int32 [N, 4], and float32 [N, 2] price_log_norm, item_popularity.
        """
        cat, cont = (
            np.empty((len(index), len(ITEM_CATEGORICAL)), np.int32),
            np.empty((len(index), 2), np.float32),
        )
        cat[:, 0], cat[:, 1:] = self.of_models(index), codes
        cont[:, 0], cont[:, 1] = self.price_log_norm(numbers[:, 0]), log_count(numbers[:, 1])
        return cat, cont

    def item_codes(
        self, category_l1: Iterable[str], category_l2: Iterable[str], gender: Iterable[str]
    ) -> np.ndarray:
        """Return Categorify indices of raw item features, int32 [N, 3]."""
        columns = ((CATEGORY_L1, category_l1), (CATEGORY_L2, category_l2), (ITEM_GENDER, gender))
        return np.stack(
            [self.vocabulary[column].indices(values) for column, values in columns], axis=1
        )
