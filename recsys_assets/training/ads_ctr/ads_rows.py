"""Read days of the ads log in the plain types that NVTabular takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.ads_columns import CATEGORIES, COLUMNS, INTEGERS, LABEL

#: Rows of a part that NVTabular handles at once: its memory grows with them, some 4 kB each.
PART_ROWS = 100_000
_TYPES = {
    LABEL: pa.int32(),
    # floats hold the counts, which are below 2^53, and null
    **dict.fromkeys(INTEGERS, pa.float64()),
    **dict.fromkeys(CATEGORIES, pa.string()),
}


def write_parts(paths: Sequence[Path], target: Path) -> int:
    """Write the rows of days as ordered parts of PART_ROWS; return their number.

    Args:
        paths: ads.parquet of the days, oldest first.
        target: an empty folder.

    Raises:
        ValueError: a column is missing; the message names file and column.
    """
    rows = part = 0
    for path in paths:
        with pq.ParquetFile(path) as file:
            missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
            if missing:
                raise ValueError(f"{path} has no column {', '.join(missing)}; ingest it again")
            for batch in file.iter_batches(PART_ROWS, columns=list(COLUMNS)):
                table = pa.Table.from_batches([batch]).cast(pa.schema(_TYPES.items()))
                pq.write_table(table, target / f"part-{part:06d}.parquet")
                rows, part = rows + batch.num_rows, part + 1
    return rows
