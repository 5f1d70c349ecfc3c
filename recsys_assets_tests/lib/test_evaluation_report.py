"""Popularity as each validation day sees it, out of real artifacts."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.evaluation_report import Catalogue, Clicks, _daily_popularity
from recsys_assets.partitions import day_bounds

TRANSFORMS = {"vocabulary": {"item_id": ["c", "a", "b"]}}
CATALOGUE = Catalogue(np.zeros((3, 64), np.float32), np.array([4, 5, 3], np.int32), np.zeros((6, 128), np.float32), {})


def day_before(store: ArtifactStore, day: str, clicks: dict[str, float]) -> Artifact:
    with store.stage("features/interactions", day) as staged:
        pl.DataFrame({"item_id": list(clicks), "item_clicks": list(clicks.values()), "timestamp": day_bounds(day)[1]},
                     schema_overrides={"item_clicks": pl.Float32}).write_parquet(staged.path / "item_popularity.parquet")
        return staged.publish()


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def test_each_day_sees_the_clicks_of_the_day_before(store):
    days = [day_before(store, "2026-01-09", {"a": 1.0, "b": 0.0, "gone": 9.0}),
            day_before(store, "2026-01-10", {"a": 0.0, "b": 3.0, "c": 7.0})]
    table, first = _daily_popularity(days, TRANSFORMS, CATALOGUE)
    # rows of the catalogue: a (index 4), b (5), c (3)
    np.testing.assert_array_equal(table, np.log1p([[1.0, 0.0, 0.0], [0.0, 3.0, 7.0]]).astype(np.float32))
    assert table.dtype == np.float32
    rows = pl.DataFrame({"click": [1, 1, 0], "item_id": [4, 3, 5], "user_id": [3, 4, 5], "timestamp": [
        day_bounds("2026-01-10")[0], day_bounds("2026-01-11")[1] - 1, 0]}).with_columns(
        pl.lit(0).alias(name) for name in ("gender", "top_category", "age_binned", "device_type", "age_norm",
                                           "user_frequency", "user_recency", "hour_sin", "hour_cos", "weekday_sin",
                                           "weekday_cos"))
    clicks = Clicks.of(rows, CATALOGUE)
    assert (clicks.day - first).tolist() == [0, 1] and clicks.true.tolist() == [0, 2]


def test_days_that_do_not_follow_one_another_are_refused(store):
    days = [day_before(store, day, {"a": 1.0}) for day in ("2026-01-08", "2026-01-10")]
    with pytest.raises(ValueError, match="features/interactions of days in a row"):
        _daily_popularity(days, TRANSFORMS, CATALOGUE)
