"""Small days of simulated ads as folders and as artifacts."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.ads_ctr import ads_day
from recsys_assets.lib.ads_ctr.ads_truth import AdsTruth
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day

TRUTH = AdsTruth(7)


def write_day(folder: Path, number: int, rows: int, truth: AdsTruth = TRUTH) -> Path:
    """Write a simulated day as ads.parquet; return its folder."""
    target = folder / f"day-{number}"
    target.mkdir(parents=True)
    simulate_day(truth, number, rows).rows.write_parquet(target / "ads.parquet")
    return target


def publish_day(store: ArtifactStore, day: str, rows: pl.DataFrame) -> Artifact:
    """Publish rows as ads_ctr/logs of a day."""
    with store.stage("ads_ctr/logs", day, code_version="test", inputs={}) as staged:
        landed = ads_day.AdsDay(rows, {"ads/one": rows.height}, {"ads/one": day}, {})
        return staged.publish(ads_day.write_ads_day(landed, staged.path))
