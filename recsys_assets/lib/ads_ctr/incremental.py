"""Prepare an incremental training of the ads ranker: its start, and the rows to learn.

Rows are served predictions with a settled label, in the order of settling. The first 70 % train,
the others are held out. A training records up to which moment of settling it has consumed rows, and
the next one begins there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import polars as pl

from recsys_assets import local_time, partitions
from recsys_assets.ads_columns import COLUMNS, FEATURES, LABEL
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.files import sha256_json, write_json
from recsys_assets.lib.ads_ctr import ads_release
from recsys_assets.lib.ads_ctr.ads_transforms import AdsTransforms
from recsys_assets.lib.ads_ctr.feedback import SETTLED_AT, read_feedback
from recsys_assets.lib.ads_ctr.log_files import SCHEMA
from recsys_assets.lib.evaluation.ranker_metrics import one_class
from recsys_assets.lib.landing.ads_predictions import AT, PREDICTION_ID, RELEASE, SCORE
from recsys_assets.lib.release.releases import Release
from recsys_assets.release_files import (
    ADS_CONSUMED,
    ADS_HELD_OUT,
    ADS_TRANSFORM,
    ADS_TRANSFORMS,
    model_file,
)
from recsys_assets.settings import Settings

TRAIN_SHARE = 0.7  # the first rows; the others judge
#: Newest rows that a training reads at most.
MOST_ROWS = 200_000
#: Seconds that a label may take from its arrival to the landing zone. Younger rows wait, so that a
#: moment of settling divides all rows into consumed ones and others.
LANDED_AFTER = 30.0
_HOUR = 3_600.0


class IncrementalError(RuntimeError):
    """There is nothing to train incrementally. The message names the cause and the remedy."""


@dataclass(frozen=True)
class TuneStart:
    """Holds where an incremental training starts.

    Attributes:
        base: the champion.
        dcn: its network, with a checkpoint.
        consumed_to: unix seconds; rows that were settled up to then are learnt. 0: none are.
    """

    base: Release
    dcn: Artifact
    consumed_to: float


class FeedbackRows(TypedDict):
    """Holds the counts of the rows of an incremental training."""

    rows: int
    train: int
    held_out: int
    clicks: int
    click_rate: float
    settled_from: float
    consumed_to: float
    base_release: int
    by_release: dict[str, int]  # number of the release that scored → rows


def start(store: ArtifactStore, settings: Settings) -> TuneStart:
    """Return where an incremental training starts.

    Raises:
        IncrementalError: there is no champion, or it is of an older form.
    """
    base = ads_release.ads_champion(store, settings)
    if base is None:
        raise IncrementalError(
            "there is no champion of the ads ranker to start from; run ads_training, then promote "
            "its release (job ads_promote)"
        )
    if not base.of_this_form:
        raise IncrementalError(
            f"the champion of the ads ranker (release {base.number}) was built by an older version "
            "of this code; run ads_training, then promote its release (job ads_promote)"
        )
    dcn = store.open(base.artifact.manifest["inputs"]["dcn"])
    return TuneStart(base, dcn, float(dcn.metrics.get("consumed_to", 0.0)))


def settled_rows(
    settings: Settings, days: list[str], now: float, after: float = 0.0
) -> tuple[pl.DataFrame, int]:
    """Return the settled predictions of days, and how many are not settled.

    Args:
        settings: landing zone and window of the labels.
        days: of the predictions, ISO.
        now: unix seconds; rows that were settled within LANDED_AFTER before it are left out.
        after: unix seconds of settling; earlier rows are left out.

    Returns:
        rows of ``read_feedback`` in the order of settling, and a count.
    """
    window = settings.ads_label_hours * _HOUR
    found = [read_feedback(settings.landing, day, window, now) for day in days]
    at = pl.col(SETTLED_AT)
    frames = [one.rows.filter(at > after, at <= now - LANDED_AFTER) for one in found]
    if not frames:
        return _no_rows(), 0
    return pl.concat(frames).sort(SETTLED_AT, PREDICTION_ID), sum(one.waiting for one in found)


def days_since(settings: Settings, moment: float, last: str) -> list[str]:
    """Return the days up to ``last`` whose predictions can be settled after a moment."""
    zone = partitions.time_zone(settings)
    first = local_time.day_of(int(max(moment - settings.ads_label_hours * _HOUR, 0.0)), zone)
    return _between(first, last)


def unlearnt(
    settings: Settings, begin: TuneStart, day: str, now: float, since: float | None = None
) -> pl.DataFrame:
    """Return the newest MOST_ROWS settled predictions that the base has not learnt.

    Args:
        settings: of the home.
        begin: where the training starts.
        day: as-of day: the last day of predictions.
        now: unix seconds.
        since: unix seconds of settling; earlier rows are left out, such as those from before a
            change, which teach what no longer holds.
    """
    after = max(begin.consumed_to, since or 0.0)
    days = days_since(settings, after, day) if after else _between(begin.base.day, day)
    frames, found = [_no_rows()], 0
    for one in reversed(days):  # the newest first: a long log is not read to its beginning
        rows, _ = settled_rows(settings, [one], now, after)
        frames.append(rows)
        found += rows.height
        if found >= MOST_ROWS:
            break
    return pl.concat(frames).sort(SETTLED_AT, PREDICTION_ID).tail(MOST_ROWS)


def require_enough(rows: pl.DataFrame, least: int) -> None:
    """Refuse rows that cannot train and judge a network.

    Raises:
        IncrementalError: there are fewer than ``least``, or a split has one class.
    """
    if rows.height < least:
        raise IncrementalError(
            f"{rows.height} labelled predictions are not learnt yet, RECSYS_ADS_TUNE_ROWS is "
            f"{least}: wait for more labels, or lower it"
        )
    for split, part in zip(("training", "held-out"), _split(rows), strict=True):
        labels = part[LABEL].to_numpy()
        if one_class(labels):
            clicked = "clicked" if labels.any() else "not clicked"
            raise IncrementalError(
                f"all {part.height} {split} predictions are {clicked}: send both kinds of labels "
                "(POST /ads/labels), or wait for more of them"
            )


def rows_digest(rows: pl.DataFrame) -> str:
    """Return the digest of rows; features follow from the prediction's id."""
    return sha256_json(rows.select(PREDICTION_ID, SETTLED_AT, LABEL).rows())


def write_feedback_rows(
    rows: pl.DataFrame, base: Artifact, number: int, target: Path
) -> FeedbackRows:
    """Transform rows by the base's compiled workflow, and write them as ads_ctr/datasets does.

    Beside the arrays it writes the held-out rows as they were served, COLUMNS.

    Args:
        rows: of ``unlearnt``, checked by ``require_enough``.
        base: the release that the training starts from.
        number: of that release.
        target: folder of the artifact.
    """
    transforms = AdsTransforms.read(base.path(model_file(ADS_TRANSFORM, ADS_TRANSFORMS)))
    train, held_out = _split(rows)
    for split, part in (("train", train), ("valid", held_out)):
        cat, cont = transforms.of_frame(part)
        np.save(target / f"{split}_cat.npy", cat)
        np.save(target / f"{split}_cont.npy", cont)
        np.save(target / f"{split}_label.npy", part[LABEL].to_numpy().astype(np.int8))
    held_out.select(COLUMNS).cast({LABEL: pl.Int8}).write_parquet(
        target / ADS_HELD_OUT, compression="zstd"
    )
    consumed = float(rows[SETTLED_AT][-1])
    write_json(target / ADS_CONSUMED, {"consumed_to": consumed})
    clicks = int(rows[LABEL].sum())
    return {
        "rows": rows.height,
        "train": train.height,
        "held_out": held_out.height,
        "clicks": clicks,
        "click_rate": clicks / rows.height,
        "settled_from": float(rows[SETTLED_AT][0]),
        "consumed_to": consumed,
        "base_release": number,
        "by_release": {
            str(release): count
            for release, count in rows[RELEASE].value_counts().sort(RELEASE).rows()
        },
    }


def held_out_rows(rows: Artifact) -> pl.DataFrame:
    """Return the held-out rows of ``ads_ctr/feedback_rows`` as they were served, COLUMNS."""
    return pl.read_parquet(rows.path(ADS_HELD_OUT))


def base_of(store: ArtifactStore, rows: Artifact) -> Mapping[str, Artifact]:
    """Return the release ("base") and the network ("dcn") that rows are to be learnt by."""
    inputs: Mapping[str, Any] = rows.manifest["inputs"]
    return {role: store.open(inputs[role]) for role in ("base", "dcn")}


def _split(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    cut = int(rows.height * TRAIN_SHARE)
    return rows[:cut], rows[cut:]


def _between(first: str, last: str) -> list[str]:
    numbers = range(local_time.day_number(first), local_time.day_number(last) + 1)
    return [local_time.day_name(number) for number in numbers]


def _no_rows() -> pl.DataFrame:
    return pl.DataFrame(
        schema={
            PREDICTION_ID: pl.String(),
            AT: pl.Float64(),
            SETTLED_AT: pl.Float64(),
            RELEASE: pl.Int64(),
            SCORE: pl.Float64(),
            LABEL: pl.Int64(),
            **{name: SCHEMA[name] for name in FEATURES},
        }
    )
