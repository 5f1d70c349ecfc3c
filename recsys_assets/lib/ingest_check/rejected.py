"""Read the rejected rows of a check: how many per reason, and examples with their places."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from recsys_assets.lib.landing.quarantine import REASON, SOURCE_FILE, SOURCE_LINE, SOURCE_ROW

EXAMPLES = 3
_BATCH_ROWS = 50_000


@dataclass(frozen=True)
class RejectedExample:
    """Shows a rejected row.

    Attributes:
        file: of the source.
        row: in the file, from 1, without the header.
        text: the line that could not be split; None: it could.
        values: the source's column → value, of the columns that are used.
    """

    file: str
    row: int | None
    text: str | None
    values: dict[str, str | None]


@dataclass
class RejectedReason:
    """Counts the rows that were rejected for one reason."""

    reason: str
    rows: int = 0
    examples: list[RejectedExample] = field(default_factory=list)


def rejected_reasons(quarantine: Path) -> list[RejectedReason]:
    """Return the reasons of a quarantine file, most rows first; memory holds one batch."""
    found: dict[str, RejectedReason] = {}
    with pq.ParquetFile(quarantine) as file:
        for arrow in file.iter_batches(batch_size=_BATCH_ROWS):
            rows = pl.from_arrow(arrow)
            assert isinstance(rows, pl.DataFrame)
            for reason, count in rows[REASON].value_counts().iter_rows():
                one = found.setdefault(reason, RejectedReason(reason))
                one.rows += count
                lacking = EXAMPLES - len(one.examples)
                for row in rows.filter(pl.col(REASON) == reason).head(lacking).to_dicts():
                    one.examples.append(_example(row))
    return sorted(found.values(), key=lambda one: (-one.rows, one.reason))


def _example(row: dict[str, str | int | None]) -> RejectedExample:
    del row[REASON]
    file, place, text = row.pop(SOURCE_FILE), row.pop(SOURCE_ROW), row.pop(SOURCE_LINE)
    return RejectedExample(
        Path(str(file)).name,
        place if isinstance(place, int) else None,
        None if text is None else str(text),
        {name: None if value is None else str(value) for name, value in row.items()},
    )
