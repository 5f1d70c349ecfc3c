"""Join the served predictions of a day with their labels, under the delayed-feedback window.

A prediction is settled when a label arrives within the window, or when the window has passed
without one: the ad was then not clicked (label 0). A click wins over a 0 that arrived earlier.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import fsspec
import polars as pl

from recsys_assets.ads_columns import CATEGORIES, FEATURES, INTEGERS, LABEL
from recsys_assets.files import sha256_json

PREDICTION_ID, AT, SETTLED_AT, RELEASE, SCORE = (
    "prediction_id",
    "at",
    "settled_at",
    "release",
    "score",
)
PREDICTIONS_FOLDER, LABELS_FOLDER = "ads_predictions", "ads_labels"
ARRIVED = "arrived"
_PREDICTIONS: dict[str, pl.DataType] = {
    PREDICTION_ID: pl.String(),
    AT: pl.Float64(),
    RELEASE: pl.Int64(),
    SCORE: pl.Float64(),
    **dict.fromkeys(INTEGERS, pl.Int64()),
    **dict.fromkeys(CATEGORIES, pl.String()),
}
_LABELS: dict[str, pl.DataType] = {
    PREDICTION_ID: pl.String(),
    LABEL: pl.Int8(),
    ARRIVED: pl.Float64(),
}


@dataclass(frozen=True)
class Feedback:
    """Holds the predictions of a day whose label is settled.

    Attributes:
        rows: prediction_id, at, settled_at, release, score, label (0 or 1) and FEATURES, in the
            order of settled_at.
        waiting: predictions that are not settled.
        late: labels that came after the window; they are ignored.
        double: labels of a prediction that had one.
        unknown: labels without a prediction.
        digest: of the files.
    """

    rows: pl.DataFrame
    waiting: int
    late: int
    double: int
    unknown: int
    digest: str


def read_feedback(landing: str, day: str, window_seconds: float, now: float) -> Feedback:
    """Read predictions and labels of a day.

    Args:
        landing: the landing zone, a folder or an fsspec address.
        day: local day of the predictions, ISO.
        window_seconds: in which a label counts.
        now: unix seconds.
    """
    predictions, seen = _read(landing, PREDICTIONS_FOLDER, day, _PREDICTIONS)
    predictions = predictions.unique(PREDICTION_ID, keep="first", maintain_order=True)
    labels, also = _read(landing, LABELS_FOLDER, day, _LABELS)
    joined = labels.join(predictions.select(PREDICTION_ID, AT), on=PREDICTION_ID, how="left")
    known = joined.filter(pl.col(AT).is_not_null())
    in_time = known.filter(pl.col(ARRIVED) <= pl.col(AT) + window_seconds)
    first = in_time.sort([LABEL, ARRIVED], descending=[True, False]).unique(
        PREDICTION_ID, keep="first", maintain_order=True
    )
    rows = predictions.join(
        first.select(PREDICTION_ID, LABEL, ARRIVED), on=PREDICTION_ID, how="left"
    )
    end = pl.col(AT) + window_seconds
    rows = rows.with_columns(
        pl.col(LABEL).fill_null(0).cast(pl.Int64),
        pl.coalesce(ARRIVED, pl.when(end <= now).then(end)).alias(SETTLED_AT),
    )
    settled = rows.filter(pl.col(SETTLED_AT).is_not_null()).sort(SETTLED_AT, PREDICTION_ID)
    return Feedback(
        settled.select(PREDICTION_ID, AT, SETTLED_AT, RELEASE, SCORE, LABEL, *FEATURES),
        waiting=rows.height - settled.height,
        late=known.height - in_time.height,
        double=in_time.height - first.height,
        unknown=joined.height - known.height,
        digest=sha256_json({**seen, **also}),
    )


def _read(
    landing: str, folder: str, day: str, schema: dict[str, pl.DataType]
) -> tuple[pl.DataFrame, dict[str, str]]:
    fs, prefix = fsspec.core.url_to_fs(landing.rstrip("/"))
    frames, digests = [pl.DataFrame(schema=schema)], dict[str, str]()
    for path in sorted(str(one) for one in fs.glob(f"{prefix}/{folder}/{day}/*.parquet")):
        content = fs.cat_file(path)
        digests[f"{folder}/{path.rsplit('/', 1)[-1]}"] = hashlib.sha256(content).hexdigest()
        frames.append(
            pl.read_parquet(io.BytesIO(content)).select(
                pl.col(name).cast(kind) for name, kind in schema.items()
            )
        )
    return pl.concat(frames), digests
