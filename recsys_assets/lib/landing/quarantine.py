"""Write and count rejected rows in ``quarantine/<table>/<source digest>.parquet``.

Columns:
    reason: why the row was rejected.
    source_file, source_row: the file, and the row in it (from 1, without the header).
    source_line: the text of a CSV line that could not be split.

The mapped columns of the source follow, as text. A corrected quarantine file can therefore be
ingested with the same mapping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.lib.landing.zone import QUARANTINE_FOLDER, IngestError

REASON, SOURCE_FILE, SOURCE_ROW, SOURCE_LINE = "reason", "source_file", "source_row", "source_line"
_OWN = {REASON: pl.String, SOURCE_FILE: pl.String, SOURCE_ROW: pl.Int64, SOURCE_LINE: pl.String}


def quarantine_path(landing: Path, table: str, digest: str) -> Path:
    """Return the path of the quarantine file of one source."""
    return landing / QUARANTINE_FOLDER / table / f"{digest}.parquet"


def quarantine_counts(landing: str | Path, table: str = "*") -> dict[str, dict[str, int]]:
    """Return table → reason → number of rows in the quarantine of a landing zone.

    Args:
        landing: a folder or an fsspec address.
        table: the only table to read; all by default.
    """
    fs, prefix = fsspec.core.url_to_fs(str(landing).rstrip("/"))
    counts: dict[str, Counter[str]] = {}
    for path in sorted(map(str, fs.glob(f"{prefix}/{QUARANTINE_FOLDER}/{table}/*.parquet"))):
        with fs.open(path, "rb") as stream:
            reasons = pl.read_parquet(stream, columns=[REASON])[REASON]
        counts.setdefault(path.rsplit("/", 2)[-2], Counter()).update(
            dict(reasons.value_counts().iter_rows())
        )
    return {table: dict(found.most_common()) for table, found in counts.items()}


class QuarantineWriter:
    """Writes one quarantine file, batch by batch; without a row it writes no file.

    Args:
        path: the file to write.
        columns: the source's columns to keep.

    Raises:
        IngestError: a column has the name of one of the quarantine's own columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        clash = [name for name in columns if name in _OWN]
        if clash:
            raise IngestError(
                f"column {clash[0]!r} of the source has a name that the quarantine file uses too; "
                "rename the column in the source"
            )
        self._path = path
        self._schema: dict[str, type[pl.DataType]] = {**_OWN, **dict.fromkeys(columns, pl.String)}
        self._writer: pq.ParquetWriter | None = None
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> QuarantineWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, rows: pl.DataFrame) -> None:
        """Append rows; ``reason`` is required, and missing columns become null."""
        if rows.is_empty():
            return
        self.counts.update(dict(rows[REASON].value_counts().iter_rows()))
        absent = [
            pl.lit(None, kind).alias(name)
            for name, kind in self._schema.items()
            if name not in rows.columns
        ]
        arrow = (
            rows.with_columns(absent)
            .select(*self._schema)
            .to_arrow(compat_level=pl.CompatLevel.oldest())
        )
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, arrow.schema, compression="zstd")
        assert isinstance(arrow, pa.Table)
        self._writer.write_table(arrow)
