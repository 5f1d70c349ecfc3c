"""Test the SQL that Feast makes for Athena, by snapshot and by meaning, without AWS.

After an intended change (a view, a feature, another Feast), write the snapshots again and read the
difference:

    python -m recsys_assets_tests.feature_repo.test_feature_store_athena
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_repo.apply import apply_features
from recsys_assets.lib.feature_store.historical import historical_features
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.lib.feature_store.views import HOME_PAGE_V2, FeatureStoreError, offline_path
from recsys_assets.settings import Settings
from recsys_assets_tests.support.athena_in_duckdb import athena, aws_settings
from recsys_assets_tests.support.small_history import DAYS, write_history

SNAPSHOTS = Path(__file__).parent / "snapshots"
ENTITY = ["user_id", "item_id", "timestamp"]
MOMENTS = ("2026-11-19 08:00:00", "2026-11-20 21:30:00")


def normalised(statement: str) -> str:
    """Return SQL without blank lines and without temporary ids."""
    text = re.sub(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", statement)
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def generated() -> dict[str, str]:
    """Return snapshot name → the SQL that Feast makes for the AWS target."""
    settings = aws_settings()
    with athena(settings) as aws:
        store = open_store(settings)
        apply_features(store, settings)
        moments = pd.to_datetime(list(MOMENTS), utc=True).as_unit("us")
        asked = pd.DataFrame(
            {"user_id": ["1", "2"], "item_id": ["a", "b"], "event_timestamp": moments}
        )
        point_in_time = store.get_historical_features(
            asked, store.get_feature_service(HOME_PAGE_V2)
        )
        with point_in_time._query_generator() as query:
            statements = {"home_page_v2": query}
        (upload,) = (text for text in aws.statements if text.startswith("CREATE EXTERNAL TABLE"))
        view = store.get_feature_view("user_activity")
        latest = store._get_provider().offline_store.pull_latest_from_table_or_query(
            store.config,
            view.batch_source,
            ["user_id"],
            [field.name for field in view.features],
            view.batch_source.timestamp_field,
            None,
            *(moment.to_pydatetime() for moment in moments),
        )
        with latest._query_generator() as query:
            statements |= {"entity_rows": upload, "materialize_user_activity": query}
    return {name: normalised(text) for name, text in statements.items()}


def test_the_sql_is_the_one_that_was_read_and_agreed() -> None:
    found = {path.stem: path.read_text("utf-8") for path in SNAPSHOTS.glob("*.sql")}
    assert generated() == found, (
        "if intended: python -m recsys_assets_tests.feature_repo.test_feature_store_athena"
    )


@pytest.fixture(scope="module")
def history(tmp_path_factory: Any) -> tuple[Settings, pl.DataFrame]:
    """Return settings of the AWS target with three days, and the training rows."""
    folder = tmp_path_factory.mktemp("athena")
    local = Settings(home=folder / "home")
    rows = write_history(local, folder / "landing")
    return aws_settings(
        home=folder / "home", feast_offline_uri=str(folder / "home" / "feast" / "offline")
    ), rows


def test_the_sql_means_what_training_computes(history: tuple[Settings, pl.DataFrame]) -> None:
    settings, rows = history
    asked = rows.sample(600, seed=5, shuffle=True)
    with athena(settings) as aws:
        store = open_store(settings)
        apply_features(store, settings)
        found = historical_features(store, asked.select(ENTITY), look_back_days=7)
    assert_frame_equal(found, asked.select(found.columns), check_exact=True)
    assert sum(text.startswith("CREATE EXTERNAL TABLE") for text in aws.statements) == 2


def test_a_table_that_doubles_rows_is_noticed(history: tuple[Settings, pl.DataFrame]) -> None:
    settings, rows = history
    day = Path(offline_path(settings, "user_features", DAYS[0]))
    doubled = Path(
        offline_path(settings, "user_features", "2026-11-01")
    )  # the same rows, filed under another day
    doubled.parent.mkdir()
    doubled.write_bytes(day.read_bytes())
    with athena(settings):
        store = open_store(settings)
        apply_features(store, settings)
        with pytest.raises(
            FeatureStoreError, match="repeat at one event_timestamp in the tables of user_feat"
        ):
            historical_features(store, rows[:50].select(ENTITY), look_back_days=7)
    doubled.unlink()


if __name__ == "__main__":
    for name, text in generated().items():
        (SNAPSHOTS / f"{name}.sql").write_text(text, "utf-8")
        print(SNAPSHOTS / f"{name}.sql")
