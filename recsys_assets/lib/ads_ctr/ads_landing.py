"""Land ads logs: one folder per day, ``ads/<YYYY-MM-DD>/<digest of the source>.parquet``.

A source that is landed again replaces its own files, so that a repetition changes nothing. Rows
that break the form go to the quarantine.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from recsys_assets.files import replacing, sha256_file
from recsys_assets.lib.ads_ctr.ads_truth import AdsTruth
from recsys_assets.lib.ads_ctr.log_files import quiet, read_log
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day
from recsys_assets.lib.landing.quarantine import SOURCE_FILE, QuarantineWriter, quarantine_path
from recsys_assets.lib.landing.zone import ADS_FOLDER, ADS_TRUTH_FOLDER, IngestError

TABLE = "ads"
SIMULATED = "simulated.parquet"
PROBABILITY = "probability"


@dataclass(frozen=True)
class AdsLanded:
    """Holds what was landed.

    Attributes:
        days: ISO day → rows.
        rejected: reason → rows that were set aside.
    """

    days: dict[str, int]
    rejected: dict[str, int]


def day_folder(landing: Path, day: str) -> Path:
    """Return the folder of a day's files."""
    return landing / ADS_FOLDER / day


def land_files(
    landing: Path,
    sources: Sequence[Path],
    first_day: date,
    days: int | None = None,
    progress: Callable[[Path, int, int], None] = lambda path, done, whole: None,
) -> AdsLanded:
    """Land files as consecutive days.

    Args:
        landing: the landing zone, a folder.
        sources: one file per day, in order; or one file of several days.
        first_day: of the first file.
        days: splits one file, whose rows are in the order of time, into so many days of equal
            size; None: each file is a day.
        progress: is told file, bytes or rows read, and all of them.

    Raises:
        IngestError: a file has another form, was landed as another day, or several files are given
            with ``days``; nothing of that file is landed.
    """
    if not sources:
        raise IngestError("name at least one file of an ads log")
    if days is not None and (days < 1 or len(sources) > 1):
        raise IngestError(
            f"--days {days} splits one file into days, and {len(sources)} are given: leave --days "
            "out, then each file is a day"
        )
    landed, rejected = dict[str, int](), Counter[str]()
    for number, source in enumerate(sources):
        begin = first_day + timedelta(days=number)
        with _typed(landing, source, rejected, progress) as (rows, digest):
            landed |= _write_days(landing, rows, digest, begin, days or 1, source)
    return AdsLanded(landed, dict(rejected.most_common()))


@contextmanager
def _typed(
    landing: Path, source: Path, rejected: Counter[str], progress: Callable[[Path, int, int], None]
) -> Iterator[tuple[Path, str]]:
    """Write the good rows of a source to a passing file; yield it with the source's digest."""
    batches = read_log(source, lambda done, whole: progress(source, done, whole))
    digest = sha256_file(source)
    landing.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=landing, prefix=".ads-") as folder:
        rows, kept = Path(folder, "rows.parquet"), quarantine_path(landing, TABLE, digest)
        aside = Path(folder, "quarantine.parquet")
        writer: pq.ParquetWriter | None = None
        with QuarantineWriter(aside, ()) as quarantine:
            try:
                for batch in batches:
                    arrow = batch.rows.to_arrow(compat_level=pl.CompatLevel.oldest())
                    writer = writer or pq.ParquetWriter(rows, arrow.schema, compression="zstd")
                    writer.write_table(arrow)
                    named = pl.lit(source.name).alias(SOURCE_FILE)
                    quarantine.write(batch.rejected.with_columns(named))
            finally:
                if writer is not None:
                    writer.close()
        kept.unlink(missing_ok=True)
        if aside.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            aside.replace(kept)
        rejected.update(quarantine.counts)
        yield rows, digest


def _write_days(
    landing: Path, rows: Path, digest: str, begin: date, days: int, source: Path
) -> dict[str, int]:
    """Write the rows as files of consecutive days; return day → rows.

    Raises:
        IngestError: no row has the form, there are fewer rows than days, or another day has the
            same source.
    """
    whole = pq.read_metadata(rows).num_rows
    if whole < days:
        raise IngestError(
            f"{source}: {whole} rows have the form of an ads log, {days} days need at least as "
            f"many; the reasons are in {quarantine_path(landing, TABLE, digest)}"
        )
    name = f"{digest[:16]}.parquet"
    wanted = [(begin + timedelta(days=number)).isoformat() for number in range(days)]
    others = {path.parent.name for path in (landing / ADS_FOLDER).glob(f"*/{name}")} - {*wanted}
    if others:
        raise IngestError(
            f"{source} was landed as {', '.join(sorted(others))} before: give the same --first-day "
            f"and --days, or delete {name} there"
        )
    table, found = pl.scan_parquet(rows), {}
    for number, day in enumerate(wanted):
        low, high = number * whole // days, (number + 1) * whole // days
        with replacing(day_folder(landing, day) / name) as target:
            table.slice(low, high - low).sink_parquet(target, compression="zstd")
        found[day] = high - low
    return found


def land_simulated(
    landing: Path,
    truth: AdsTruth,
    first_day: date,
    days: int,
    rows: int,
    progress: Callable[[int, int], None] = quiet,
) -> AdsLanded:
    """Land simulated days, with their truth in ``truth/ads/<day>.parquet`` {probability}.

    Args:
        landing: the landing zone, a folder.
        truth: of the simulated ads.
        first_day: of the first day.
        days: number of days.
        rows: of each day.
        progress: is told days done, and all of them.
    """
    found = {}
    for number in range(days):
        day = (first_day + timedelta(days=number)).isoformat()
        simulated = simulate_day(truth, number, rows)
        with replacing(landing / ADS_TRUTH_FOLDER / f"{day}.parquet") as target:
            pl.DataFrame({PROBABILITY: simulated.probability}).write_parquet(target)
        with replacing(day_folder(landing, day) / SIMULATED) as target:
            simulated.rows.write_parquet(target, compression="zstd")
        found[day] = rows
        progress(number + 1, days)
    return AdsLanded(found, {})


def read_truth(landing: str, day: str, rows: int) -> np.ndarray | None:
    """Return the click probabilities of a simulated day, float64 [N].

    None: the day is of real ads, or has other rows beside the simulated ones.

    Args:
        landing: the landing zone, a folder or an address; an address has no truth.
        day: ISO.
        rows: of the day.
    """
    path = Path(landing) / ADS_TRUTH_FOLDER / f"{day}.parquet"
    if "://" in landing or not path.exists():
        return None
    found = pl.read_parquet(path)[PROBABILITY].to_numpy()
    return found if len(found) == rows else None
