"""Feast: open the configured store, apply the definitions, write offline tables, materialise, push.

Imported by the platform and by the serving environment; so Feast and Polars are imported where they are used.
Online values never go back in time: Feast's Redis store skips a row that is not newer than the stored one.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_assets.columns import (
    AGE,
    CATEGORY_L1,
    CATEGORY_L2,
    GENDER,
    ITEM_GENDER,
    ITEM_ID,
    PRICE,
    TIMESTAMP,
    TOP_CATEGORY,
    USER_ID,
)
from recsys_assets.settings import PROJECT_ROOT, Settings, get_settings

if TYPE_CHECKING:
    import polars as pl
    from feast import FeatureStore

USER_FEATURES, USER_ACTIVITY, ITEM_FEATURES = "user_features", "user_activity", "item_features"
USER_ACTIVITY_PUSH = "user_activity_push"
HOME_PAGE = "home_page_v1"
EVENT_TIMESTAMP = "event_timestamp"

#: Offline table → its columns and Polars types, the key first.
OFFLINE_SCHEMAS: dict[str, dict[str, str]] = {
    USER_FEATURES: {USER_ID: "String", AGE: "Float32", GENDER: "String"},
    USER_ACTIVITY: {USER_ID: "String", TOP_CATEGORY: "String"},
    ITEM_FEATURES: {ITEM_ID: "String", PRICE: "Float64", CATEGORY_L1: "String", CATEGORY_L2: "String",
                    ITEM_GENDER: "String"},
}


class FeatureStoreError(RuntimeError):
    """The store's configuration or its tables cannot be used; the message names the remedy."""


def substitute(text: str, variables: Mapping[str, str], source: str) -> str:
    """Replace every ``${NAME}``; raises FeatureStoreError naming the variables that have no value."""
    missing = sorted({name for name in re.findall(r"\$\{(\w+)\}", text) if name not in variables})
    if missing:
        raise FeatureStoreError(f"{source} needs {', '.join(missing)}: set {'them' if len(missing) > 1 else 'it'} "
                                f"in the environment")
    return re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], text)


def store_config(settings: Settings, *, online_only: bool = False, timeout_ms: int | None = None) -> dict[str, Any]:
    """feature_store.yaml of the configured target as a mapping, with every ${…} replaced.

    ``online_only`` drops the offline store (the serving environment has no DuckDB). ``timeout_ms`` limits each call
    on the online store and switches redis-py's own retries off, which would multiply the limit.
    """
    import yaml

    name = "feature_store.yaml" if settings.target == "local" else f"feature_store.{settings.target}.yaml"
    path = PROJECT_ROOT / "feature_repo" / name
    # comments may speak of ${…} too
    text = re.sub(r"^\s*#.*$", "", path.read_text("utf-8"), flags=re.MULTILINE)
    config = yaml.safe_load(substitute(text, settings.environment(), f"feature_repo/{name}"))
    options = []
    if settings.valkey_tls and "ssl=" not in config["online_store"]["connection_string"]:
        options.append("ssl=true")
    if settings.valkey_password is not None:
        options.append(f"password={settings.valkey_password.get_secret_value()}")
    if timeout_ms is not None:
        seconds = timeout_ms / 1000
        options += [f"socket_timeout={seconds}", f"socket_connect_timeout={seconds}", "retry=null"]
    config["online_store"]["connection_string"] = ",".join([config["online_store"]["connection_string"], *options])
    if online_only:
        config["offline_store"] = {"type": "dask"}
    return config


def open_store(settings: Settings, *, online_only: bool = False, timeout_ms: int | None = None) -> FeatureStore:
    """The configured store; see ``store_config`` for the two options that serving sets.

    Raises FeatureStoreError where ``online_only`` and nothing was applied: Feast itself would write an empty registry.
    """
    from feast import FeatureStore
    from feast.repo_config import RepoConfig

    config = store_config(settings, online_only=online_only, timeout_ms=timeout_ms)
    registry = config["registry"]["path"]
    if "://" not in registry:
        if online_only and not Path(registry).exists():
            raise FeatureStoreError(f"Feast's registry {registry} is missing: materialise feature_store/definitions "
                                    f"first")
        Path(registry).parent.mkdir(parents=True, exist_ok=True)
    return FeatureStore(config=RepoConfig(**config))


def apply_features(store: FeatureStore, settings: Settings | None = None) -> dict[str, list[str]]:
    """Write the definitions into the registry; returns the names of entities, views, push sources and services."""
    from feature_repo.features import define

    definitions = define(settings or get_settings())
    store.apply(list(definitions))
    return {"entities": [definitions.user.name, definitions.item.name],
            "views": [definitions.user_features.name, definitions.user_activity.name, definitions.item_features.name],
            "push_sources": [definitions.user_activity_push.name],
            "services": [definitions.home_page_v1.name]}


def offline_path(settings: Settings, view: str) -> str:
    """Where a view's Parquet lies: ``home/feast/offline/<view>.parquet``, or one folder a Glue table on S3."""
    if settings.feast_offline_uri is None:
        return str(settings.home / "feast" / "offline" / f"{view}.parquet")
    return f"{settings.feast_offline_uri.rstrip('/')}/{view}/{view}.parquet"


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.utc)


def _write_parquet(frame: pl.DataFrame, path: str) -> None:
    """Atomically: a rename locally, a single PUT on S3."""
    if "://" in path:
        frame.write_parquet(path)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    frame.write_parquet(temporary)
    os.replace(temporary, target)


def _read_parquet(path: str) -> pl.DataFrame | None:
    import fsspec
    import polars as pl

    filesystem, inner = fsspec.core.url_to_fs(path)
    return pl.read_parquet(path) if filesystem.exists(inner) else None


def write_offline(settings: Settings, users: pl.DataFrame, items: pl.DataFrame, user_activity: pl.DataFrame,
                  as_of: int) -> dict[str, int]:
    """Add one snapshot to the three offline tables; returns each table's rows.

    users: RAW_USERS, items: RAW_ITEMS (other columns are left out), both as of ``as_of`` (unix seconds);
    user_activity: {user_id, top_category, timestamp}, each row as of its own timestamp. A row replaces the one with the
    same key and time, whatever the order of the calls: days backfilled out of order give equal bytes.
    Raises FeatureStoreError naming a missing column or a key that repeats.
    """
    import polars as pl

    given = {USER_FEATURES: users.with_columns(pl.lit(as_of).alias(TIMESTAMP)),
             ITEM_FEATURES: items.with_columns(pl.lit(as_of).alias(TIMESTAMP)), USER_ACTIVITY: user_activity}
    rows: dict[str, int] = {}
    for view, schema in OFFLINE_SCHEMAS.items():
        frame, key = given[view], next(iter(schema))
        absent = [name for name in (*schema, TIMESTAMP) if name not in frame.columns]
        if absent:
            raise FeatureStoreError(f"{view}: column {', '.join(absent)} is missing; got {frame.columns}")
        if frame.select(key, TIMESTAMP).is_duplicated().any():
            raise FeatureStoreError(f"{view}: {key} repeats at one timestamp; give one row a {key}")
        frame = frame.select(
            *(pl.col(name).cast(getattr(pl, dtype)) for name, dtype in schema.items()),
            # microseconds: DuckDB refuses nanoseconds
            pl.from_epoch(pl.col(TIMESTAMP).cast(pl.Int64), time_unit="s").cast(pl.Datetime("us", "UTC"))
            .alias(EVENT_TIMESTAMP))
        path = offline_path(settings, view)
        existing = _read_parquet(path)
        if existing is not None:
            frame = pl.concat([existing, frame]).unique([key, EVENT_TIMESTAMP], keep="last", maintain_order=True)
        frame = frame.sort(EVENT_TIMESTAMP, key)
        _write_parquet(frame, path)
        rows[view] = frame.height
    return rows


def materialize(settings: Settings, start: int, end: int, *, store: FeatureStore | None = None) -> dict[str, int]:
    """Load the newest offline row of each key within [start, end] (unix seconds) into the online store.

    Returns the number of keys a view. Rows older than what is online are skipped by the store.
    """
    import polars as pl

    store = store or open_store(settings)
    store.materialize(start_date=_utc(start), end_date=_utc(end), feature_views=list(OFFLINE_SCHEMAS))
    counts: dict[str, int] = {}
    for view, schema in OFFLINE_SCHEMAS.items():
        within = pl.col(EVENT_TIMESTAMP).is_between(pl.lit(_utc(start)), pl.lit(_utc(end)), closed="both")
        counts[view] = (pl.scan_parquet(offline_path(settings, view)).filter(within)
                        .select(pl.col(next(iter(schema))).n_unique()).collect().item())
    return counts


def push_top_categories(store: FeatureStore, rows: Sequence[tuple[str, str, float]]) -> None:
    """Push (user_id, top_category, unix seconds with a fraction down to microseconds), online only, in one write."""
    import pandas as pd
    from feast.data_source import PushMode

    if not rows:
        return
    frame = pd.DataFrame({USER_ID: [user for user, _, _ in rows], TOP_CATEGORY: [top for _, top, _ in rows],
                          EVENT_TIMESTAMP: pd.to_datetime([round(at * 1e6) for _, _, at in rows], unit="us", utc=True)})
    store.push(USER_ACTIVITY_PUSH, frame, to=PushMode.ONLINE)


def push_top_category(store: FeatureStore, user_id: str, top_category: str, timestamp: float) -> None:
    """One visitor's live top_category; ignored where a value at or after ``timestamp`` is already online."""
    push_top_categories(store, [(user_id, top_category, timestamp)])
