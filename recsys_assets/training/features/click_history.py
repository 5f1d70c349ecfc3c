"""Transform the click histories of the clicked rows, which the query tower reads.

A day's click_history.parquet has one row per clicked exposure: event_id, the categories of the
visitor's clicks before it, and the items of the latest ITEM_HISTORY of them with the hours since
each. All are oldest first. The feature row states how many of them count: a masked row has no click
at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_assets import columns as c
from recsys_assets import local_time
from recsys_assets.training.features import tables
from recsys_assets.training.step import StepError

MOST_CLICKS = np.iinfo(np.uint8).max
_ROWS_AT_ONCE = 65_536  # bounds the memory of the 64-bit counts


@dataclass(frozen=True)
class Histories:
    """Holds the click histories of R clicked rows.

    Attributes:
        history: uint8 [R, 2·K], clicks by Categorify index of category_l1, of the look-back and
            then of 24 hours.
        items: int32 [R, ITEM_HISTORY], Categorify indices of the latest items, newest first; 0
            where there are fewer.
        ages: float32 [R, ITEM_HISTORY], hours since each of these clicks; 0 where there is none.
        timestamps: int64 [R], of the rows.
    """

    history: np.ndarray
    items: np.ndarray
    ages: np.ndarray
    timestamps: np.ndarray


def of_days(
    rows: Sequence[Path],
    histories: Sequence[Path],
    vocabularies: Mapping[str, Sequence[str]],
    zone: str = local_time.UTC,
) -> Histories:
    """Return the click histories of the clicked rows of some days.

    They are in the order of the days and of the rows within a day.

    Args:
        rows: Parquet files of feature rows.
        histories: the click_history.parquet of each.
        vocabularies: of category_l1 (K = 3 + its size) and item_id, in index order.
        zone: time zone of the days that messages name.

    Raises:
        StepError: a history does not belong to its day's clicked rows; the message names the day.
    """
    parts = zip(
        *(_of_day(*paths, vocabularies, zone) for paths in zip(rows, histories, strict=True)),
        strict=True,
    )
    return Histories(*(np.concatenate(part) for part in parts))


def _of_day(
    rows: Path, history: Path, vocabularies: Mapping[str, Sequence[str]], zone: str
) -> tuple[np.ndarray, ...]:
    """Return the attributes of ``Histories`` of a day."""
    table = tables.read(rows, (c.EVENT_ID, c.TIMESTAMP, c.CLICKS_LOOK_BACK, c.CLICKS_24H, c.CLICK))
    day = _name_of_day(table, zone)
    clicked = table.filter(pc.equal(table.column(c.CLICK), 1))
    names = [c.EVENT_ID, c.HISTORY_CATEGORIES, c.HISTORY_ITEMS, c.HISTORY_AGES]
    if lacking := sorted(set(names) - set(pq.read_schema(history).names)):
        raise StepError(
            f"day {day}: {history} has no column {', '.join(lacking)}: materialise "
            f"features/interactions of {day} again"
        )
    kept = pq.read_table(history, columns=names)
    ids = kept.column(c.EVENT_ID).cast(pa.string())
    if not ids.equals(clicked.column(c.EVENT_ID)):
        raise StepError(
            f"day {day}: the {len(ids)} event ids of {history} are not those of the "
            f"{clicked.num_rows} clicked rows of {rows}: materialise features/interactions and "
            f"features/masked_train of {day} again"
        )
    counts = [
        clicked.column(name).to_numpy().astype(np.int64)
        for name in (c.CLICKS_LOOK_BACK, c.CLICKS_24H)
    ]
    lists, items, ages = (kept.column(name).combine_chunks() for name in names[1:])
    lengths, of_items, of_ages = (_lengths(one) for one in (lists, items, ages))
    latest = np.minimum(counts[0], c.ITEM_HISTORY)
    wrong = ~(
        (0 <= counts[1])
        & (counts[1] <= counts[0])
        & (counts[0] <= np.minimum(lengths, MOST_CLICKS))
        & (latest <= of_items)
        & (of_items == of_ages)
    )
    if wrong.any():
        row = int(wrong.argmax())
        raise StepError(
            f"day {day}: event {ids[row]} has {counts[1][row]} clicks of 24 hours and "
            f"{counts[0][row]} of the look-back days, its history {lengths[row]} (at most "
            f"{MOST_CLICKS}), {of_items[row]} items and {of_ages[row]} ages: materialise "
            f"features/interactions of {day} again"
        )
    size = c.VOCABULARY_START + len(vocabularies[c.CATEGORY_L1])
    index = _index(lists.flatten(), vocabularies[c.CATEGORY_L1])
    # every item of the log is in the vocabulary, so no index is hashed
    known = _index(items.flatten(), vocabularies[c.ITEM_ID]).astype(np.int32)
    hours = ages.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return (
        _count(index, lengths, counts, size),
        _newest_first(known, of_items, latest),
        _newest_first(hours, of_items, latest),
        clicked.column(c.TIMESTAMP).to_numpy(),
    )


def _lengths(lists: pa.Array) -> np.ndarray:
    """Return the number of values of each list, int64 [R]; 0 for a null."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return np.asarray(lengths, np.int64)


def _newest_first(values: np.ndarray, lengths: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the last ``kept`` values of each row, newest first, [R, ITEM_HISTORY].

    Args:
        values: the rows' values one after the other, oldest first.
        lengths: [R] values of each row.
        kept: [R] at most ITEM_HISTORY and at most the lengths.
    """
    owner = np.repeat(np.arange(len(lengths)), lengths)
    place = np.cumsum(lengths)[owner] - np.arange(len(owner)) - 1  # 0: the latest click
    chosen = place < kept[owner]
    matrix = np.zeros((len(lengths), c.ITEM_HISTORY), values.dtype)
    matrix[owner[chosen], place[chosen]] = values[chosen]
    return matrix


def _name_of_day(rows: pa.Table, zone: str) -> str:
    if not rows.num_rows:
        return "without rows"
    return local_time.day_of(rows.column(c.TIMESTAMP)[0].as_py(), zone)


def _index(values: pa.Array, vocabulary: Sequence[str]) -> np.ndarray:
    """Return Categorify's index of each value, int64."""
    names = values.cast(pa.string())
    known = pc.add(
        pc.index_in(names, value_set=pa.array(vocabulary, pa.string())), c.VOCABULARY_START
    )
    index = pc.if_else(pc.is_null(names), c.NULL_INDEX, pc.fill_null(known, c.OOV_INDEX))
    found: np.ndarray = index.to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def _count(
    index: np.ndarray, lengths: np.ndarray, counts: Sequence[np.ndarray], size: int
) -> np.ndarray:
    """Count each index among the last ``counts[half]`` clicks of each row.

    Args:
        index: int64, the rows' clicks one after the other, oldest first.
        lengths: [R] clicks of each row in ``index``.
        counts: two arrays [R], how many of the latest clicks each half counts.
        size: K.

    Returns:
        uint8 [R, 2·size].
    """
    ends = np.cumsum(lengths)
    matrix = np.zeros((len(lengths), 2 * size), np.uint8)
    for start in range(0, len(lengths), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        owner = np.repeat(np.arange(len(lengths[part])), lengths[part])
        first = ends[start] - lengths[start]
        from_end = ends[part][owner] - np.arange(first, first + len(owner))  # 1: the latest click
        cell = owner * 2 * size + index[first : first + len(owner)]
        cells = [
            cell[from_end <= count[part][owner]] + half * size for half, count in enumerate(counts)
        ]
        matrix[part] = np.bincount(np.concatenate(cells), minlength=matrix[part].size).reshape(
            -1, 2 * size
        )
    return matrix
