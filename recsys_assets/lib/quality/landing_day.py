"""Read one day of the landing zone and check it against its contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import fsspec
import polars as pl

from recsys_assets.columns import (
    ARRIVED,
    ARRIVED_INTERACTIONS,
    EVENT_ID,
    OPTIONAL_INTERACTIONS,
    RAW_INTERACTIONS,
    REQUEST_ID,
    TIMESTAMP,
)
from recsys_assets.lib.landing.arrivals import stated
from recsys_assets.lib.landing.event_ids import own_id
from recsys_assets.lib.landing.zone import INTERACTIONS_FOLDER
from recsys_assets.lib.quality.contracts import ContractReport, Failure, read
from recsys_assets.local_time import UTC


class LandingMissing(FileNotFoundError):
    """Raised if the landing zone has no events of any day."""


@dataclass(frozen=True)
class LandingDay:
    """Holds a day of the landing zone, each event once, by (timestamp, event_id)."""

    day: str
    frame: pl.DataFrame  # ARRIVED_INTERACTIONS; ARRIVED is null where no file says it
    rows_by_file: dict[str, int]
    duplicates: int  # rows dropped because an earlier file holds the same event_id
    digests: dict[str, str]  # file → sha256 of the bytes that were read
    extra_columns: dict[str, int]  # column that the contract does not name → number of files
    requests: pl.DataFrame  # {EVENT_ID, REQUEST_ID} of the events that name their answer


def read_landing_day(
    landing_uri: str | Path,
    day: str,
    *,
    items: Collection[str] | None = None,
    now: int | None = None,
    zone: str = UTC,
) -> LandingDay:
    """Read, check and join all files of a day.

    The event consumer may deliver an event in two files; the file that comes first by name keeps
    it, with the first of its arrivals. The same bytes under two names are a failure. A day without
    a file has no rows.

    Args:
        landing_uri: the landing zone, a folder or an fsspec address.
        day: ISO, local.
        items: see Known.
        now: see Known.
        zone: see Known.

    Raises:
        LandingMissing: no day has a file.
        ContractViolation: lists every failure of every file.
    """
    root = str(landing_uri).rstrip("/")
    fs, prefix = fsspec.core.url_to_fs(root)
    paths = sorted(str(path) for path in fs.glob(f"{prefix}/{INTERACTIONS_FOLDER}/{day}/*.parquet"))
    if not paths and not fs.glob(f"{prefix}/{INTERACTIONS_FOLDER}/*/*.parquet"):
        raise LandingMissing(
            f"no interactions in {root}/{INTERACTIONS_FOLDER}: ingest a log with `recsys ingest`, "
            "run `recsys simulate`, or wait until files have landed"
        )
    failures: list[Failure] = []
    frames: list[pl.DataFrame] = []
    requests = [pl.DataFrame(schema={EVENT_ID: pl.String, REQUEST_ID: pl.String})]
    rows: dict[str, int] = {}
    first_with: dict[str, str] = {}  # digest → file
    extra: Counter[str] = Counter()
    for path in paths:
        address = fs.unstrip_protocol(path) if "://" in root else path
        report, frame, digest = read(
            address,
            RAW_INTERACTIONS,
            optional=OPTIONAL_INTERACTIONS,
            day=day,
            now=now,
            items=items,
            zone=zone,
        )
        name = path.rsplit("/", 1)[-1]
        failures += report.failures
        if (twin := first_with.setdefault(digest, name)) != name and frame is not None:
            failures.append(
                Failure(address, "", f"duplicated: the same bytes as {twin}", report.rows)
            )
        rows[name] = report.rows
        extra.update(report.extra_columns)
        if report.ok and frame is not None:
            frames.append(stated(frame, name).select(*ARRIVED_INTERACTIONS))
            if REQUEST_ID in frame.columns:
                requests.append(frame.select(EVENT_ID, REQUEST_ID).drop_nulls())
    ContractReport(day, sum(rows.values()), tuple(failures)).raise_if_failed()
    joined = pl.concat(frames) if frames else _no_rows()
    unique = _each_once(joined) if len(frames) > 1 else joined
    return LandingDay(
        day,
        unique.sort(TIMESTAMP, EVENT_ID),
        rows,
        joined.height - unique.height,
        {name: digest for digest, name in first_with.items()},
        dict(extra),
        pl.concat(requests).unique(EVENT_ID, keep="first", maintain_order=True),
    )


def _each_once(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the first row of each event, with the first of its arrivals."""
    known, first = own_id(pl.col(EVENT_ID)), own_id(pl.col(EVENT_ID)).is_first_distinct()
    if rows.select(first.all()).item():
        return rows
    # of a copy without an arrival, the event's own time counts, which is the earliest
    unknown = pl.col(ARRIVED).is_null().any()
    arrived = pl.when(~unknown.over(known)).then(pl.col(ARRIVED).min().over(known))
    return rows.with_columns(arrived.alias(ARRIVED)).filter(first)


def _no_rows() -> pl.DataFrame:
    """Return ARRIVED_INTERACTIONS without a row."""
    return pl.DataFrame(schema={name: getattr(pl, of) for name, of in ARRIVED_INTERACTIONS.items()})
