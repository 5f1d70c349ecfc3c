"""Feast on the real DuckDB and the real Valkey, from both environments that open it."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
import redis

from recsys_assets.lib import feature_store as fs
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.serving.small_shop import shop_settings

DAY = 86_400
DAY_1 = 1_790_035_200  # 2026-09-22 UTC
FEATURES = ["user_features:age", "user_features:gender", "user_activity:top_category"]

USERS = pl.DataFrame({"user_id": ["1", "2"], "age": [30, 40], "gender": ["F", "M"]}, schema_overrides={"age": pl.Int32})
ITEMS = pl.DataFrame({"item_id": ["a"], "price": [2.5], "category_l1": ["books"], "category_l2": ["novel"],
                      "item_gender": ["Any"], "name": ["left out"]})


def activity(category: str, timestamp: int) -> pl.DataFrame:
    return pl.DataFrame({"user_id": ["1"], "top_category": [category], "timestamp": [timestamp]})


def write_day(settings: Settings, day: int, category: str, users: pl.DataFrame = USERS) -> None:
    fs.write_offline(settings, users, ITEMS, activity(category, day + 100), day)


def online(store: Any, user_id: str = "1") -> dict[str, Any]:
    answer = store.get_online_features(FEATURES, entity_rows=[{"user_id": user_id}]).to_dict()
    return {name: values[0] for name, values in answer.items() if name != "user_id"}


@pytest.fixture
def settings(tmp_path: Path, valkey: Any) -> Settings:
    return shop_settings(tmp_path, valkey)


@pytest.fixture
def store(settings: Settings) -> Any:
    opened = fs.open_store(settings)
    applied = fs.apply_features(opened, settings)  # before any offline table exists
    assert applied["views"] == ["user_features", "user_activity", "item_features"]
    return opened


def test_materialised_values_are_read_online(settings: Settings, store: Any) -> None:
    write_day(settings, DAY_1, "books")
    assert fs.materialize(settings, DAY_1, DAY_1 + DAY, store=store) == {
        "user_features": 2, "user_activity": 1, "item_features": 1}
    assert online(store) == {"age": 30.0, "gender": "F", "top_category": "books"}
    assert online(store, "nobody") == {"age": None, "gender": None, "top_category": None}
    item = store.get_online_features(["item_features:price", "item_features:category_l2"],
                                     entity_rows=[{"item_id": "a"}]).to_dict()
    assert (item["price"], item["category_l2"]) == ([2.5], ["novel"])


def test_online_never_goes_back_in_time(settings: Settings, store: Any) -> None:
    write_day(settings, DAY_1 + DAY, "tools", USERS.with_columns(age=pl.Series([31, 41], dtype=pl.Int32)))
    fs.materialize(settings, DAY_1 + DAY, DAY_1 + 2 * DAY, store=store)
    write_day(settings, DAY_1, "books")  # the earlier day is backfilled afterwards
    fs.materialize(settings, DAY_1, DAY_1 + DAY, store=store)
    assert online(store) == {"age": 31.0, "gender": "F", "top_category": "tools"}

    live = DAY_1 + DAY + 200
    fs.push_top_category(store, "1", "toys", live)
    fs.push_top_category(store, "1", "older", live - 1)
    fs.push_top_category(store, "1", "same moment", live)
    fs.materialize(settings, DAY_1, DAY_1 + 2 * DAY, store=store)
    assert online(store)["top_category"] == "toys"
    fs.push_top_category(store, "1", "a microsecond later", live + 1e-6)
    assert online(store)["top_category"] == "a microsecond later"


def test_a_live_visitor_need_not_be_registered(store: Any) -> None:
    fs.push_top_category(store, "guest", "toys", DAY_1)
    assert online(store, "guest") == {"age": None, "gender": None, "top_category": "toys"}


def test_offline_tables_do_not_depend_on_the_order_of_days(tmp_path: Path) -> None:
    contents = []
    for order in ([0, 1], [1, 0], [0, 1, 0]):
        settings = Settings(home=tmp_path / str(len(contents)))
        for n in order:
            write_day(settings, DAY_1 + n * DAY, f"category {n}")
        contents.append([Path(fs.offline_path(settings, view)).read_bytes() for view in fs.OFFLINE_SCHEMAS])
    assert contents[0] == contents[1] == contents[2]
    table = pl.read_parquet(fs.offline_path(settings, "user_features"))
    assert table.height == 4 and table.schema["event_timestamp"] == pl.Datetime("us", "UTC")


def test_history_is_point_in_time(settings: Settings, store: Any) -> None:
    write_day(settings, DAY_1, "books")
    write_day(settings, DAY_1 + DAY, "tools")
    moments = [DAY_1 + 99, DAY_1 + 101, DAY_1 + DAY + 101]
    asked = pd.DataFrame({"user_id": ["1"] * 3, "row": [0, 1, 2],
                          "event_timestamp": [datetime.fromtimestamp(m, tz=timezone.utc) for m in moments]})
    found = store.get_historical_features(asked, ["user_activity:top_category"]).to_df().sort_values("row")
    assert found["top_category"].fillna("none").tolist() == ["none", "books", "tools"]


def test_bad_tables_are_refused_by_name(settings: Settings) -> None:
    with pytest.raises(fs.FeatureStoreError, match="user_features: column gender is missing"):
        fs.write_offline(settings, USERS.drop("gender"), ITEMS, activity("books", DAY_1), DAY_1)
    with pytest.raises(fs.FeatureStoreError, match="user_features: user_id repeats"):
        fs.write_offline(settings, pl.concat([USERS, USERS]), ITEMS, activity("books", DAY_1), DAY_1)


def test_a_hanging_store_ends_in_an_error(settings: Settings, store: Any, valkey: Any) -> None:
    limited = fs.open_store(settings, timeout_ms=20)
    online(limited)
    valkey.hang()
    try:
        with pytest.raises(redis.TimeoutError):
            online(limited)
    finally:
        valkey.resume()
    connection = limited._get_provider().online_store._client.connection_pool.connection_kwargs
    assert connection["socket_timeout"] == 0.02 and connection["retry"] is None


def test_the_serving_environment_reads_online(settings: Settings, store: Any) -> None:
    if not settings.serving_python.exists():
        pytest.fail(f"{settings.serving_python} is missing: make setup")
    write_day(settings, DAY_1, "books")
    fs.materialize(settings, DAY_1, DAY_1 + DAY, store=store)
    program = ("import json, sys\n"
               "from recsys_assets.lib.feature_store import open_store\n"
               "from recsys_assets.settings import get_settings\n"
               "store = open_store(get_settings(), online_only=True, timeout_ms=2000)\n"
               f"answer = store.get_online_features({FEATURES!r}, entity_rows=[{{'user_id': '2'}}]).to_dict()\n"
               "print(json.dumps([answer, 'duckdb' in sys.modules, 'polars' in sys.modules]))\n")
    done = subprocess.run([settings.serving_python, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True,
                          env={**os.environ, **settings.environment()}, check=False)
    assert done.returncode == 0, done.stderr
    answer = {"user_id": ["2"], "age": [40.0], "gender": ["M"], "top_category": [None]}
    assert json.loads(done.stdout) == [answer, False, False]


def test_the_aws_target_is_athena_and_tls() -> None:
    from feast.infra.offline_stores.contrib.athena_offline_store.athena_source import AthenaSource

    from feature_repo.features import define

    settings = Settings(target="aws", aws_region="eu-central-1", feast_registry="s3://b/registry.db",
                        athena_staging_uri="s3://b/athena", feast_offline_uri="s3://b/offline", valkey_host="cache",
                        valkey_port=6379, valkey_password="p")
    config = fs.store_config(settings, timeout_ms=20)
    assert config["offline_store"] == {
        "type": "athena", "region": "eu-central-1", "data_source": "AwsDataCatalog", "database": "recsys",
        "workgroup": "primary", "s3_staging_location": "s3://b/athena"}
    assert config["online_store"]["connection_string"] == (
        "cache:6379,db=0,ssl=true,password=p,socket_timeout=0.02,socket_connect_timeout=0.02,retry=null")
    assert fs.offline_path(settings, "user_features") == "s3://b/offline/user_features/user_features.parquet"
    sources = [view.batch_source for view in (define(settings).user_features, define(settings).item_features)]
    assert all(isinstance(source, AthenaSource) for source in sources)
    assert [source.table for source in sources] == ["user_features", "item_features"]


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(fs.FeatureStoreError, match="RECSYS_ATHENA_STAGING_URI, RECSYS_AWS_REGION, RECSYS_FEAST_REG"):
        fs.store_config(Settings(target="aws"))
