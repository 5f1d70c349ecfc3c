"""Read a day of the ads log from the landing zone, check its form, and write it as an artifact."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import polars as pl

from recsys_assets.ads_columns import CATEGORIES, FEATURES, LABEL
from recsys_assets.columns import MISSING
from recsys_assets.files import sha256_json
from recsys_assets.lib.ads_ctr.feedback import Feedback
from recsys_assets.lib.ads_ctr.log_files import SCHEMA
from recsys_assets.lib.figures.series import number
from recsys_assets.lib.landing.ads_predictions import AT, PREDICTION_ID
from recsys_assets.lib.landing.zone import ADS_FOLDER, ADS_PREDICTIONS_FOLDER
from recsys_assets.lib.quality import profiles
from recsys_assets.lib.quality.contracts import ContractReport, Failure
from recsys_assets.release_files import ADS_FILE

#: Texts by which logs say that a category is empty.
_EMPTY: dict[str, str | None] = {"": None, MISSING: None}


@dataclass(frozen=True)
class AdsDay:
    """Holds the rows of a day: those of its files in their order, then served predictions.

    Attributes:
        rows: of SCHEMA.
        rows_by_file: ``ads/<file>`` → rows.
        digests: ``ads/<file>`` → sha256.
        extra_columns: column that the form does not name → files that have it.
        feedback: counts of the day's served predictions and of their labels.
    """

    rows: pl.DataFrame
    rows_by_file: dict[str, int]
    digests: dict[str, str]
    extra_columns: dict[str, int]
    feedback: dict[str, int] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Return the digest of all files, and of the labels of served predictions."""
        return sha256_json(self.digests)


def read_ads_day(landing: str, day: str, feedback: Feedback | None = None) -> AdsDay:
    """Read and check the files of a day; a day without a file has no rows.

    Args:
        landing: the landing zone, a folder or an fsspec address.
        day: ISO.
        feedback: of the day's served predictions, which follow in the order of their moments;
            None: without them.

    Raises:
        ContractViolation: a file cannot be read, or breaks the form; one line per failure.
    """
    root = landing.rstrip("/")
    fs, prefix = fsspec.core.url_to_fs(root)
    failures: list[Failure] = []
    frames: list[pl.DataFrame] = [pl.DataFrame(schema=SCHEMA)]
    rows, digests, extra = dict[str, int](), dict[str, str](), dict[str, int]()
    for path in sorted(str(path) for path in fs.glob(f"{prefix}/{ADS_FOLDER}/{day}/*.parquet")):
        name = f"{ADS_FOLDER}/{path.rsplit('/', 1)[-1]}"
        address = f"{root}/{ADS_FOLDER}/{day}/{path.rsplit('/', 1)[-1]}"
        content = fs.cat_file(path)
        digests[name] = hashlib.sha256(content).hexdigest()
        try:
            frame = pl.read_parquet(io.BytesIO(content))
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            failures.append(Failure(address, "", f"is not a readable Parquet file: {reason}", 1))
            continue
        rows[name] = frame.height
        for column in frame.columns:
            if column not in SCHEMA:
                extra[column] = extra.get(column, 0) + 1
        found = _failures(frame, address)
        failures += found
        if not found:
            frames.append(frame.select(*SCHEMA).with_columns(pl.col(CATEGORIES).replace(_EMPTY)))
    ContractReport(day, sum(rows.values()), tuple(failures)).raise_if_failed()
    counts = dict[str, int]()
    if feedback is not None and (feedback.rows.height or feedback.waiting or feedback.unknown):
        served = feedback.rows.sort(AT, PREDICTION_ID).select(*SCHEMA).cast({LABEL: pl.Int8})
        frames.append(served.with_columns(pl.col(CATEGORIES).replace(_EMPTY)))
        rows[ADS_PREDICTIONS_FOLDER] = served.height
        digests[ADS_PREDICTIONS_FOLDER] = feedback.labels_digest
        counts = {
            "served": served.height,
            "waiting": feedback.waiting,
            "late": feedback.late,
            "double": feedback.double,
            "unknown": feedback.unknown,
        }
    return AdsDay(pl.concat(frames), rows, digests, extra, counts)


def _failures(frame: pl.DataFrame, file: str) -> list[Failure]:
    """Return what is wrong with the rows of a file."""
    wrong = [
        Failure(file, column, f"type is {frame.schema.get(column, 'missing')}, not {kind}", 1)
        for column, kind in SCHEMA.items()
        if frame.schema.get(column) != kind
    ]
    if wrong:
        return wrong
    labels = frame.filter(~pl.col(LABEL).is_in([0, 1]) | pl.col(LABEL).is_null())[LABEL]
    example = str(labels[0]) if len(labels) else ""
    return [Failure(file, LABEL, "is not 0 or 1", len(labels), example)] if len(labels) else []


def write_ads_day(day: AdsDay, target: Path) -> dict[str, Any]:
    """Write ads.parquet and the profile of its features; return the metrics."""
    frame = day.rows
    frame.write_parquet(target / ADS_FILE, compression="zstd")
    profiles.write(frame, target, FEATURES)
    return {
        "rows": frame.height,
        "clicks": int(frame[LABEL].sum()),
        "click_rate": number(frame[LABEL].mean()),
        "files": day.rows_by_file,
        **day.feedback,
        "extra_columns": day.extra_columns,
        "values": {name: frame[name].n_unique() for name in CATEGORIES},
    }
