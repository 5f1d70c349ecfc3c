"""The items' clicks of the day before a query, also of items that came later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.served_check.moments import clicks_before


def test_an_item_that_came_later_had_no_click(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    with store.stage("features/interactions", "2026-11-27") as staged:
        pl.DataFrame(
            {"item_id": ["a", "gone"], "item_clicks": [3.0, 1.0], "timestamp": [9, 9]},
            schema_overrides={"item_clicks": pl.Float32},
        ).write_parquet(staged.path / "item_popularity.parquet")
        features = staged.publish()
    found = clicks_before(features, np.array(["new", "a"]))
    assert dict(found.iter_rows()) == {"a": 3.0, "gone": 1.0, "new": 0.0}
    assert found.schema == {"item_id": pl.String, "item_clicks": pl.Float32}
