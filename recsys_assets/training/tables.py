"""Feature rows of several days, made ready for NVTabular: one ordered set of Parquet files in plain types."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_assets import columns as c

#: What the workflows and the models need of a feature row.
_TYPES = {
    c.USER_ID: pa.string(), c.GENDER: pa.string(), c.TOP_CATEGORY: pa.string(), c.AGE: pa.float32(),
    c.CLICKS_24H: pa.float32(), c.HOURS_SINCE_CLICK: pa.float32(),
    c.DEVICE_TYPE: pa.string(), c.TIMESTAMP: pa.int64(),
    c.ITEM_ID: pa.string(), c.CATEGORY_L1: pa.string(), c.CATEGORY_L2: pa.string(), c.ITEM_GENDER: pa.string(),
    c.PRICE: pa.float64(), c.ITEM_CLICKS: pa.float32(), c.CLICK: pa.int32(),
}
ROW_COLUMNS = tuple(_TYPES)
ITEM_COLUMNS = (*c.ITEM_CATEGORICAL, c.PRICE)


def without_tensorflow() -> None:
    """Keep NVTabular from importing TensorFlow, which it does not need and which takes 8 of its 12 seconds."""
    if "tensorflow" not in sys.modules:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]


def read(path: Path, names: Sequence[str]) -> pa.Table:
    """Read columns in the types above.

    Raises:
        ValueError: a column is missing; the message names file and column.
    """
    present = pq.read_schema(path).names
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(present)}")
    return pq.read_table(path, columns=list(names)).select(list(names)).cast(pa.schema([(n, _TYPES[n]) for n in names]))


def without_clicks(items: pa.Table) -> pa.Table:
    """A catalogue with item_clicks 0, so that the item workflow finds all its columns; nothing is fitted on them."""
    return items.append_column(c.ITEM_CLICKS, pa.array(np.zeros(items.num_rows, np.float32)))


def missing_to_null(table: pa.Table) -> pa.Table:
    """Replace "-1" by null, so that a vocabulary fitted on the table does not hold it."""
    for index, column in enumerate(table.schema):
        if column.type == pa.string():
            values = table.column(index)
            known = pc.if_else(pc.equal(values, c.MISSING), pa.scalar(None, pa.string()), values)
            table = table.set_column(index, column.name, known)
    return table


def mean_age_of_users(tables: Sequence[pa.Table]) -> float:
    """Mean age of the distinct users with a known age, as a float32 can hold it.

    Raises:
        ValueError: no row has an age.
    """
    users = pa.concat_tables([t.select([c.USER_ID, c.AGE]) for t in tables]).filter(pc.is_valid(pc.field(c.AGE)))
    ages = users.group_by(c.USER_ID).aggregate([(c.AGE, "mean")]).column(f"{c.AGE}_mean")
    mean = pc.mean(ages).as_py()
    if mean is None:
        raise ValueError(f"no training row has an {c.AGE}: check features/interactions and raw/users")
    return pa.scalar(mean, pa.float32()).as_py()


def write_part(table: pa.Table, folder: Path, number: int) -> Path:
    """Write ``folder/part_0007.parquet``; the number keeps the order of the days when the folder is read."""
    path = folder / f"part_{number:04d}.parquet"
    pq.write_table(table, path)
    return path
