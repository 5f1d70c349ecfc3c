"""Served predictions with their labels in a landing zone, and a bare champion of the ads ranker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import local_time
from recsys_assets.ads_columns import CATEGORIES, FEATURES, INTEGERS, LABEL
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.ads_ctr.log_files import SCHEMA
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import champion_path
from recsys_assets.lib.release.lines import ADS
from recsys_assets.lib.release.rung import OLDER
from recsys_assets.release_files import ADS_TRANSFORM, ADS_TRANSFORMS, RELEASE_FILE, model_file
from recsys_assets.settings import Settings

#: Shift of the scores of clicked ads, in deviations: AUC .85, and none, .5.
GOOD, BAD = 1.466, 0.0
RATE = 0.25
TRANSFORMS = {
    "vocabulary": {name: ["aa", "bb"] for name in CATEGORIES},
    "hashed_buckets": 10,
    "cardinality": dict.fromkeys(CATEGORIES, 3 + 2 + 10),
    "log_counts": True,
    "counts": {name: {"mean": 1.0, "std": 2.0} for name in INTEGERS},
}


def features(rows: int) -> dict[str, Any]:
    """Return columns of features: counts by row, one value of each category."""
    return {
        **{name: [number % 7 for number in range(rows)] for name in INTEGERS},
        **{name: ["aa"] * rows for name in CATEGORIES},
    }


def predictions(
    rows: int, at: float, *, release: int = 1, shift: float = GOOD, seed: int = 1, step: float = 1.0
) -> pl.DataFrame:
    """Return settled predictions as ``read_feedback`` does, one per ``step`` seconds.

    Scores are normal, through a sigmoid; those of clicked ads are shifted.
    """
    random = np.random.default_rng(seed)
    labels = (random.random(rows) < RATE).astype(np.int64)
    scores = 1 / (1 + np.exp(1.5 - random.normal(size=rows) - shift * labels))
    times = at + step * np.arange(rows)
    return pl.DataFrame(
        {
            "prediction_id": [
                f"{int(one * 1_000):x}-{seed:032x}-{place:x}" for place, one in enumerate(times)
            ],
            "at": times,
            "settled_at": times + 5.0,
            "release": [release] * rows,
            "score": scores,
            LABEL: labels,
            **features(rows),
        },
        schema_overrides={"release": pl.Int64, **{name: SCHEMA[name] for name in FEATURES}},
    )


def land(landing: str | Path, rows: pl.DataFrame, name: str, zone: str = "UTC") -> None:
    """Write predictions and their labels as the consumer of the streams does."""
    days = pl.Series(
        "day", [local_time.day_of(int(one), zone) for one in rows["at"]], dtype=pl.String
    )
    for (day,), part in rows.with_columns(days).group_by("day"):
        served = part.with_columns(pl.lit("r").alias("request_id"))
        order = ("prediction_id", "request_id", "at", "release", "score", *FEATURES)
        folder = Path(landing) / "ads_predictions" / str(day)
        folder.mkdir(parents=True, exist_ok=True)
        served.select(order).write_parquet(folder / f"predictions-{name}.parquet")
        labels = part.select(
            "prediction_id",
            pl.col(LABEL).cast(pl.Int8),
            pl.col("settled_at").alias("at"),
            pl.col("settled_at").alias("arrived"),
        )
        folder = Path(landing) / "ads_labels" / str(day)
        folder.mkdir(parents=True, exist_ok=True)
        labels.write_parquet(folder / f"labels-{name}.parquet")


def write_ads_release(
    store: ArtifactStore,
    number: int,
    day: str,
    *,
    auc: float | None = 0.85,
    consumed_to: float | None = None,
    form: str = releases.ADS_CODE_VERSION,
) -> Artifact:
    """Publish a release with transforms and without a network.

    consumed_to: of the network, as an incremental training records it; None: a full training.
    """
    kind = "ads_ctr/dcn" if consumed_to is None else "ads_ctr/tuned_dcn"
    consumed = {} if consumed_to is None else {"consumed_to": consumed_to}
    with store.stage(kind, day, params={"number": number}) as staged:
        (staged.path / "config.json").write_text(f"{number}")
        dcn = staged.publish(consumed)
    content = {
        "form": form,
        "release": number,
        "kind": "full" if consumed_to is None else "fine_tune",
        "day": day,
        "generation": 1,
        "versions": {},
        "gate": {"passed": True, "checks": []},
        "metrics": {} if auc is None else {"auc": auc, "click_rate": RATE},
        "known_user": None,
        "rung": OLDER,
    }
    with store.stage(ADS.kind, f"{number:06d}", inputs={"dcn": dcn}) as staged:
        write_json(staged.path / RELEASE_FILE, content)
        path = staged.path / model_file(ADS_TRANSFORM, ADS_TRANSFORMS)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(TRANSFORMS))
        return staged.publish({})


def serve_ads(settings: Settings, changes: Sequence[tuple[int, int]]) -> None:
    """Write the champion of the ads ranker; changes: (release, unix seconds), oldest first."""
    number, at = changes[-1]
    path = champion_path(settings, ADS)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "release": number,
            "generation": 1,
            "digest": "",
            "versions": {},
            "promoted_at": at,
            "previous": [],
            "history": [
                {"release": one, "at": moment, "event": "promote", "forced": False}
                for one, moment in changes
            ],
        },
    )
