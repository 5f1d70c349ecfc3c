"""Write a day of Feast's offline tables, and materialise it into the online store."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_assets.columns import OLDER_LOOK_BACK_DAYS, TIMESTAMP
from recsys_assets.files import replacing
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.lib.feature_store.views import (
    EVENT_TIMESTAMP,
    ITEM_FEATURES,
    ITEM_POPULARITY,
    OFFLINE_SCHEMAS,
    USER_ACTIVITY,
    USER_FEATURES,
    FeatureStoreError,
    offline_path,
)
from recsys_assets.local_time import day_of
from recsys_assets.partitions import day_bounds, time_zone
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    import polars as pl
    from feast import FeatureStore

#: Entry of a file's metadata: days of clicks that its rows cover.
_LOOK_BACK = "look_back_days"


def offline_look_back(settings: Settings, day: str) -> int | None:
    """Return the days of clicks that the written clicks of a day cover; None if not written."""
    import fsspec
    import polars as pl

    filesystem, path = fsspec.core.url_to_fs(offline_path(settings, USER_ACTIVITY, day))
    if not filesystem.exists(path):
        return None
    with filesystem.open(path, "rb") as file:
        return int(pl.read_parquet_metadata(file).get(_LOOK_BACK, OLDER_LOOK_BACK_DAYS))


def add_absent_columns(settings: Settings) -> list[str]:
    """Add to older local files the columns that views have got since, as nulls.

    DuckDB takes the columns of all days from the first file. Athena reads an absent column as null,
    so files at an address stay as they are.

    Returns:
        The files that were written again.
    """
    import polars as pl

    changed = []
    for view in OFFLINE_SCHEMAS:
        pattern = offline_path(settings, view)
        if "://" in pattern:
            continue
        types = _types(view)
        for path in sorted(Path(pattern.partition("*")[0]).parent.glob("*/part.parquet")):
            absent = types.keys() - pl.read_parquet_schema(path).keys()
            if absent:
                frame = pl.read_parquet(path, hive_partitioning=False).with_columns(
                    pl.lit(None, types[name]).alias(name) for name in absent
                )
                written = pl.read_parquet_metadata(path).get(_LOOK_BACK, OLDER_LOOK_BACK_DAYS)
                _write_parquet(frame.select(*types, EVENT_TIMESTAMP), str(path), int(written))
                changed.append(str(path))
    return changed


def _types(view: str) -> dict[str, pl.DataType]:
    """Return a view's columns and their types."""
    import polars as pl

    types: dict[str, pl.DataType] = {
        "List(String)": pl.List(pl.String),
        "List(Int64)": pl.List(pl.Int64),
        "String": pl.String(),
        "Float32": pl.Float32(),
        "Float64": pl.Float64(),
    }
    return {name: types[dtype] for name, dtype in OFFLINE_SCHEMAS[view].items()}


def _utc(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, tz=timezone.utc)


def _write_parquet(frame: pl.DataFrame, path: str, look_back_days: int) -> None:
    """Write a Parquet file atomically: by a rename locally, by one PUT on S3."""
    metadata = {_LOOK_BACK: str(look_back_days)}
    if "://" in path:
        frame.write_parquet(path, metadata=metadata)
        return
    with replacing(Path(path)) as temporary:
        frame.write_parquet(temporary, metadata=metadata)


def write_offline(
    settings: Settings,
    users: pl.DataFrame,
    items: pl.DataFrame,
    user_activity: pl.DataFrame,
    item_popularity: pl.DataFrame,
    as_of: int,
) -> dict[str, int]:
    """Write one day of the four offline tables; return each table's rows of that day.

    A day has one file per table, which a second write replaces. Files of other days are neither
    read nor written, so the order in which days are written does not matter.

    Args:
        settings: names the offline store, and the look-back that the clicks cover.
        users: RAW_USERS as of ``as_of``; other columns are ignored.
        items: RAW_ITEMS as of ``as_of``; other columns are ignored.
        user_activity: {user_id, timestamp, recent_categories, recent_items, recent_timestamps}, one
            row per click: the visitor's state right after it. Of a visitor's rows of one second,
            the last one is kept.
        item_popularity: {item_id, item_clicks, timestamp: the day's end}.
        as_of: unix seconds within the local day; every row's ``timestamp`` lies in that day or at
            its end.

    Raises:
        FeatureStoreError: a column is missing, a key repeats at one timestamp, or a timestamp lies
            in another day.
    """
    import polars as pl

    zone = time_zone(settings)
    day = day_of(as_of, zone)
    given = {
        USER_FEATURES: users.with_columns(pl.lit(as_of).alias(TIMESTAMP)),
        USER_ACTIVITY: user_activity,
        ITEM_FEATURES: items.with_columns(pl.lit(as_of).alias(TIMESTAMP)),
        ITEM_POPULARITY: item_popularity,
    }
    # Check all tables before the first is written.
    frames = {view: _offline_rows(frame, view, day, zone) for view, frame in given.items()}
    for view, frame in frames.items():
        _write_parquet(frame, offline_path(settings, view, day), settings.look_back_days)
    return {view: frame.height for view, frame in frames.items()}


def _offline_rows(frame: pl.DataFrame, view: str, day: str, zone: str) -> pl.DataFrame:
    """Return a view's columns and EVENT_TIMESTAMP, ordered by key and time.

    Raises:
        FeatureStoreError: see ``write_offline``.
    """
    import polars as pl

    types = _types(view)
    key = next(iter(types))
    absent = [name for name in (*types, TIMESTAMP) if name not in frame.columns]
    if absent:
        raise FeatureStoreError(
            f"{view}: column {', '.join(absent)} is missing, got {frame.columns}; materialise the "
            f"asset of this table of {day} again"
        )
    start, end = day_bounds(day, zone)
    elsewhere = frame.filter(~pl.col(TIMESTAMP).is_between(start, end))
    if elsewhere.height:
        raise FeatureStoreError(
            f"{view}: {elsewhere.height} rows are not of {day}, for example {key} "
            f"{elsewhere[key][0]!r} at {elsewhere[TIMESTAMP][0]}; give each day its own rows"
        )
    if view == USER_ACTIVITY:
        frame = frame.unique([key, TIMESTAMP], keep="last", maintain_order=True)
    elif frame.select(key, TIMESTAMP).is_duplicated().any():
        raise FeatureStoreError(f"{view}: {key} repeats at one timestamp; give one row per {key}")
    return frame.select(
        *(pl.col(name).cast(dtype) for name, dtype in types.items()),
        # Microseconds: DuckDB refuses nanoseconds. No time zone: Feast would cast such times before
        # it compares them, and DuckDB and Athena could not skip files by their times.
        pl.from_epoch(pl.col(TIMESTAMP).cast(pl.Int64), time_unit="s")
        .cast(pl.Datetime("us"))
        .alias(EVENT_TIMESTAMP),
    ).sort(key, EVENT_TIMESTAMP)


def materialize(
    settings: Settings, start: int, end: int, *, store: FeatureStore | None = None
) -> dict[str, int]:
    """Load each key's newest offline row within [start, end] into the online store.

    The store skips rows that are not newer than the online row. Live pushes and values of later
    days therefore stay.

    Args:
        settings: names the stores.
        start: unix seconds.
        end: unix seconds.
        store: the opened feature store; by default the configured one.

    Returns:
        View → number of keys.
    """
    import polars as pl

    store = store or open_store(settings)
    store.materialize(
        start_date=_utc(start), end_date=_utc(end), feature_views=list(OFFLINE_SCHEMAS)
    )
    counts: dict[str, int] = {}
    first, last = (
        pl.lit(_utc(at).replace(tzinfo=None)).cast(pl.Datetime("us")) for at in (start, end)
    )
    for view, schema in OFFLINE_SCHEMAS.items():
        within = pl.col(EVENT_TIMESTAMP).is_between(first, last, closed="both")
        counts[view] = (
            pl.scan_parquet(offline_path(settings, view))
            .filter(within)
            .select(pl.col(next(iter(schema))).n_unique())
            .collect()
            .item()
        )
    return counts
