"""AWS as Feast's Athena store sees it, behind boto: S3 from moto, Athena's statements recorded and
run by DuckDB.

Nothing of Feast is replaced: only calls of the service ``athena`` are answered here, at botocore's
own API call. The queries run as they are, but for Athena's function ``from_iso8601_timestamp``,
which is declared to DuckDB, and the header of CREATE TABLE … AS, which names where the result goes.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import boto3
import botocore.client
import duckdb
import pyarrow.parquet as pq
from moto import mock_aws

from recsys_assets.lib.feature_store.views import OFFLINE_SCHEMAS, offline_path
from recsys_assets.settings import Settings

BUCKET = "example-recsys"
REGION = "eu-central-1"
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
}


def aws_settings(**values: Any) -> Settings:
    return Settings(
        target="aws",
        aws_region=REGION,
        athena_staging_uri=f"s3://{BUCKET}/athena",
        valkey_password="p",
        **{
            "feast_registry": f"s3://{BUCKET}/feast/registry.db",
            "feast_offline_uri": f"s3://{BUCKET}/feast/offline",
            **values,
        },
    )


#: Athena's types of the entity rows; a timestamp has milliseconds and no zone.
_TYPES = {"string": "VARCHAR", "bigint": "BIGINT", "timestamp": "TIMESTAMP_MS"}
_CREATE_AS = re.compile(
    r"CREATE TABLE \S+\s+WITH \(\s*external_location = 's3://([^/]+)/([^']+)'.*?\)\s+as\s(.*)",
    re.DOTALL,
)


class AthenaInDuckDB:
    """Answers the calls that Feast makes of Athena; ``statements`` has every query text, in
    order.
    """

    def __init__(self, settings: Settings):
        self.statements: list[str] = []
        self._duckdb = duckdb.connect()
        self._duckdb.execute("SET TimeZone = 'UTC'")
        catalogue, database = settings.athena_data_source, settings.athena_database
        self._duckdb.execute(
            f'ATTACH \':memory:\' AS "{catalogue}"; CREATE SCHEMA "{catalogue}".{database}; '
            f'USE "{catalogue}".{database}'
        )
        self._duckdb.execute("CREATE MACRO from_iso8601_timestamp(t) AS CAST(t AS TIMESTAMPTZ)")
        if "://" not in offline_path(
            settings, ""
        ):  # the tables lie in a folder: as Glue's tables over S3
            for view in OFFLINE_SCHEMAS:
                files = offline_path(settings, view)
                self._duckdb.execute(
                    f"CREATE VIEW {view} AS SELECT * FROM read_parquet('{files}', "
                    f"hive_partitioning = true, hive_types = {{'day': VARCHAR}})"
                )

    def call(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if operation == "StartQueryExecution":
            self.statements.append(arguments["QueryString"])
            self._run(arguments["QueryString"].strip())
            return {"QueryExecutionId": str(len(self.statements))}
        if operation == "GetQueryExecution":
            return {"QueryExecution": {"Status": {"State": "SUCCEEDED"}}}
        raise NotImplementedError(f"Feast was not known to call {operation} of Athena")

    def _run(self, statement: str) -> None:
        s3 = boto3.client("s3")
        if made := re.match(
            r"CREATE EXTERNAL TABLE (\S+) \((.*?)\) .*LOCATION 's3://([^/]+)/([^']+)'", statement
        ):
            name, columns, bucket, prefix = made.groups()
            (found,) = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
            uploaded = pq.read_table(
                io.BytesIO(s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read())
            )
            self._duckdb.register("uploaded", uploaded)
            typed = ", ".join(
                f"{column} {_TYPES[kind]}" for column, kind in re.findall(r"`(\w+)` (\w+)", columns)
            )
            self._duckdb.execute(
                f"CREATE TABLE {name} ({typed}); INSERT INTO {name} BY NAME SELECT * FROM uploaded"
            )
        elif asked := _CREATE_AS.match(statement):
            bucket, prefix, query = asked.groups()
            body = io.BytesIO()
            pq.write_table(self._duckdb.execute(query).to_arrow_table(), body)
            s3.put_object(Bucket=bucket, Key=f"{prefix}/part.parquet", Body=body.getvalue())
        elif dropped := re.match(r"DROP TABLE (?:IF EXISTS )?`?([\w.]+)`?$", statement):
            self._duckdb.execute(f"DROP TABLE IF EXISTS {dropped[1]}")
        else:
            raise NotImplementedError(f"a statement that Feast was not known to make: {statement}")


@contextmanager
def athena(settings: Settings) -> Iterator[AthenaInDuckDB]:
    """While it lasts, no call of boto leaves the process."""
    answering = AthenaInDuckDB(settings)
    call = botocore.client.BaseClient._make_api_call

    def intercepted(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        if client.meta.service_model.service_name == "athena":
            return answering.call(operation, arguments)
        return call(client, operation, arguments)

    with (
        mock.patch.dict(os.environ, _CREDENTIALS),
        mock_aws(),
        mock.patch.object(botocore.client.BaseClient, "_make_api_call", intercepted),
    ):
        boto3.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield answering
