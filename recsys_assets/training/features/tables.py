"""Prepare the feature rows of several days for NVTabular.

The result is one ordered set of Parquet files in plain types.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_assets import columns as c
from recsys_assets import local_time

_TYPES = {
    c.EVENT_ID: pa.string(),
    c.USER_ID: pa.string(),
    c.GENDER: pa.string(),
    c.TOP_CATEGORY: pa.string(),
    c.AGE: pa.float32(),
    c.CLICKS_24H: pa.float32(),
    c.HOURS_SINCE_CLICK: pa.float32(),
    c.CLICKS_LOOK_BACK: pa.float32(),
    c.CATEGORY_CLICKS_LOOK_BACK: pa.float32(),
    c.CATEGORY_CLICKS_24H: pa.float32(),
    c.DEVICE_TYPE: pa.string(),
    c.TIMESTAMP: pa.int64(),
    c.ITEM_ID: pa.string(),
    c.CATEGORY_L1: pa.string(),
    c.CATEGORY_L2: pa.string(),
    c.ITEM_GENDER: pa.string(),
    c.PRICE: pa.float64(),
    c.ITEM_CLICKS: pa.float32(),
    c.CLICK: pa.int32(),
}
#: Columns of a feature row that the workflows and the models read.
ROW_COLUMNS = tuple(name for name in _TYPES if name != c.EVENT_ID)
ITEM_COLUMNS = (*c.ITEM_CATEGORICAL, c.PRICE)


@dataclass(frozen=True)
class ClickValues:
    """Holds the values of the clicks of a window.

    Attributes:
        events: event ids.
        values: float32, of each event.
    """

    events: pa.ChunkedArray
    values: pa.ChunkedArray

    @classmethod
    def read(cls, path: Path) -> ClickValues:
        """Read a click_values.parquet."""
        table = pq.read_table(path, columns=[c.EVENT_ID, c.VALUE])
        return cls(table.column(0).cast(pa.string()), table.column(1).cast(pa.float32()))

    def added(self, rows: pa.Table, path: Path) -> pa.Table:
        """Return rows without event_id and with value: 1 in unclicked rows.

        Args:
            rows: with event_id and click.
            path: of the rows, for the message.

        Raises:
            ValueError: a click has no value; the message names an example.
        """
        events, clicked = rows.column(c.EVENT_ID), pc.equal(rows.column(c.CLICK), 1)
        found = pc.take(self.values, pc.index_in(events, value_set=self.events))
        lacking = events.filter(pc.and_(clicked, pc.is_null(found)))
        if len(lacking):
            raise ValueError(
                f"{len(lacking)} clicks of {path} have no value, for example {lacking[0]}: "
                "materialise features/interactions and features/masked_train again"
            )
        value = pc.if_else(clicked, found, pa.scalar(1.0, pa.float32()))
        return rows.drop_columns([c.EVENT_ID]).append_column(c.VALUE, value)


def without_tensorflow() -> None:
    """Keep NVTabular from importing TensorFlow.

    NVTabular does not need it, and the import takes 8 of its 12 seconds.
    """
    if "tensorflow" not in sys.modules:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]  # None: importing it fails


#: The one value in the vocabulary of a column that holds only nulls.
NAMELESS = "unknown"


def read(path: Path, names: Sequence[str]) -> pa.Table:
    """Read columns in the types of ``_TYPES``.

    Raises:
        ValueError: a column is missing; the message names file and column.
    """
    present = pq.read_schema(path).names
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(present)}")
    return (
        pq.read_table(path, columns=list(names))
        .select(list(names))
        .cast(pa.schema([(n, _TYPES[n]) for n in names]))
    )


def time_zone(transforms: Path) -> str:
    """Return the time zone of a transforms.json; UTC where an older version wrote none."""
    return str(json.loads(transforms.read_text()).get("time_zone", local_time.UTC))


def without_clicks(items: pa.Table) -> pa.Table:
    """Return a catalogue with item_clicks 0, which the item workflow expects.

    The workflow fits nothing on that column.
    """
    return items.append_column(c.ITEM_CLICKS, pa.array(np.zeros(items.num_rows, np.float32)))


def missing_to_null(table: pa.Table) -> pa.Table:
    """Replace "-1" by null, so that a vocabulary fitted on the table has no "-1"."""
    for index, column in enumerate(table.schema):
        if column.type == pa.string():
            values = table.column(index)
            known = pc.if_else(pc.equal(values, c.MISSING), pa.scalar(None, pa.string()), values)
            table = table.set_column(index, column.name, known)
    return table


def name_the_nameless(folder: Path) -> list[str]:
    """Write one value into text columns that hold only nulls; return their names.

    Categorify cannot encode a column without any value, such as gender in a log without users. The
    value goes into the first row of the first part. The vocabulary then has that value alone, which
    no row of the shop has.
    """
    parts = sorted(folder.glob("part_*.parquet"))
    schema = pq.read_schema(parts[0])
    text = [field.name for field in schema if field.type == pa.string()]
    empty = [
        name
        for name in text
        if all(
            pq.read_table(part, columns=[name]).column(0).null_count
            == pq.read_metadata(part).num_rows
            for part in parts
        )
    ]
    if empty:
        first = pq.read_table(parts[0])
        for name in empty:
            word = pa.concat_arrays(
                [pa.array([NAMELESS]), pa.nulls(first.num_rows - 1, pa.string())]
            )
            first = first.set_column(schema.get_field_index(name), name, word)
        pq.write_table(first, parts[0])
    return empty


def join_until_known(folder: Path) -> int:
    """Join the first parts until every text column has a known value; return their number.

    NVTabular tries a workflow on the first part alone, and Categorify cannot encode a column
    without any value there. In a log without times of day no visitor has an earlier click on the
    first day, so ``top_category`` is null in all its rows.
    """
    parts = sorted(folder.glob("part_*.parquet"))
    lacking = {field.name for field in pq.read_schema(parts[0]) if field.type == pa.string()}
    joined = 0
    for part in parts:
        table = pq.read_table(part, columns=sorted(lacking))
        lacking = {n for n in lacking if table.column(n).null_count == table.num_rows}
        joined += 1
        if not lacking:
            break
    if joined > 1:
        whole = pa.concat_tables(pq.read_table(part) for part in parts[:joined])
        for part in parts[1:joined]:
            part.unlink()
        pq.write_table(whole, parts[0], row_group_size=max(1, whole.num_rows))
    return joined


def mean_age_of_users(tables: Sequence[pa.Table]) -> float:
    """Return the mean age of the distinct users with a known age.

    Returns:
        The mean, rounded to float32; TYPICAL_AGE if no age is known.
    """
    users = pa.concat_tables([t.select([c.USER_ID, c.AGE]) for t in tables]).filter(
        pc.is_valid(pc.field(c.AGE))
    )
    ages = users.group_by(c.USER_ID).aggregate([(c.AGE, "mean")]).column(f"{c.AGE}_mean")
    mean = pc.mean(ages).as_py()
    if mean is None:  # every row gets the same value, which carries no information
        mean = c.TYPICAL_AGE
    return float(pa.scalar(mean, pa.float32()).as_py())


def write_part(table: pa.Table, folder: Path, number: int) -> Path:
    """Write ``folder/part_0007.parquet`` and return its path.

    The number keeps the order of the days when the folder is read.
    """
    path = folder / f"part_{number:04d}.parquet"
    pq.write_table(table, path)
    return path
