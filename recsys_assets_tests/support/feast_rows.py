"""What a test shop holds of its visitors: in Feast's online store, and in the landing zone."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import redis

from recsys_assets.lib.feature_store import offline
from recsys_assets.lib.feature_store.recent_clicks import Click
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.settings import Settings

DAY = 86_400


def landed(settings: Settings) -> pl.DataFrame:
    files = sorted(Path(settings.landing).glob("interactions/*/*.parquet"))
    return pl.concat(
        [pl.read_parquet(file).with_columns(day=pl.lit(file.parent.name)) for file in files]
    )


def rows(feast: redis.Redis) -> dict[bytes, dict[bytes, bytes]]:
    """What Feast holds of every entity."""
    return {key: feast.hgetall(key) for key in feast.scan_iter(_type="hash")}


def recent_clicks(settings: Settings, user_id: str) -> list[Click] | None:
    """What Feast's online store holds of a visitor, oldest first."""
    names = ("recent_categories", "recent_items", "recent_timestamps")
    answer = (
        open_store(settings, online_only=True)
        .get_online_features(
            [f"user_activity:{name}" for name in names], entity_rows=[{"user_id": user_id}]
        )
        .to_dict()
    )
    lists = [answer[name][0] for name in names]
    return None if lists[0] is None else list(map(Click._make, zip(*lists, strict=True)))


def materialise(settings: Settings, **histories: list[Click]) -> None:
    """Visitors' histories through Feast's offline tables, each as of its last click, into the
    online store.
    """
    at = {user[1:]: clicks[-1].at for user, clicks in histories.items()}
    day = min(at.values()) // DAY * DAY
    assert max(at.values()) < day + DAY, "one day's table"
    activity = pl.DataFrame(
        {
            "user_id": list(at),
            "timestamp": list(at.values()),
            "recent_categories": [
                [one.category for one in clicks] for clicks in histories.values()
            ],
            "recent_items": [[one.item for one in clicks] for clicks in histories.values()],
            "recent_timestamps": [[one.at for one in clicks] for clicks in histories.values()],
        }
    )
    users = pl.DataFrame({"user_id": list(at), "age": [30] * len(at), "gender": ["F"] * len(at)})
    items = pl.DataFrame(
        {
            "item_id": ["a"],
            "price": [2.5],
            "category_l1": ["books"],
            "category_l2": ["novel"],
            "item_gender": ["Any"],
        }
    )
    popularity = pl.DataFrame({"item_id": ["a"], "item_clicks": [3.0], "timestamp": [day + DAY]})
    offline.write_offline(settings, users, items, activity, popularity, day)
    offline.materialize(settings, day, day + DAY)
