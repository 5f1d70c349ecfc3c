"""Feast: open the configured store, apply the definitions, write offline tables, materialise, push.

Imported by the platform and by the serving environment; so Feast and Polars are imported where they are used.
Online values never go back in time: the online store skips a row that is not newer than the stored one.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recsys_assets.columns import (
    AGE,
    CATEGORY_L1,
    CATEGORY_L2,
    GENDER,
    ITEM_CLICKS,
    ITEM_GENDER,
    ITEM_ID,
    PRICE,
    RECENT_CATEGORIES,
    RECENT_TIMESTAMPS,
    TIMESTAMP,
    USER_ID,
)
from recsys_assets.lib.feature_store.feast_import import import_without_checks
from recsys_assets.partitions import day_bounds
from recsys_assets.settings import PROJECT_ROOT, Settings, get_settings

if TYPE_CHECKING:
    import polars as pl
    from feast import FeatureStore

USER_FEATURES, USER_ACTIVITY = "user_features", "user_activity"
ITEM_FEATURES, ITEM_POPULARITY = "item_features", "item_popularity"
USER_ACTIVITY_PUSH = "user_activity_push"
HOME_PAGE_V1, HOME_PAGE_V2 = "home_page_v1", "home_page_v2"
EVENT_TIMESTAMP = "event_timestamp"
#: Names the folders that the offline tables are partitioned by, and the partition column of the Glue tables.
DAY = "day"

#: Offline table → its columns and Polars types, the key first.
OFFLINE_SCHEMAS: dict[str, dict[str, str]] = {
    USER_FEATURES: {USER_ID: "String", AGE: "Float32", GENDER: "String"},
    USER_ACTIVITY: {USER_ID: "String", RECENT_CATEGORIES: "List(String)", RECENT_TIMESTAMPS: "List(Int64)"},
    ITEM_FEATURES: {ITEM_ID: "String", PRICE: "Float64", CATEGORY_L1: "String", CATEGORY_L2: "String",
                    ITEM_GENDER: "String"},
    ITEM_POPULARITY: {ITEM_ID: "String", ITEM_CLICKS: "Float32"},
}


class RecentClicks(NamedTuple):
    """A visitor's clicks of the last seven days, oldest first; a row of the view user_activity."""

    user_id: str
    categories: Sequence[str]
    timestamps: Sequence[int]  # unix seconds
    updated_at: float  # unix seconds, with a fraction down to microseconds
    whole: bool = False  # nothing but these counts, whatever is online: the visitor was reset


class FeatureStoreError(RuntimeError):
    """The store's configuration or its tables cannot be used; the message names the remedy."""


def substitute(values: Any, variables: Mapping[str, str], source: str) -> Any:
    """``values`` (parsed YAML) with every ``${NAME}`` of its texts replaced.

    Raises FeatureStoreError naming the variables that have no value.
    """
    text = json.dumps(values)  # one text to search; a value is escaped, so that no password can break out of its place
    missing = sorted({name for name in re.findall(r"\$\{(\w+)\}", text) if name not in variables})
    if missing:
        raise FeatureStoreError(f"{source} needs {', '.join(missing)}: set {'them' if len(missing) > 1 else 'it'} "
                                f"in the environment")
    return json.loads(re.sub(r"\$\{(\w+)\}", lambda match: json.dumps(variables[match[1]])[1:-1], text))


def store_config(settings: Settings, *, online_only: bool = False, timeout_ms: int | None = None) -> dict[str, Any]:
    """feature_store.yaml of the configured target as a mapping, with every ${…} replaced.

    ``online_only`` drops the offline store (the serving environment has no DuckDB). ``timeout_ms`` limits each call
    on the online store and switches redis-py's own retries off, which would multiply the limit.
    """
    import yaml

    name = "feature_store.yaml" if settings.target == "local" else f"feature_store.{settings.target}.yaml"
    path = PROJECT_ROOT / "feature_repo" / name
    config = substitute(yaml.safe_load(path.read_text("utf-8")), settings.environment(), f"feature_repo/{name}")
    options = []
    if settings.valkey_tls and "ssl=" not in config["online_store"]["connection_string"]:
        options.append("ssl=true")
    if settings.valkey_password is not None:
        password = _option(settings.valkey_password.get_secret_value())
        if "password=" not in config["online_store"]["connection_string"]:
            options.append(f"password={password}")
    if timeout_ms is not None:
        seconds = timeout_ms / 1000
        options += [f"socket_timeout={seconds}", f"socket_connect_timeout={seconds}", "retry=null"]
    config["online_store"]["connection_string"] = ",".join([config["online_store"]["connection_string"], *options])
    if online_only:
        config["offline_store"] = {"type": "dask"}
    return config


def _option(password: str) -> str:
    """The password as a value of Feast's connection string; raises FeatureStoreError where Feast would read another."""
    try:
        read = str(json.loads(password))  # as Feast does: 12345 stays what it is, 1e5 and true do not
    except json.JSONDecodeError:
        read = password
    if "," in password or read != password:
        raise FeatureStoreError("RECSYS_VALKEY_PASSWORD holds a comma or reads as JSON, which Feast's connection "
                                "string cannot carry: choose another password")
    return password


def open_store(settings: Settings, *, online_only: bool = False, timeout_ms: int | None = None) -> FeatureStore:
    """The configured store; see ``store_config`` for the two options that serving sets.

    Raises FeatureStoreError where ``online_only`` and nothing was applied: Feast itself would write an empty registry.
    """
    if online_only:
        import_without_checks()
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
    views = (definitions.user_features, definitions.user_activity, definitions.item_features,
             definitions.item_popularity)
    return {"entities": [definitions.user.name, definitions.item.name],
            "views": [view.name for view in views],
            "push_sources": [definitions.user_activity_push.name],
            "services": [definitions.home_page_v1.name, definitions.home_page_v2.name]}


def offline_path(settings: Settings, view: str, day: str = "*") -> str:
    """A view's Parquet file of a day; by default the pattern of all of them, ``…/<view>/day=*/part.parquet``."""
    base = settings.feast_offline_uri or str(settings.home / "feast" / "offline")
    return f"{base.rstrip('/')}/{view}/{DAY}={day}/part.parquet"


def has_offline(settings: Settings, view: str, day: str) -> bool:
    """Whether a view's file of a day is there."""
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(offline_path(settings, view, day))
    return filesystem.exists(path)


def _utc(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, tz=timezone.utc)


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


def write_offline(settings: Settings, users: pl.DataFrame, items: pl.DataFrame, user_activity: pl.DataFrame,
                  item_popularity: pl.DataFrame, as_of: int) -> dict[str, int]:
    """Write one day of the four offline tables; returns each table's rows of that day.

    A day has one file a table, and writing it again replaces it: the tables grow by a file a day, none of the others is
    read or rewritten, and the order in which days are written changes no byte.

    Args:
        users, items: RAW_USERS and RAW_ITEMS (other columns are left out), both as of ``as_of``.
        user_activity: {user_id, timestamp, recent_categories, recent_timestamps}, one row a click: the state right
            after it. Of one visitor's clicks within one second the last row given is the state after all of them.
        item_popularity: {item_id, item_clicks, timestamp: the day's end}.
        as_of: unix seconds within the UTC day; each row's own ``timestamp`` lies in that day, its end included.

    Raises:
        FeatureStoreError: a column is missing, a key repeats at one timestamp, a timestamp lies in another day.
    """
    import polars as pl

    day = _utc(as_of).date().isoformat()
    given = {USER_FEATURES: users.with_columns(pl.lit(as_of).alias(TIMESTAMP)),
             USER_ACTIVITY: user_activity,
             ITEM_FEATURES: items.with_columns(pl.lit(as_of).alias(TIMESTAMP)), ITEM_POPULARITY: item_popularity}
    # all are checked before the first is written
    frames = {view: _offline_rows(frame, view, day) for view, frame in given.items()}
    for view, frame in frames.items():
        _write_parquet(frame, offline_path(settings, view, day))
    return {view: frame.height for view, frame in frames.items()}


def _offline_rows(frame: pl.DataFrame, view: str, day: str) -> pl.DataFrame:
    """A view's columns and EVENT_TIMESTAMP, ordered by key and time."""
    import polars as pl

    types: dict[str, pl.DataType] = {"List(String)": pl.List(pl.String), "List(Int64)": pl.List(pl.Int64), "String": pl.String(),
                                     "Float32": pl.Float32(), "Float64": pl.Float64()}
    schema = OFFLINE_SCHEMAS[view]
    key = next(iter(schema))
    absent = [name for name in (*schema, TIMESTAMP) if name not in frame.columns]
    if absent:
        raise FeatureStoreError(f"{view}: column {', '.join(absent)} is missing; got {frame.columns}")
    start, end = day_bounds(day)
    elsewhere = frame.filter(~pl.col(TIMESTAMP).is_between(start, end))
    if elsewhere.height:
        raise FeatureStoreError(f"{view}: {elsewhere.height} rows are not of {day}, for example {key} "
                                f"{elsewhere[key][0]!r} at {elsewhere[TIMESTAMP][0]}; give each day its own rows")
    if view == USER_ACTIVITY:
        frame = frame.unique([key, TIMESTAMP], keep="last", maintain_order=True)
    elif frame.select(key, TIMESTAMP).is_duplicated().any():
        raise FeatureStoreError(f"{view}: {key} repeats at one timestamp; give one row a {key}")
    return frame.select(
        *(pl.col(name).cast(types[dtype]) for name, dtype in schema.items()),
        # microseconds, for DuckDB refuses nanoseconds; without a zone, for Feast casts a time with one to the zone of
        # the process before it compares, and neither DuckDB nor Athena could skip a day's file by its times
        pl.from_epoch(pl.col(TIMESTAMP).cast(pl.Int64), time_unit="s").cast(pl.Datetime("us")).alias(EVENT_TIMESTAMP),
    ).sort(key, EVENT_TIMESTAMP)


def materialize(settings: Settings, start: int, end: int, *, store: FeatureStore | None = None) -> dict[str, int]:
    """Load the newest offline row of each key within [start, end] (unix seconds) into the online store.

    Returns the number of keys a view. Rows that are not newer than what is online are skipped by the store: live
    pushes stay, and so do the values of later days.
    """
    import polars as pl

    store = store or open_store(settings)
    store.materialize(start_date=_utc(start), end_date=_utc(end), feature_views=list(OFFLINE_SCHEMAS))
    counts: dict[str, int] = {}
    first, last = (pl.lit(_utc(at).replace(tzinfo=None)).cast(pl.Datetime("us")) for at in (start, end))
    for view, schema in OFFLINE_SCHEMAS.items():
        within = pl.col(EVENT_TIMESTAMP).is_between(first, last, closed="both")
        counts[view] = (pl.scan_parquet(offline_path(settings, view)).filter(within)
                        .select(pl.col(next(iter(schema))).n_unique()).collect().item())
    return counts


def read_recent_clicks(store: FeatureStore, user_ids: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """What is online of visitors' clicks, in one read: user id → (category, unix seconds), oldest first.

    Empty where nothing is stored, or lists that do not belong together.

    Raises:
        redis.RedisError: the online store did not answer, or a key holds another type.
        DecodeError, ValueError, OverflowError: a stored value is none that Feast wrote.
    """
    names = [f"{USER_ACTIVITY}:{name}" for name in (RECENT_CATEGORIES, RECENT_TIMESTAMPS)]
    answer = store.get_online_features(names, {USER_ID: list(user_ids)}).to_dict() if user_ids else {USER_ID: []}
    found = {}
    for user_id, categories, timestamps in zip(answer[USER_ID], *(answer.get(name, []) for name in (
            RECENT_CATEGORIES, RECENT_TIMESTAMPS)), strict=True):
        fits = (isinstance(categories, list) and isinstance(timestamps, list) and len(categories) == len(timestamps)
                and all(isinstance(name, str) for name in categories) and all(isinstance(at, int) for at in timestamps))
        found[user_id] = list(zip(categories, timestamps, strict=True)) if fits else []
    return found


def push_recent_clicks(store: FeatureStore, rows: Sequence[RecentClicks]) -> None:
    """Push visitors' live clicks, online only, in one write.

    A row that is not newer (``updated_at``) than what is online for its visitor is ignored.
    """
    import pandas as pd
    from feast.data_source import PushMode

    if not rows:
        return
    frame = pd.DataFrame({USER_ID: [row.user_id for row in rows],
                          RECENT_CATEGORIES: [list(row.categories) for row in rows],
                          RECENT_TIMESTAMPS: [list(row.timestamps) for row in rows],
                          EVENT_TIMESTAMP: pd.to_datetime([round(row.updated_at * 1e6) for row in rows], unit="us",
                                                          utc=True)})
    store.push(USER_ACTIVITY_PUSH, frame, to=PushMode.ONLINE)
