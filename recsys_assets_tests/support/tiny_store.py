"""The tiny shop's features in a real Feast store on a real Valkey."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import polars as pl
from feast import FeatureStore

from feature_repo import apply
from recsys_assets.lib.feature_store import offline
from recsys_assets.lib.feature_store import store as feature_store
from recsys_assets.settings import Settings
from recsys_assets_tests.support.tiny_payload import ITEM_IDS, TOPK, USERS, items, write_release

AS_OF = 1_760_000_000  # 2025-10-09T08:53:20Z, a Thursday


def settings_on(home: Path, valkey: Any, **values: Any) -> Settings:
    """Settings of a home on the test's Valkey; a time limit that a busy test machine keeps."""
    return Settings(
        home=home, scale="tiny", valkey_port=valkey.port, **{"store_timeout_ms": 500, **values}
    )


def shop(home: Path, valkey: Any) -> SimpleNamespace:
    """settings, store and payload of a shop with views and a release, and nothing online."""
    settings = settings_on(home, valkey, retrieval_topk=30, ranking_topk=TOPK)
    return SimpleNamespace(
        settings=settings,
        store=apply_views(settings),
        payload=write_release(home / "artifacts", settings),
    )


def apply_views(settings: Settings) -> FeatureStore:
    """Registry with the project's own views; nothing is online yet."""
    users = pl.DataFrame([{"user_id": user, **row} for user, row in USERS.items()])
    catalogue = pl.DataFrame([{"item_id": item_id, **row} for item_id, row in items().items()])
    activity = pl.DataFrame(
        {
            "user_id": ["user-0"],
            "recent_categories": [["books"]],
            "recent_items": [["item-01"]],
            "recent_timestamps": [[AS_OF]],
            "timestamp": [AS_OF],
        }
    )
    popularity = catalogue.select("item_id", "item_clicks", pl.lit(AS_OF).alias("timestamp"))
    offline.write_offline(settings, users, catalogue, activity, popularity, AS_OF)
    store = feature_store.open_store(settings)
    apply.apply_features(store, settings)
    return store


def write_online(
    store: FeatureStore,
    view: str,
    key: str,
    rows: Mapping[str, Mapping[str, Any]],
    timestamp: float = AS_OF,
) -> None:
    """Rows by entity id, straight into the online store."""
    frame = pd.DataFrame([{key: entity, **row} for entity, row in rows.items()])
    frame["event_timestamp"] = pd.to_datetime(round(timestamp * 1e6), unit="us", utc=True)
    store.write_to_online_store(view, frame)


def write_users(store: FeatureStore) -> None:
    write_online(store, "user_features", "user_id", USERS)


def write_items(store: FeatureStore, count: int = len(ITEM_IDS)) -> None:
    """The first items of the catalogue, as the snapshot has them."""
    rows = list(items().items())[:count]
    write_online(
        store,
        "item_features",
        "item_id",
        {item: _without(row, "item_clicks") for item, row in rows},
    )
    write_online(
        store,
        "item_popularity",
        "item_id",
        {item: {"item_clicks": row["item_clicks"]} for item, row in rows},
    )


def write_clicks(store: FeatureStore, user_id: str, *clicks: tuple[str, str, int]) -> None:
    """A visitor's recent clicks (category_l1, item_id, unix seconds), oldest first."""
    categories, clicked, timestamps = map(list, zip(*clicks, strict=True))
    row = {
        "recent_categories": categories,
        "recent_items": clicked,
        "recent_timestamps": timestamps,
    }
    write_online(store, "user_activity", "user_id", {user_id: row}, timestamps[-1])


def _without(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}
