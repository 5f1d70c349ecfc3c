"""Create the tables of the Glue catalogue over the offline files, which Athena reads.

The days of a table are partitions by projection: Athena computes their folders from the dates of a
query. So a new day needs no crawler and no call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recsys_assets.lib.feature_store.views import (
    DAY,
    EVENT_TIMESTAMP,
    OFFLINE_SCHEMAS,
    FeatureStoreError,
    offline_path,
)
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    from botocore.client import BaseClient

#: First day of the projection. A query without bounds of time asks for each day since.
FIRST_DAY = "2020-01-01"
_HIVE_TYPES = {
    "String": "string",
    "Float32": "float",
    "Float64": "double",
    "List(String)": "array<string>",
    "List(Int64)": "array<bigint>",
}
_PARQUET = "org.apache.hadoop.hive.ql.io.parquet"


def table_inputs(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return offline table → its definition, Glue's ``TableInput``.

    Args:
        settings: of the AWS target; RECSYS_FEAST_OFFLINE_URI names the folder of the files.

    Raises:
        FeatureStoreError: the folder is not on S3.
    """
    if not str(settings.feast_offline_uri or "").startswith("s3://"):
        raise FeatureStoreError(
            "RECSYS_FEAST_OFFLINE_URI must be a folder on S3, s3://…, for tables that Athena can "
            f"read; got {settings.feast_offline_uri!r}"
        )
    return {view: _table_input(settings, view) for view in OFFLINE_SCHEMAS}


def _table_input(settings: Settings, view: str) -> dict[str, Any]:
    day_folder = offline_path(settings, view, f"${{{DAY}}}").rsplit("/", 1)[0]
    columns = {
        **{name: _HIVE_TYPES[kind] for name, kind in OFFLINE_SCHEMAS[view].items()},
        EVENT_TIMESTAMP: "timestamp",
    }
    return {
        "Name": view,
        "Description": "Written by the asset feature_store/online, one file per day.",
        "TableType": "EXTERNAL_TABLE",
        "PartitionKeys": [{"Name": DAY, "Type": "string"}],
        "StorageDescriptor": {
            "Columns": [{"Name": name, "Type": kind} for name, kind in columns.items()],
            "Location": day_folder.rsplit("/", 1)[0] + "/",
            "InputFormat": f"{_PARQUET}.MapredParquetInputFormat",
            "OutputFormat": f"{_PARQUET}.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": f"{_PARQUET}.serde.ParquetHiveSerDe"},
        },
        "Parameters": {
            "EXTERNAL": "TRUE",
            "classification": "parquet",
            "projection.enabled": "true",
            f"projection.{DAY}.type": "date",
            f"projection.{DAY}.format": "yyyy-MM-dd",
            # NOW is that of UTC, and a shop east of it may be a day ahead
            f"projection.{DAY}.range": f"{FIRST_DAY},NOW+1DAYS",
            "storage.location.template": day_folder + "/",
        },
    }


def apply_glue_tables(settings: Settings) -> dict[str, list[str]]:
    """Create the tables that the Glue database lacks, and correct those that differ.

    Returns:
        "created" and "updated" tables.

    Raises:
        FeatureStoreError: the database does not exist, or the folder of files is not on S3.
    """
    import boto3

    glue = boto3.client("glue", region_name=settings.aws_region)
    found: dict[str, list[str]] = {"created": [], "updated": []}
    for view, wanted in table_inputs(settings).items():
        known = _known(glue, settings.athena_database, view)
        if known is None:
            glue.create_table(DatabaseName=settings.athena_database, TableInput=wanted)
            found["created"].append(view)
        elif any(known.get(name) != value for name, value in _compared(wanted).items()):
            glue.update_table(DatabaseName=settings.athena_database, TableInput=wanted)
            found["updated"].append(view)
    return found


def _known(glue: BaseClient, database: str, view: str) -> dict[str, Any] | None:
    """Return what the catalogue holds of a table, as ``_compared`` does; None without the table."""
    try:
        table = glue.get_table(DatabaseName=database, Name=view)["Table"]
    except glue.exceptions.EntityNotFoundException as error:
        try:
            glue.get_database(Name=database)
        except glue.exceptions.EntityNotFoundException:
            raise FeatureStoreError(
                f"the Glue database {database!r} (RECSYS_ATHENA_DATABASE) does not exist: create "
                "it first"
            ) from error
        return None
    return _compared(table)


def _compared(table: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a definition that decide what Athena reads."""
    storage, parameters = table.get("StorageDescriptor", {}), table.get("Parameters", {})
    return {
        "columns": [(one["Name"], one["Type"]) for one in storage.get("Columns", [])],
        "partition_keys": [(one["Name"], one["Type"]) for one in table.get("PartitionKeys", [])],
        "location": storage.get("Location"),
        # Glue may add empty parameters to what it was given
        "formats": [
            storage.get("InputFormat"),
            storage.get("SerdeInfo", {}).get("SerializationLibrary"),
        ],
        **{
            name: value
            for name, value in parameters.items()
            if name.startswith(("projection.", "storage."))
        },
    }
