"""Apply the compiled NVTabular workflows to whole tables.

The arithmetic is that of one visitor's answer (``transforms``), so that both agree to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.columns import (
    AFFINITY_CONTINUOUS,
    AGE,
    AGE_BINNED,
    AGE_NORM,
    CATEGORY_CLICKS_24H,
    CATEGORY_CLICKS_LOOK_BACK,
    CATEGORY_L1,
    CLICKS_24H,
    CLICKS_LOOK_BACK,
    CONTEXT_CONTINUOUS,
    EVENT_ID,
    HOURS_SINCE_CLICK,
    ITEM_CLICKS,
    ITEM_ID,
    ITEM_POPULARITY,
    NULL_INDEX,
    OOV_INDEX,
    PRICE,
    PRICE_LOG_NORM,
    RANKER_CATEGORICAL,
    RANKER_CONTINUOUS,
    TIMESTAMP,
    USER_FREQUENCY,
    USER_FREQUENCY_LOOK_BACK,
    USER_RECENCY,
    VOCABULARY_START,
)
from recsys_assets.lib.features.clock import clock_features
from recsys_assets.lib.features.item_index import catalogue_items
from recsys_assets.lib.features.transforms import (
    Transforms,
    Vocabulary,
    affinity,
    log_count,
    share_of_window,
)
from recsys_assets.release_files import TRANSFORMS

#: Most clicks of a history, because clicks are counted in uint8.
MOST_CLICKS = np.iinfo(np.uint8).max
_ROWS_AT_ONCE = 65_536  # bounds the memory of numpy's 64-bit counts


class RowTransform(Protocol):
    """Turns raw rows into features: a generation's transforms, or an ablation of them."""

    @property
    def transforms(self) -> Transforms:
        """Return the generation's transforms."""
        ...

    def transform_frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the ranker's features, as ``BatchTransform.transform_frame``."""
        ...


class BatchTransform:
    """Applies one generation's transforms to frames.

    Args:
        content: the content of ``transforms.json``.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.transforms = Transforms.from_dict(content)
        self._known = {
            name: pl.Enum(vocabulary.values)
            for name, vocabulary in self.transforms.vocabulary.items()
        }

    def transform_frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the ranker's features, one row per row of the frame.

        Args:
            frame: the raw columns of INTERACTION_FEATURES that the workflows read; a null age
                becomes the mean age, and a null price the mean of the normalised prices.

        Returns:
            RANKER_CATEGORICAL as Int32, then RANKER_CONTINUOUS as Float32.

        Raises:
            ValueError: columns are missing, or a number other than age and price is null; names
                the columns.
        """
        raw = [name for name in RANKER_CATEGORICAL if name != AGE_BINNED]
        of_category = (CATEGORY_CLICKS_LOOK_BACK, CATEGORY_CLICKS_24H, CLICKS_LOOK_BACK, CLICKS_24H)
        _require_columns(frame, raw, (TIMESTAMP, HOURS_SINCE_CLICK, ITEM_CLICKS, *of_category))
        indexed = frame.select(
            _index(self.transforms.vocabulary[name], self._known[name], frame[name]) for name in raw
        )
        # a null becomes NaN, which fill_age replaces
        age = self.transforms.fill_age(
            frame[AGE].cast(pl.Float32).fill_null(float("nan")).to_numpy()
        )
        computed = {
            AGE_BINNED: self.transforms.age_binned(age),
            AGE_NORM: self.transforms.age(age),
            USER_FREQUENCY: log_count(frame[CLICKS_24H].to_numpy()),
            USER_FREQUENCY_LOOK_BACK: log_count(frame[CLICKS_LOOK_BACK].to_numpy()),
            USER_RECENCY: share_of_window(frame[HOURS_SINCE_CLICK].to_numpy()),
            PRICE_LOG_NORM: self.transforms.price_log_norm(
                frame[PRICE].cast(pl.Float64).to_numpy()  # a null becomes NaN
            ),
            ITEM_POPULARITY: log_count(frame[ITEM_CLICKS].to_numpy()),
        }
        matrices = {
            CONTEXT_CONTINUOUS: clock_features(
                frame[TIMESTAMP].cast(pl.Int64).to_numpy(), self.transforms.time_zone
            ),
            AFFINITY_CONTINUOUS: affinity(*(frame[name].to_numpy() for name in of_category)),
        }
        computed |= {
            name: np.ascontiguousarray(matrix[:, n])
            for names, matrix in matrices.items()
            for n, name in enumerate(names)
        }
        columns = [
            *indexed.get_columns(),
            *(pl.Series(name, values) for name, values in computed.items()),
        ]
        return pl.DataFrame(columns).select(*RANKER_CATEGORICAL, *RANKER_CONTINUOUS)


def _require_columns(frame: pl.DataFrame, raw: Sequence[str], numbers: Sequence[str]) -> None:
    """Refuse a frame without these columns, AGE or PRICE, or with nulls in the numbers.

    Raises:
        ValueError: names the columns.
    """
    missing = [name for name in (*raw, AGE, PRICE, *numbers) if name not in frame.columns]
    if missing:
        raise ValueError(f"frame lacks {', '.join(missing)}; it has {frame.columns}")
    empty = [name for name in numbers if frame[name].null_count()]
    if empty:
        raise ValueError(f"frame has nulls in {', '.join(empty)}; fill or drop these rows")


def _index(vocabulary: Vocabulary, known: pl.Enum, raw: pl.Series) -> pl.Expr:
    """Return Categorify as an expression over the column ``raw``.

    A cast to the vocabulary's Enum uses a hash table that is built once. ``replace`` would build
    one per frame, which at 300,000 users costs more than the rest of the transform.
    """
    value = pl.col(vocabulary.column)
    position = value.cast(known, strict=False).to_physical().cast(pl.Int32)
    found = (position + VOCABULARY_START).fill_null(OOV_INDEX)
    if vocabulary.buckets:
        unseen = raw.drop_nulls().unique()
        unseen = unseen.filter(unseen.cast(known, strict=False).is_null())
        hashed = value.replace_strict(
            unseen,
            pl.Series(vocabulary.indices(unseen), dtype=pl.Int32),
            default=None,
            return_dtype=pl.Int32,
        )
        found = pl.coalesce(position + VOCABULARY_START, hashed, pl.lit(OOV_INDEX, pl.Int32))
    return (
        pl.when(value.is_null())
        .then(pl.lit(NULL_INDEX, pl.Int32))
        .otherwise(found)
        .alias(vocabulary.column)
    )


def history_matrix(
    vocabulary: Vocabulary, categories: pl.Series, n_long: np.ndarray, n24: np.ndarray
) -> np.ndarray:
    """Return R visitors' clicks per category.

    Each row equals ``transforms.history_counts`` of one visitor.

    Args:
        vocabulary: of category_l1, with K rows.
        categories: List(String) [R], category_l1 of each row's clicks, oldest first.
        n_long: [R], how many of them, at the end, lie in the look-back; 0 for a masked visitor.
        n24: [R], how many of them, at the end, lie in the last 24 hours; 0 for a masked visitor.

    Returns:
        uint8 [R, 2·K]: clicks per Categorify index, of the look-back and then of 24 hours.

    Raises:
        ValueError: not 0 ≤ n24 ≤ n_long ≤ clicks, or a row has more than MOST_CLICKS; names the
            first such row.
    """
    lengths = categories.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    counts = [np.asarray(n, dtype=np.int64) for n in (n_long, n24)]
    _check_counts(lengths, counts)
    named = (
        categories.explode(empty_as_null=False, keep_nulls=False)
        .cast(pl.String)
        .alias(vocabulary.column)
    )
    known = pl.Enum(vocabulary.values)
    index = named.to_frame().select(_index(vocabulary, known, named)).to_series().to_numpy()
    width, ends = 2 * vocabulary.rows, np.cumsum(lengths)
    matrix = np.zeros((len(lengths), width), np.uint8)
    for start in range(0, len(lengths), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        owner = np.repeat(np.arange(len(lengths[part])), lengths[part])
        first = ends[start] - lengths[start]
        from_end = ends[part][owner] - np.arange(first, first + len(owner))  # 1: the latest click
        cell = owner * width + index[first : first + len(owner)]
        cells = [
            cell[from_end <= n[part][owner]] + half * vocabulary.rows
            for half, n in enumerate(counts)
        ]
        found = np.bincount(np.concatenate(cells), minlength=len(matrix[part]) * width)
        matrix[part] = found.reshape(-1, width)
    return matrix


def _check_counts(lengths: np.ndarray, counts: Sequence[np.ndarray]) -> None:
    """Refuse histories whose lengths [R] do not fit the counts (n_long [R], n24 [R]).

    Raises:
        ValueError: names the first such row.
    """
    if not len(lengths) == len(counts[0]) == len(counts[1]):
        raise ValueError(
            f"{len(lengths)} click histories, but counts of {len(counts[0])} and {len(counts[1])} "
            "rows"
        )
    wrong = ~(
        (0 <= counts[1])
        & (counts[1] <= counts[0])
        & (counts[0] <= np.minimum(lengths, MOST_CLICKS))
    )
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            "a click history needs 0 ≤ clicks of 24 h ≤ of the look-back ≤ categories, and at most "
            f"{MOST_CLICKS}; row {row} has {counts[1][row]}, {counts[0][row]} and {lengths[row]}"
        )


def latest_items(
    vocabulary: Vocabulary, items: pl.Series, ages: pl.Series, n_long: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the latest clicked items of R visitors, and the hours since each click.

    Each row equals ``recent_items`` of one visitor.

    Args:
        vocabulary: of item_id.
        items: List(String) [R], item_id of each row's latest clicks, oldest first.
        ages: List(Float32) [R], hours since each of them.
        n_long: [R], clicks of the look-back; 0 for a masked visitor.

    Returns:
        int32 [R, ITEM_HISTORY] Categorify indices, newest first, 0 where there are fewer; and
        float32 [R, ITEM_HISTORY] ages, 0 where there is no click.

    Raises:
        ValueError: a row has other numbers of items and ages, or fewer than its clicks.
    """
    lengths = items.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    of_ages = ages.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    counted = np.minimum(np.asarray(n_long, dtype=np.int64), c.ITEM_HISTORY)
    if not len(lengths) == len(of_ages) == len(counted):
        raise ValueError(f"{len(items)} lists of items, {len(ages)} of ages, {len(counted)} counts")
    wrong = (lengths != of_ages) | (counted > lengths)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"row {row} has {lengths[row]} items, {of_ages[row]} ages and {counted[row]} clicks; "
            "materialise features/interactions of its day again"
        )
    named = items.explode(empty_as_null=False, keep_nulls=False).cast(pl.String)
    named = named.alias(vocabulary.column)
    index = named.to_frame().select(_index(vocabulary, pl.Enum(vocabulary.values), named))
    hours = ages.explode(empty_as_null=False, keep_nulls=False).cast(pl.Float32).to_numpy()
    owner = np.repeat(np.arange(len(lengths)), lengths)
    place = np.cumsum(lengths)[owner] - np.arange(len(owner)) - 1  # 0: the latest click
    kept = place < counted[owner]
    cell = owner[kept], place[kept]
    matrix = np.zeros((len(lengths), c.ITEM_HISTORY), np.int32)
    since = np.zeros(matrix.shape, np.float32)
    matrix[cell], since[cell] = index.to_series().to_numpy()[kept], hours[kept]
    return matrix, since


@dataclass(frozen=True)
class ClickHistories:
    """Holds what the query tower reads of R visitors' clicks.

    Attributes:
        categories: of ``history_matrix``, uint8 [R, 2·K].
        items: of ``latest_items``, int32 [R, ITEM_HISTORY].
        ages: of ``latest_items``, float32 [R, ITEM_HISTORY].
    """

    categories: np.ndarray
    items: np.ndarray
    ages: np.ndarray

    @classmethod
    def of(cls, transforms: Transforms, rows: pl.DataFrame) -> ClickHistories:
        """Transform the click histories of rows.

        Args:
            transforms: of the generation.
            rows: clicks_look_back and clicks_24h, and the lists of click_history.parquet.

        Raises:
            ValueError: a list does not fit its row's counts.
        """
        n_long, n24 = (rows[name].to_numpy() for name in (CLICKS_LOOK_BACK, CLICKS_24H))
        categories = history_matrix(
            transforms.vocabulary[CATEGORY_L1], rows[c.HISTORY_CATEGORIES], n_long, n24
        )
        return cls(
            categories,
            *latest_items(
                transforms.vocabulary[ITEM_ID], rows[c.HISTORY_ITEMS], rows[c.HISTORY_AGES], n_long
            ),
        )

    def write(self, folder: Path, split: str) -> None:
        """Write the arrays as the training steps read them (``loaders.History``)."""
        parts = self.categories, self.items, self.ages
        for name, values in zip(c.HISTORY_PARTS, parts, strict=True):
            np.save(folder / f"{split}_{name}.npy", values, allow_pickle=False)


def click_histories(
    transform: BatchTransform, rows: pl.DataFrame, remembered: pl.DataFrame
) -> ClickHistories:
    """Return the click histories of clicked rows.

    Args:
        transform: holds the generation's categories and items.
        rows: event_id, clicks_look_back and clicks_24h of R clicked exposures; both counts are 0
            in a masked row.
        remembered: click_history.parquet of features/interactions, in any order.

    Raises:
        ValueError: a row has no history.
    """
    joined = rows.select(EVENT_ID, CLICKS_LOOK_BACK, CLICKS_24H).join(
        remembered, on=EVENT_ID, how="left", maintain_order="left"
    )
    lost = joined.filter(pl.col(c.HISTORY_CATEGORIES).is_null())[EVENT_ID]
    if len(lost):
        raise ValueError(
            f"click_history has no row for {len(lost)} clicked exposures, for example {lost[0]!r}; "
            "materialise features/interactions of its day again"
        )
    return ClickHistories.of(transform.transforms, joined)


def read_transforms(workflows: Artifact) -> dict[str, Any]:
    """Return the content of ``transforms.json``."""
    content: dict[str, Any] = json.loads(workflows.path(TRANSFORMS).read_text())
    return content


def item_vocabulary(workflows: Artifact) -> list[str]:
    """Return the item ids of a generation; item n has Categorify index 3 + n.

    workflows: ``features/workflows``, or ``fine_tune/items``, whose added items come last.
    """
    return catalogue_items(read_transforms(workflows))
