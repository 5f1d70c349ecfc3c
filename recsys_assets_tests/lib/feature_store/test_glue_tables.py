"""Test that Athena's tables are made in Glue, and that the written files are theirs.

S3 and Glue are moto's servers, over their wire protocols.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import boto3
import dagster as dg
import polars as pl
import pytest

from recsys_assets.defs.feature_store import store as feature_store
from recsys_assets.lib.feature_store import offline
from recsys_assets.lib.feature_store.glue_tables import apply_glue_tables, table_inputs
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.lib.feature_store.views import OFFLINE_SCHEMAS, FeatureStoreError
from recsys_assets.orchestration.resources import Platform
from recsys_assets.partitions import day_bounds
from recsys_assets.settings import Settings
from recsys_assets_tests.support.athena_in_duckdb import BUCKET, REGION, aws_settings
from recsys_assets_tests.support.moto_server import client_environment, moto_server

DAY = "2026-11-20"
#: Hive's type → Parquet's, as Polars reads it; of Athena's documentation.
READ_AS = {
    "string": pl.String,
    "float": pl.Float32,
    "double": pl.Float64,
    "array<string>": pl.List(pl.String),
    "array<bigint>": pl.List(pl.Int64),
    "timestamp": pl.Datetime("us"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Return the address of moto's server."""
    with moto_server() as address:
        yield address


@pytest.fixture
def glue(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a client of an empty Glue catalogue, and let every AWS client use the server."""
    polars = {"AWS_ALLOW_HTTP": "true", "AWS_REGION": REGION}
    for name, value in {**client_environment(server, REGION), **polars}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("glue", region_name=REGION)
    for one in client.get_databases()["DatabaseList"]:
        client.delete_database(Name=one["Name"])
    return client


def column_types(table: dict[str, Any]) -> dict[str, str]:
    return {one["Name"]: one["Type"] for one in table["StorageDescriptor"]["Columns"]}


def test_without_the_database_the_remedy_is_named(glue: Any) -> None:
    with pytest.raises(FeatureStoreError, match=r"the Glue database 'recsys' .* create it first"):
        apply_glue_tables(aws_settings())


def test_a_folder_that_is_not_on_s3_is_refused() -> None:
    with pytest.raises(FeatureStoreError, match="RECSYS_FEAST_OFFLINE_URI must be a folder on S3"):
        table_inputs(aws_settings(feast_offline_uri="/home/feast"))


def test_tables_are_made_once_and_corrected_where_they_differ(glue: Any) -> None:
    glue.create_database(DatabaseInput={"Name": "recsys"})
    settings = aws_settings()
    assert apply_glue_tables(settings) == {"created": [*OFFLINE_SCHEMAS], "updated": []}
    assert apply_glue_tables(settings) == {"created": [], "updated": []}
    # a view has got a column, and somebody has switched the projection off
    old = table_inputs(settings)["user_activity"]
    old["StorageDescriptor"]["Columns"] = old["StorageDescriptor"]["Columns"][:2]
    glue.update_table(DatabaseName="recsys", TableInput=old)
    off = table_inputs(settings)["item_features"]
    off["Parameters"]["projection.enabled"] = "false"
    glue.update_table(DatabaseName="recsys", TableInput=off)
    assert apply_glue_tables(settings) == {
        "created": [],
        "updated": ["user_activity", "item_features"],
    }
    mended = glue.get_table(DatabaseName="recsys", Name="user_activity")["Table"]
    assert column_types(mended)["recent_timestamps"] == "array<bigint>"


def test_the_files_of_a_day_lie_where_the_projection_looks_and_have_its_columns(glue: Any) -> None:
    glue.create_database(DatabaseInput={"Name": "recsys"})
    s3 = boto3.client("s3", region_name=REGION)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    settings = aws_settings()
    apply_glue_tables(settings)
    noon = day_bounds(DAY)[0] + 43_200
    offline.write_offline(
        settings,
        pl.DataFrame({"user_id": ["u"], "age": [30.0], "gender": ["F"]}),
        pl.DataFrame(
            {
                "item_id": ["i"],
                "price": [2.5],
                "category_l1": ["a"],
                "category_l2": ["b"],
                "item_gender": ["Any"],
            }
        ),
        pl.DataFrame(
            {
                "user_id": ["u"],
                "timestamp": [noon],
                "recent_categories": [["a"]],
                "recent_items": [["i"]],
                "recent_timestamps": [[noon]],
            }
        ),
        pl.DataFrame({"item_id": ["i"], "item_clicks": [1.0], "timestamp": [day_bounds(DAY)[1]]}),
        noon,
    )
    for view in OFFLINE_SCHEMAS:
        table = glue.get_table(DatabaseName="recsys", Name=view)["Table"]
        assert table["PartitionKeys"] == [{"Name": "day", "Type": "string"}]
        folder = table["Parameters"]["storage.location.template"].replace("${day}", DAY)
        prefix = folder.removeprefix(f"s3://{BUCKET}/")
        [found] = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
        body = s3.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read()
        frame = pl.read_parquet(io.BytesIO(body), hive_partitioning=False)
        assert frame.height == 1
        assert frame.schema == {name: READ_AS[kind] for name, kind in column_types(table).items()}
        assert folder.startswith(table["StorageDescriptor"]["Location"])


def test_the_asset_of_the_definitions_makes_the_tables_before_a_day_is_read(glue: Any) -> None:
    glue.create_database(DatabaseInput={"Name": "recsys"})
    bucket = "asset-of-the-definitions"
    boto3.client("s3", region_name=REGION).create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    on_aws = aws_settings(
        feast_registry=f"s3://{bucket}/feast/registry.db",
        feast_offline_uri=f"s3://{bucket}/feast/offline",
    )

    class OnAws(Platform):
        @property
        def settings(self) -> Settings:
            return on_aws

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [feature_store.definitions], resources={"platform": OnAws()}, instance=instance
        )
    [event] = done.get_asset_materialization_events()
    assert event.materialization.metadata["tables_created"].value == [*OFFLINE_SCHEMAS]
    source = open_store(on_aws).get_feature_view("user_features").batch_source
    table = glue.get_table(DatabaseName="recsys", Name=source.table)["Table"]
    assert source.date_partition_column in [one["Name"] for one in table["PartitionKeys"]]
