"""Count the click histories of the clicked rows, which the query tower reads.

A day's click_history.parquet has one row per clicked exposure: event_id, and the categories of the
visitor's clicks before it, oldest first. The feature row states how many of them count: a masked
row has no click at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_assets import columns as c
from recsys_assets import local_time
from recsys_assets.training.features import tables
from recsys_assets.training.step import StepError

HISTORY = "categories"
MOST_CLICKS = np.iinfo(np.uint8).max
_ROWS_AT_ONCE = 65_536  # bounds the memory of the 64-bit counts


def of_days(
    rows: Sequence[Path],
    histories: Sequence[Path],
    vocabulary: Sequence[str],
    zone: str = local_time.UTC,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the click histories and timestamps of the clicked rows of some days.

    They are in the order of the days and of the rows within a day.

    Args:
        rows: Parquet files of feature rows.
        histories: the click_history.parquet of each.
        vocabulary: of category_l1, in index order.
        zone: time zone of the days that messages name.

    Returns:
        uint8 [clicked rows, 2·K], K = 3 + len(vocabulary): clicks by Categorify index, of the
        look-back and then of 24 hours; and the rows' timestamps, int64 [clicked rows].

    Raises:
        StepError: a history does not belong to its day's clicked rows; the message names the day.
    """
    matrices, timestamps = zip(
        *(_of_day(*paths, vocabulary, zone) for paths in zip(rows, histories, strict=True)),
        strict=True,
    )
    return np.concatenate(matrices), np.concatenate(timestamps)


def _of_day(
    rows: Path, history: Path, vocabulary: Sequence[str], zone: str
) -> tuple[np.ndarray, np.ndarray]:
    table = tables.read(rows, (c.EVENT_ID, c.TIMESTAMP, c.CLICKS_LOOK_BACK, c.CLICKS_24H, c.CLICK))
    day = _name_of_day(table, zone)
    clicked = table.filter(pc.equal(table.column(c.CLICK), 1))
    kept = pq.read_table(history, columns=[c.EVENT_ID, HISTORY])
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
    lists = kept.column(HISTORY).combine_chunks()
    lengths = (
        pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    wrong = ~(
        (0 <= counts[1])
        & (counts[1] <= counts[0])
        & (counts[0] <= np.minimum(lengths, MOST_CLICKS))
    )
    if wrong.any():
        row = int(wrong.argmax())
        raise StepError(
            f"day {day}: event {ids[row]} has {counts[1][row]} clicks of 24 hours and "
            f"{counts[0][row]} of the look-back days, its history {lengths[row]} (at most "
            f"{MOST_CLICKS}): materialise features/interactions of {day} again"
        )
    matrix = _count(
        _index(lists.flatten(), vocabulary), lengths, counts, c.VOCABULARY_START + len(vocabulary)
    )
    return matrix, clicked.column(c.TIMESTAMP).to_numpy()


def _name_of_day(rows: pa.Table, zone: str) -> str:
    if not rows.num_rows:
        return "without rows"
    return local_time.day_of(rows.column(c.TIMESTAMP)[0].as_py(), zone)


def _index(categories: pa.Array, vocabulary: Sequence[str]) -> np.ndarray:
    """Return Categorify's index of each category, int64."""
    names = categories.cast(pa.string())
    known = pc.add(
        pc.index_in(names, value_set=pa.array(vocabulary, pa.string())), c.VOCABULARY_START
    )
    index = pc.if_else(pc.is_null(names), c.NULL_INDEX, pc.fill_null(known, c.OOV_INDEX))
    values: np.ndarray = index.to_numpy(zero_copy_only=False).astype(np.int64)
    return values


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
