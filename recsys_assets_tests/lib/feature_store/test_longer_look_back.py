"""A longer look-back reaches the rows that are online already, on a real Feast and Valkey."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feature_repo.apply import apply_features
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.feature_store.longer_look_back import ONLINE_LOOK_BACK, extend_online
from recsys_assets.lib.feature_store.offline import offline_look_back
from recsys_assets.lib.feature_store.publish import materialize_online
from recsys_assets.lib.feature_store.recent_clicks import Click, RecentClicks, push_recent_clicks
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.local_time import UTC, day_bounds, day_of
from recsys_assets.settings import VISITOR_DATABASE, Settings
from recsys_assets_tests.support.feast_rows import DAY, materialise, recent_clicks
from recsys_assets_tests.support.small_shop import shop_settings

pytestmark = pytest.mark.services

NOW = int(time.time())
LAST = NOW // DAY * DAY - DAY + 3_600  # of yesterday
OLD, RECENT = Click("toys", "old", LAST - 10 * DAY), Click("books", "recent", LAST)
LIVE = Click("tools", "live", NOW - 60)


@pytest.fixture
def settings(tmp_path: Path, valkey: Any) -> Settings:
    made = shop_settings(tmp_path, valkey)
    apply_features(open_store(made), made)
    return made


def features(settings: Settings, day: str, **histories: list[Click]) -> Artifact:
    """Return ``features/interactions`` of a day with these histories of visitors."""
    activity = [
        {
            "user_id": user[1:],
            "timestamp": clicks[-1].at,
            "recent_categories": [one.category for one in clicks],
            "recent_items": [one.item for one in clicks],
            "recent_timestamps": [one.at for one in clicks],
        }
        for user, clicks in histories.items()
    ]
    store = ArtifactStore(settings.artifacts)
    with store.stage(
        "features/interactions", day, params={"look_back_days": settings.look_back_days}
    ) as staged:
        pl.DataFrame(activity).write_parquet(staged.path / "user_activity.parquet")
        pl.DataFrame(
            {"item_id": ["a"], "item_clicks": [1.0], "timestamp": [day_bounds(day, UTC)[1]]}
        ).write_parquet(staged.path / "item_popularity.parquet")
        return staged.publish()


def test_online_rows_get_the_older_clicks_once(settings: Settings, valkey: Any) -> None:
    materialise(settings, _quiet=[RECENT], _live=[RECENT], _reset=[RECENT])
    push_recent_clicks(
        open_store(settings),
        [
            RecentClicks("live", *zip(RECENT, LIVE, strict=True), LIVE.at + 1e-6),
            RecentClicks("reset", [], [], [], float(NOW), whole=True),
        ],
    )
    longer = settings.model_copy(update={"look_back_days": 30})
    day = day_of(LAST, UTC)
    made = features(longer, day, _quiet=[OLD, RECENT], _live=[OLD, RECENT], _reset=[OLD, RECENT])
    assert extend_online(longer, [made]) == 2
    assert recent_clicks(settings, "quiet") == [OLD, RECENT]
    assert recent_clicks(settings, "live") == [OLD, RECENT, LIVE]
    assert recent_clicks(settings, "reset") == []
    assert valkey.client(VISITOR_DATABASE).get(ONLINE_LOOK_BACK) == b"30"
    assert extend_online(longer, [made]) == 0
    # a shorter one needs nothing: readers leave out older clicks
    assert extend_online(settings.model_copy(update={"look_back_days": 2}), [made]) == 0
    assert valkey.client(VISITOR_DATABASE).get(ONLINE_LOOK_BACK) == b"2"


def test_days_of_another_look_back_are_written_again(settings: Settings) -> None:
    store = ArtifactStore(settings.artifacts)
    with store.stage("raw/users") as staged:
        pl.DataFrame({"user_id": ["u"], "age": [30], "gender": ["F"]}).write_parquet(
            staged.path / "users.parquet"
        )
        users = staged.publish()
    with store.stage("raw/items") as staged:
        pl.DataFrame(
            {
                "item_id": ["a"],
                "price": [2.5],
                "category_l1": ["books"],
                "category_l2": ["novel"],
                "item_gender": ["Any"],
            }
        ).write_parquet(staged.path / "items.parquet")
        items = staged.publish()
    before, last = day_of(LAST - DAY, UTC), day_of(LAST, UTC)
    assert offline_look_back(settings, before) is None

    def publish(own: Settings, clicks: list[Click]) -> None:
        days = [features(own, before, _u=clicks), features(own, last, _other=[RECENT])]
        materialize_online(own, days, users=users, items=items)

    yesterday = Click("books", "b", LAST - DAY)
    publish(settings, [yesterday])
    assert offline_look_back(settings, before) == offline_look_back(settings, last) == 7
    publish(settings.model_copy(update={"look_back_days": 30}), [OLD, yesterday])
    assert offline_look_back(settings, before) == offline_look_back(settings, last) == 30
