"""Read one day of the log of answers and check its form."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import fsspec
import polars as pl

from recsys_assets.lib.landing.served_answers import (
    ANSWER_ID,
    AT,
    ITEM_IDS,
    LATER,
    PROPENSITIES,
    SCHEMA,
    SCORES,
)
from recsys_assets.lib.landing.zone import SERVED_FOLDER
from recsys_assets.lib.quality.contracts import ContractReport, Failure
from recsys_assets.local_time import UTC
from recsys_assets.partitions import day_bounds


@dataclass(frozen=True)
class ServedDay:
    """Holds the answers of a day, each once, by (AT, ANSWER_ID).

    Attributes:
        answers: SCHEMA.
        rows_by_file: ``served/<file>`` → rows.
        digests: ``served/<file>`` → sha256 of the bytes that were read.
    """

    answers: pl.DataFrame
    rows_by_file: dict[str, int]
    digests: dict[str, str]


def read_served_day(landing: str, day: str, zone: str = UTC) -> ServedDay | None:
    """Read and check the log of a day; None if the day has no file of it.

    An answer that was written twice counts once.

    Args:
        landing: the landing zone, a folder or an fsspec address.
        day: ISO, local.
        zone: the shop's time zone.

    Raises:
        ContractViolation: a file cannot be read, or has other columns or another day.
    """
    root = landing.rstrip("/")
    fs, prefix = fsspec.core.url_to_fs(root)
    paths = sorted(str(path) for path in fs.glob(f"{prefix}/{SERVED_FOLDER}/{day}/*.parquet"))
    if not paths:
        return None
    start, end = day_bounds(day, zone)
    failures: list[Failure] = []
    frames: list[pl.DataFrame] = []
    rows: dict[str, int] = {}
    digests: dict[str, str] = {}
    for path in paths:
        name = f"{SERVED_FOLDER}/{path.rsplit('/', 1)[-1]}"
        address = f"{root}/{SERVED_FOLDER}/{day}/{path.rsplit('/', 1)[-1]}"
        content = fs.cat_file(path)
        digests[name] = hashlib.sha256(content).hexdigest()
        try:
            frame = pl.read_parquet(io.BytesIO(content))
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            failures.append(Failure(address, "", f"is not a readable Parquet file: {reason}", 1))
            continue
        rows[name] = frame.height
        frame = frame.with_columns(
            pl.lit(None, SCHEMA[column]).alias(column)
            for column in LATER
            if column not in frame.columns
        )
        found = _failures(frame, address, start, end)
        failures += found
        if not found:
            frames.append(frame.select(*SCHEMA))
    ContractReport(day, sum(rows.values()), tuple(failures)).raise_if_failed()
    answers = pl.concat(frames).sort(AT, ANSWER_ID).unique(ANSWER_ID, keep="first")
    return ServedDay(answers.sort(AT, ANSWER_ID), rows, digests)


def _failures(frame: pl.DataFrame, file: str, start: int, end: int) -> list[Failure]:
    """Return what is wrong with the rows of a file."""
    wrong = [
        Failure(file, column, f"type is {frame.schema.get(column, 'missing')}, not {kind}", 1)
        for column, kind in SCHEMA.items()
        if frame.schema.get(column) != kind
    ]
    if wrong:
        return wrong
    outside = frame.filter(~pl.col(AT).is_between(start, end, closed="left")).height
    uneven = {
        column: frame.filter(pl.col(ITEM_IDS).list.len() != pl.col(column).list.len()).height
        for column in (SCORES, PROPENSITIES)
    }
    return [
        Failure(file, column, message, count)
        for column, message, count in (
            (AT, "outside the day", outside),
            *((column, "not one per item", count) for column, count in uneven.items()),
        )
        if count
    ]
