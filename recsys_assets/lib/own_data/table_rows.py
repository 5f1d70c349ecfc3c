"""Read the rows of a table (items, users) as text, from one file or many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa

from recsys_assets.lib.landing.quarantine import REASON, SOURCE_FILE, SOURCE_LINE, SOURCE_ROW
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.batch import Batch, MalformedLine, TextForm
from recsys_assets.lib.own_data.headers import resolve, suggestions
from recsys_assets.lib.own_data.ids import refuse_spoilt
from recsys_assets.lib.own_data.long_form import OURS, LongForm, long_columns
from recsys_assets.lib.own_data.mapping import MALFORMED, id_problem
from recsys_assets.lib.own_data.sources import (
    as_text,
    check_id_type,
    find_files,
    first_rows,
    read_batches,
    schema_of,
)
from recsys_assets.lib.own_data.words import NO_VALUE


@dataclass(frozen=True)
class TableSource:
    """Says where a table is and what its columns are.

    Attributes:
        source: a file, a folder or a glob.
        mapping: our column → the source's.
        option: the command's option that gives the mapping.
        wanted: our columns.
        key: the id among them.
        aliases: our column → another name that needs no mapping.
        form: how text files are read.
    """

    source: Path
    mapping: Mapping[str, str]
    option: str
    wanted: tuple[str, ...]
    key: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    form: TextForm = field(default_factory=TextForm)


@dataclass
class TableRows:
    """Holds what was read: one row per id, with our columns as text."""

    text: pl.DataFrame = field(default_factory=pl.DataFrame)
    rejected: pl.DataFrame = field(default_factory=pl.DataFrame)  # in the form of the quarantine
    columns: dict[str, str] = field(default_factory=dict)  # our column → the source's
    kept: dict[str, None] = field(default_factory=dict)  # the source's columns that were read
    read: int = 0
    numeric: set[str] = field(default_factory=set)  # our columns that are numbers in every file
    no_value: int = 0  # fields with a word for no value
    literal: int = 0  # rows whose stray quotes were taken as text
    notes: dict[str, None] = field(default_factory=dict)


def read_rows(source: TableSource) -> TableRows:
    """Read all files of a table.

    Raises:
        IngestError: a file cannot be read or lacks the id, or no row can be taken.
    """
    found, key = TableRows(), source.key
    accepted: list[pl.DataFrame] = []
    rejected: list[pl.DataFrame] = []
    textual: set[str] = set()
    long = LongForm(source.wanted, key, source.mapping, source.aliases, source.option)
    for path in find_files([source.source]):
        present = schema_of(path, source.form)
        if present is None:
            continue
        mapped, more = _columns(path, present, source)
        found.columns |= mapped
        found.kept |= dict.fromkeys([*mapped.values(), *more])
        numbers = {name for name, own in mapped.items() if _is_number(present[own])}
        found.numeric |= numbers
        textual |= set(mapped) - numbers
        if more:
            found.notes[f"{path.name}: a row per property, joined to a row per id"] = None
        elif likely := suggestions(present, mapped, source.wanted, source.option):
            found.notes[f"columns that were not taken look like ours: {' '.join(likely)}"] = None
        for rows in _batches(path, source, mapped, more, found):
            rejected.append(rows.filter(pl.col(REASON).is_not_null()))
            sound = rows.filter(pl.col(REASON).is_null())
            if sound.is_empty():
                continue
            if more:
                long.add(sound, mapped[key], more)
            else:
                accepted.append(
                    sound.with_columns(
                        pl.col(own).alias(OURS + name) for name, own in mapped.items()
                    )
                )
    if (wide := long.rows()) is not None:
        accepted.append(wide)
        found.columns |= long.properties
        textual |= set(long.properties)
    rows = pl.concat(accepted, how="diagonal") if accepted else pl.DataFrame()
    if rows.is_empty():
        counts = Counter(reason for part in rejected for reason in part[REASON])
        why = "; ".join(f"{reason}: {count:,}" for reason, count in counts.most_common())
        raise IngestError(
            f"{source.source}: no row can be taken ({why or 'it has no rows'}); the table needs at "
            f"least one row with {key}, and as many fields in each line as in the header"
        )
    repeated = ~rows[OURS + key].is_first_distinct()
    own = [name for name in rows.columns if name.startswith(OURS)]
    rejected.append(
        rows.filter(repeated).drop(own).with_columns(pl.lit(f"{key} occurs before").alias(REASON))
    )
    text = rows.filter(~repeated).select(pl.col(name).alias(name[1:]) for name in own)
    empty = (pl.exclude(key).str.to_lowercase()).is_in(NO_VALUE)
    found.no_value = sum(text.select(empty.sum()).row(0)) if text.width > 1 else 0
    if found.no_value:
        found.text = text.with_columns(pl.when(~empty).then(pl.exclude(key)).name.keep())
    else:
        found.text = text
    found.rejected = pl.concat(rejected, how="diagonal")
    found.numeric -= textual
    return found


def _columns(
    path: Path, present: Mapping[str, pa.DataType], source: TableSource
) -> tuple[dict[str, str], list[str]]:
    """Return our column → the file's, and the columns of a long form (none: it is no such form)."""
    long = long_columns(present)
    key = source.key
    mapped = resolve(
        path,
        present,
        {name: own for name, own in source.mapping.items() if not long or name == key},
        source.option,
        (key,) if long else source.wanted,
        (key,),
        source.aliases,
        source.form,
        first_rows(path, source.form),
    )
    check_id_type(path, mapped[key], present[mapped[key]])
    return mapped, [name for name in long or () if name is not None]


def _batches(
    path: Path,
    source: TableSource,
    mapped: Mapping[str, str],
    more: Sequence[str],
    found: TableRows,
) -> Iterator[pl.DataFrame]:
    """Yield rows as text, with the reason to reject them; count into ``found``."""
    key = mapped[source.key]
    for batch in read_batches(path, [*mapped.values(), *more], source.form):
        found.read += batch.frame.height + len(batch.malformed)
        found.literal += batch.literal
        found.notes |= dict.fromkeys(f"{path.name}: {note}" for note in batch.notes)
        rows = _with_reasons(path, batch, source.key, key)
        refuse_spoilt(path, key, rows[key])
        yield rows
        if batch.malformed:
            yield pl.concat([_malformed_line(path, line) for line in batch.malformed])


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _with_reasons(path: Path, batch: Batch, key: str, given_key: str) -> pl.DataFrame:
    """Return a batch as text, with each row's place and the reason to reject it."""
    given = batch.frame.select(as_text(batch.frame, name) for name in batch.frame.columns)
    place: dict[str, pl.Expr | pl.Series] = {SOURCE_FILE: pl.lit(str(path)), SOURCE_ROW: batch.rows}
    problems = [
        *id_problem(key, pl.col(given_key)),
        ("the header again", pl.col(given_key) == given_key),
    ]
    return given.with_columns(**place).with_columns(
        pl.coalesce(pl.when(applies).then(pl.lit(reason)) for reason, applies in problems).alias(
            REASON
        )
    )


def _malformed_line(path: Path, line: MalformedLine) -> pl.DataFrame:
    return pl.DataFrame(
        {REASON: MALFORMED, SOURCE_FILE: str(path), SOURCE_ROW: line.row, SOURCE_LINE: line.text}
    )
