"""Join a day's predictions with their labels: what is settled, and what still waits.

A prediction is settled when a label arrives within the window, or when the window has passed
without one; then the ad was not clicked. This is the usual answer to delayed feedback: "Modeling
Delayed Feedback in Display Advertising" (Chapelle 2014) discusses the bias of short windows.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import fsspec
import polars as pl

from recsys_assets.ads_columns import FEATURES, LABEL
from recsys_assets.columns import ARRIVED
from recsys_assets.files import sha256_json
from recsys_assets.lib.landing.ads_predictions import (
    AT,
    LABELS_SCHEMA,
    PREDICTION_ID,
    PREDICTIONS_SCHEMA,
    RELEASE,
    SCORE,
)
from recsys_assets.lib.landing.zone import ADS_LABELS_FOLDER, ADS_PREDICTIONS_FOLDER
from recsys_assets.lib.quality.contracts import ContractReport, Failure

SETTLED_AT = "settled_at"
#: Columns of the settled predictions.
FEEDBACK_SCHEMA: dict[str, type[pl.DataType]] = {
    PREDICTION_ID: pl.String,
    AT: pl.Float64,
    SETTLED_AT: pl.Float64,
    RELEASE: pl.Int64,
    SCORE: pl.Float64,
    LABEL: pl.Int64,
    **{name: PREDICTIONS_SCHEMA[name] for name in FEATURES},
}


@dataclass(frozen=True)
class Feedback:
    """Holds the settled predictions of a day, and counts of all others.

    Attributes:
        rows: of FEEDBACK_SCHEMA, in the order in which they were settled.
        waiting: predictions that are not settled.
        late: labels that came after the window, and are ignored.
        double: labels within the window beyond the first of a prediction.
        unknown: labels without a prediction.
        digest: of the files that were read.
    """

    rows: pl.DataFrame
    waiting: int
    late: int
    double: int
    unknown: int
    digest: str

    @property
    def labels_digest(self) -> str:
        """Return a digest of the settled predictions with their labels, and of all counts.

        It changes with the moment of reading too, as the window passes.
        """
        settled = self.rows.sort(PREDICTION_ID).select(PREDICTION_ID, LABEL)
        rows = hashlib.sha256()
        for name in settled.columns:
            rows.update("\n".join(settled[name].cast(pl.String)).encode())
        return sha256_json(
            [rows.hexdigest(), self.digest, self.waiting, self.late, self.double, self.unknown]
        )


def read_feedback(landing: str, day: str, window_seconds: float, now: float) -> Feedback:
    """Join the predictions of a day with their labels.

    A click wins over a label "not clicked" that arrived before it. A prediction that was landed
    twice counts once, the first. Labels that arrive after ``now`` are not read.

    Args:
        landing: the landing zone, a folder or an fsspec address.
        day: ISO, of the predictions.
        window_seconds: that a prediction waits for its label.
        now: unix seconds.

    Raises:
        ContractViolation: a file cannot be read, or has other columns; one line per failure.
    """
    digests: dict[str, str] = {}
    failures: list[Failure] = []
    predictions, labels = (
        _read(landing, f"{folder}/{day}", schema, digests, failures)
        for folder, schema in (
            (ADS_PREDICTIONS_FOLDER, PREDICTIONS_SCHEMA),
            (ADS_LABELS_FOLDER, LABELS_SCHEMA),
        )
    )
    ContractReport(day, predictions.height + labels.height, tuple(failures)).raise_if_failed()
    predictions = predictions.unique(PREDICTION_ID, keep="first", maintain_order=True)
    arrived = labels.filter(pl.col(ARRIVED) <= now).join(
        predictions.select(PREDICTION_ID, until=pl.col(AT) + window_seconds),
        on=PREDICTION_ID,
        how="left",
    )
    known = arrived.filter(pl.col("until").is_not_null())
    timely = known.filter(pl.col(ARRIVED) <= pl.col("until"))
    # the first click, else the first label
    chosen = timely.sort(LABEL, ARRIVED, descending=[True, False]).unique(
        PREDICTION_ID, keep="first"
    )
    joined = predictions.join(
        chosen.select(PREDICTION_ID, ARRIVED, pl.col(LABEL).cast(pl.Int64)),
        on=PREDICTION_ID,
        how="left",
    ).with_columns(
        pl.coalesce(ARRIVED, pl.col(AT) + window_seconds).alias(SETTLED_AT),
        pl.col(LABEL).fill_null(0),
    )
    settled = joined.filter(pl.col(ARRIVED).is_not_null() | (pl.col(SETTLED_AT) <= now))
    return Feedback(
        settled.sort(SETTLED_AT, AT, PREDICTION_ID).select(*FEEDBACK_SCHEMA),
        waiting=joined.height - settled.height,
        late=known.height - timely.height,
        double=timely.height - chosen.height,
        unknown=arrived.height - known.height,
        digest=sha256_json(digests),
    )


def _read(
    landing: str,
    folder: str,
    schema: dict[str, type[pl.DataType]],
    digests: dict[str, str],
    failures: list[Failure],
) -> pl.DataFrame:
    """Read the files of a folder in the order of their names, and note digests and failures."""
    root = landing.rstrip("/")
    fs, prefix = fsspec.core.url_to_fs(root)
    fs.invalidate_cache()  # a monitor reads again and again, and must find new files
    frames = [pl.DataFrame(schema=schema)]
    for path in sorted(str(path) for path in fs.glob(f"{prefix}/{folder}/*.parquet")):
        name = f"{folder}/{path.rsplit('/', 1)[-1]}"
        content = fs.cat_file(path)
        digests[name] = hashlib.sha256(content).hexdigest()
        try:
            frame = pl.read_parquet(io.BytesIO(content))
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            failures.append(
                Failure(f"{root}/{name}", "", f"is not a readable Parquet file: {reason}", 1)
            )
            continue
        wrong = [
            Failure(
                f"{root}/{name}",
                column,
                f"type is {frame.schema.get(column, 'missing')}, not {kind}",
                1,
            )
            for column, kind in schema.items()
            if frame.schema.get(column) != kind
        ]
        failures += wrong
        if not wrong:
            frames.append(frame.select(*schema))
    return pl.concat(frames)
