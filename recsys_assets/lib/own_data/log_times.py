"""Find out how the times of each file of a log are read, before its rows are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from recsys_assets.columns import TIMESTAMP
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.mapping import LogRules
from recsys_assets.lib.own_data.sources import read_batches
from recsys_assets.lib.own_data.time_forms import evidence_of
from recsys_assets.lib.own_data.times import Times, detect, is_time


def times_of_files(
    columns: Mapping[Path, Mapping[str, str]], rules: LogRules, name: str = TIMESTAMP
) -> dict[Path, Times]:
    """Return how the times of each file are read, of the files that have them.

    ``name`` is our column of the times.

    What one file says of the order of day and month holds for all files of the log.

    Raises:
        IngestError: a column is no time, or nobody can tell the order of day and month.
    """
    found = {
        path: _times_of(path, mapped[name], name, rules)
        for path, mapped in columns.items()
        if name in mapped
    }
    orders = {one.order for one in found.values() if one.evidence is not None} - {None}
    for path, times in found.items():
        if times.evidence is None or times.order is not None:
            continue
        both = times.evidence.day_first and times.evidence.month_first
        if both or len(orders) != 1:
            day_first, month_first = times.evidence.formats()
            why = (
                "some rows need day first and others month first"
                if both
                else "no row shows whether the day or the month is first"
            )
            raise IngestError(
                f"{path}: column {columns[path][name]!r} has times as "
                f"{times.evidence.example!r}, and {why}: name the form with "
                f"--time-format {day_first!r} or --time-format {month_first!r}"
            )
        found[path] = replace(times, order=next(iter(orders)))
    return found


def _times_of(path: Path, column: str, name: str, rules: LogRules) -> Times:
    """Return how the times of one file are read; read on while no row tells the order."""
    found: Times | None = None
    for batch in read_batches(path, [column], rules.form):
        values = batch.frame[column]
        if not is_time(values.dtype):
            raise IngestError(
                f"{path}: column {column!r} is {values.dtype}, which is no time; map {name} to "
                "a column of numbers, text, dates or datetimes"
            )
        if values.null_count() == len(values):
            continue
        if found is None or found.evidence is None:
            found = detect(values, rules.time_zone, rules.time_format)
        else:  # only the order is open
            text = values.cast(pl.String).str.strip_chars()
            evidence = found.evidence | evidence_of(text)
            found = replace(found, evidence=evidence, order=evidence.order)
        if found.evidence is None or found.evidence.day_first != found.evidence.month_first:
            break
    return found or Times(rules.time_zone)
