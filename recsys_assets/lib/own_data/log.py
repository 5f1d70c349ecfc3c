"""Turn an interaction log into one file per day, in two passes.

First pass, per batch: read, translate and reject rows; spill the accepted rows by local day. Second
pass, per day: drop repeated events, order by time, write the day's file; or set the day aside, if
it is a stray one. Memory holds one batch, or the fullest day.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from recsys_assets.columns import (
    ARRIVED,
    ARRIVED_INTERACTIONS,
    DEVICE_TYPE,
    EVENT_ID,
    EVENT_TYPE,
    ITEM_ID,
    SECONDS_PER_DAY,
    TIMESTAMP,
    USER_ID,
)
from recsys_assets.lib.landing.event_ids import in_order, own_id
from recsys_assets.lib.landing.local_days import local_seconds
from recsys_assets.lib.landing.quarantine import (
    REASON,
    SOURCE_FILE,
    SOURCE_LINE,
    SOURCE_ROW,
    QuarantineWriter,
)
from recsys_assets.lib.landing.zone import INTERACTIONS_FOLDER, IngestError
from recsys_assets.lib.own_data import mapping as rules_of
from recsys_assets.lib.own_data.batch import Batch
from recsys_assets.lib.own_data.ids import refuse_spoilt
from recsys_assets.lib.own_data.log_summary import LogSummary
from recsys_assets.lib.own_data.log_times import times_of_files
from recsys_assets.lib.own_data.mapping import LogRules
from recsys_assets.lib.own_data.observer import Observer
from recsys_assets.lib.own_data.sources import as_text, read_batches, schema_of
from recsys_assets.lib.own_data.spill import Spill
from recsys_assets.lib.own_data.stray import STRAY_GAP_DAYS, stray_days
from recsys_assets.lib.own_data.times import Times, describe

_RAW = "given:"  # prefix of the source's own columns in spilled files
STRAY = f"alone more than {STRAY_GAP_DAYS} days before all others (keep it with --first-day)"

Progress = Callable[[str], None]


def ingested_file(digest: str) -> str:
    """Return the name of a day's file of one log."""
    return f"ingested-{digest}.parquet"


def stage_log(
    files: Sequence[Path],
    rules: LogRules,
    staging: Path,
    digest: str,
    *,
    now: int,
    catalogue: pl.Series | None,
    landing: Path | None,
    progress: Progress,
    observer: Observer | None = None,
) -> LogSummary:
    """Write a log's days and its quarantine into ``staging``.

    The files are ``interactions/<day>/ingested-<digest>.parquet`` and ``quarantine.parquet``.

    Args:
        files: the log's files.
        rules: how columns and values are read.
        staging: the folder to write to.
        digest: digest of the files and rules; part of the file names.
        now: unix seconds; later events are rejected.
        catalogue: the item ids that exist; None: accept every item.
        landing: landing zone whose events are not accepted again; None: compare with no other
            events.
        progress: receives one line of text per file and per day.
        observer: receives what is read.

    Raises:
        IngestError: a file cannot be read, lacks a required column, or has a column of a wrong
            type.
    """
    observer, summary = observer or Observer(), LogSummary()
    observer.log(summary)
    columns = _columns(files, rules, summary)
    kept = list(dict.fromkeys(source for mapped in columns.values() for source in mapped.values()))
    times, arrivals = times_of_files(columns, rules), times_of_files(columns, rules, ARRIVED)
    spill = Spill(staging / "spill", rules.time_zone)
    with QuarantineWriter(staging / "quarantine.parquet", kept) as quarantine:
        for number, path in enumerate(columns):
            _read_file(
                path,
                number,
                columns[path],
                rules,
                times[path],
                arrivals.get(path),
                spill,
                quarantine,
                summary,
                now,
                catalogue,
                observer,
            )
            progress(
                f"{path.name}: {summary.read:,} rows read so far ({number + 1} of {len(columns)} "
                "files)"
            )
        spill.flush()
        names = pl.Series(list(map(str, columns)), dtype=pl.String)
        stray = stray_days(spill.rows) if rules.first_day_start is None else []
        for day in spill.days():
            if day.name in stray:
                _set_aside(day, names, quarantine, STRAY)
                shutil.rmtree(day)
                continue
            _settle(
                day,
                staging / INTERACTIONS_FOLDER,
                digest,
                landing,
                names,
                quarantine,
                summary,
                rules.time_zone,
            )
            shutil.rmtree(day)
            progress(f"{day.name}: {summary.days.get(day.name, 0):,} rows")
    summary.close(dict(quarantine.counts.most_common()), catalogue)
    return summary


def _columns(
    files: Sequence[Path], rules: LogRules, summary: LogSummary
) -> dict[Path, dict[str, str]]:
    """Return our column → the file's, per file; check all files before reading rows."""
    columns: dict[Path, dict[str, str]] = {}
    for path in files:
        present = schema_of(path, rules.form)
        if present is None:
            summary.empty_files.append(str(path))
            continue
        columns[path] = mapped = rules.resolved(path, present)
        summary.mapping |= mapped
        summary.not_taken += [
            name for name in present if name not in (*mapped.values(), *summary.not_taken)
        ]
    if not columns:
        raise IngestError(
            f"{', '.join(map(str, files))}: no file has a header or a column; give a file with a "
            "header and rows"
        )
    return columns


def _read_file(
    path: Path,
    number: int,
    columns: Mapping[str, str],
    rules: LogRules,
    times: Times,
    arrivals: Times | None,
    spill: Spill,
    quarantine: QuarantineWriter,
    summary: LogSummary,
    now: int,
    catalogue: pl.Series | None,
    observer: Observer,
) -> None:
    """Read one file: spill the accepted rows, quarantine the others."""
    described = False
    for batch in read_batches(path, columns.values(), rules.form):
        frame = batch.frame
        summary.read += frame.height + len(batch.malformed)
        summary.literal += batch.literal
        summary.notes |= dict.fromkeys(f"{path.name}: {note}" for note in batch.notes)
        quarantine.write(_malformed(path, batch))
        if frame.is_empty():
            continue
        for name in (USER_ID, ITEM_ID):
            refuse_spoilt(
                path, columns[name], frame.select(as_text(frame, columns[name])).to_series()
            )
        moments = frame[columns[TIMESTAMP]]
        if not described and moments.null_count() < len(moments):
            described = True
            if (what := describe(moments, times)) not in summary.times:
                summary.times.append(what)
        given = frame.select(as_text(frame, name).alias(_RAW + name) for name in frame.columns)
        place = [pl.lit(number, pl.Int32).alias(SOURCE_FILE), batch.rows.alias(SOURCE_ROW)]
        rows = (
            rules_of.canonical(frame, columns, rules, times, now, catalogue, arrivals)
            .hstack(given)
            .with_columns(place)
        )
        summary.note(rows, columns, _RAW, now)
        observer.rows(rows, columns, _RAW)
        rejected = rows.filter(pl.col(REASON).is_not_null())
        quarantine.write(_as_quarantined(rejected, pl.lit(str(path))))
        accepted = rows.filter(pl.col(REASON).is_null()).drop(REASON)
        if DEVICE_TYPE in columns:
            summary.without_device += int((~accepted["device_given"]).sum())
        spill.add(
            accepted.drop("device_given")
            .pipe(_with_event_ids)
            .with_columns(pl.col("micros") % 1_000_000)
        )


def _malformed(path: Path, batch: Batch) -> pl.DataFrame:
    lines = batch.malformed
    return pl.DataFrame(
        {
            REASON: [rules_of.MALFORMED] * len(lines),
            SOURCE_FILE: [str(path)] * len(lines),
            SOURCE_ROW: [line.row for line in lines],
            SOURCE_LINE: [line.text for line in lines],
        },
        schema={
            REASON: pl.String,
            SOURCE_FILE: pl.String,
            SOURCE_ROW: pl.Int64,
            SOURCE_LINE: pl.String,
        },
    )


def _as_quarantined(rows: pl.DataFrame, file: pl.Expr) -> pl.DataFrame:
    given = [
        pl.col(name).alias(name.removeprefix(_RAW))
        for name in rows.columns
        if name.startswith(_RAW)
    ]
    return rows.select(REASON, file.alias(SOURCE_FILE), SOURCE_ROW, *given)


def _with_event_ids(rows: pl.DataFrame) -> pl.DataFrame:
    """Fill missing event ids with "i" and 80 bits of BLAKE2b over the row's values.

    The same row has the same id in every file and format; equal rows are one event. The probability
    that any two of 10⁸ different rows share an id is below 10⁻⁸.
    """
    lacking = rows[EVENT_ID].is_null()
    if not lacking.any():
        return rows
    said = (
        rows.filter(lacking)
        .select(
            pl.concat_str(USER_ID, ITEM_ID, "micros", EVENT_TYPE, DEVICE_TYPE, separator="\x1f")
        )
        .to_series()
    )
    made = pl.Series(
        ["i" + hashlib.blake2b(text.encode(), digest_size=10).hexdigest() for text in said],
        dtype=pl.String,
    )
    return rows.with_columns(rows[EVENT_ID].scatter(lacking.arg_true(), made))


def _set_aside(
    spilled: Path,
    names: pl.Series,
    quarantine: QuarantineWriter,
    reason: str,
    only: pl.DataFrame | None = None,
) -> None:
    """Quarantine rows of a spilled day.

    Args:
        spilled: the day's folder.
        names: the sources' files.
        quarantine: the writer.
        reason: of all rows.
        only: places of the rows, {source_file, source_row}; None: all.
    """
    place = [SOURCE_FILE, SOURCE_ROW]
    given = pl.scan_parquet(sorted(spilled.glob("*.parquet")), missing_columns="insert")
    if only is not None:
        given = given.join(only.lazy(), on=place, how="semi")
    rows = given.sort(place).with_columns(pl.lit(reason).alias(REASON)).collect()
    rows = rows.with_columns(names.gather(rows[SOURCE_FILE]).alias(SOURCE_FILE))
    quarantine.write(_as_quarantined(rows, pl.col(SOURCE_FILE)))


def _settle(
    spilled: Path,
    target: Path,
    digest: str,
    landing: Path | None,
    names: pl.Series,
    quarantine: QuarantineWriter,
    summary: LogSummary,
    zone: str,
) -> None:
    """Write one day, each event once, ordered by (timestamp, event_id).

    Of repeated events, the first row of the source is kept. The ids keep the order within a second.
    """
    parts = sorted(spilled.glob("*.parquet"))
    place = [SOURCE_FILE, SOURCE_ROW]
    # Rows were spilled in the source's order, so the first occurrence is the source's first.
    rows = pl.read_parquet(parts, columns=[*ARRIVED_INTERACTIONS, "micros", *place])
    rows = rows.with_columns(first=pl.col(EVENT_ID).is_first_distinct()).sort(
        TIMESTAMP, "micros", EVENT_ID, *place
    )
    here = landing / INTERACTIONS_FOLDER / spilled.name if landing else None
    known = _known_events(here, digest)
    single = rows["first"] & ~rows[EVENT_ID].is_in(known.implode())
    if not single.all():
        repeated = rows.filter(~single).select(*place)
        _set_aside(spilled, names, quarantine, rules_of.DUPLICATE, repeated)
    ordered = in_order(pl.col(EVENT_ID), pl.col("micros"))
    day = rows.filter(single).with_columns(ordered).select(*ARRIVED_INTERACTIONS)
    if not day[ARRIVED].count():  # an archive: its events arrived at their own time
        day = day.drop(ARRIVED)
    if day.is_empty():
        return
    folder = target / spilled.name
    folder.mkdir(parents=True, exist_ok=True)
    day.write_parquet(folder / ingested_file(digest))
    summary.days[spilled.name] = day.height
    summary.events.update(dict(day[EVENT_TYPE].value_counts().iter_rows()))
    summary.users = pl.concat([summary.users, day[USER_ID]]).unique()
    summary.items = pl.concat([summary.items, day[ITEM_ID]]).unique()
    local = day.select(local_seconds(pl.col(TIMESTAMP), zone) % SECONDS_PER_DAY != 0).to_series()
    summary.time_of_day = summary.time_of_day or bool(local.any())


def _known_events(folder: Path | None, digest: str) -> pl.Series:
    """Return a day's event ids that other sources or visitors have already landed.

    Raises:
        IngestError: a landed file cannot be read.
    """
    files = (
        []
        if folder is None
        else [p for p in sorted(folder.glob("*.parquet")) if p.name != ingested_file(digest)]
    )
    known = [pl.Series(EVENT_ID, dtype=pl.String)]
    for path in files:
        try:
            ids = pl.read_parquet(path, columns=[EVENT_ID])
            known.append(ids.select(own_id(pl.col(EVENT_ID).cast(pl.String))).to_series())
        except pl.exceptions.PolarsError as error:
            raise IngestError(
                f"{path} is already in the landing zone and cannot be read: {error}; "
                "repair or remove it"
            ) from error
    return pl.concat(known)
