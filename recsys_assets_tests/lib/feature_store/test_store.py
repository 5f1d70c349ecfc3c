"""Feast on the real DuckDB and the real Valkey, from both environments that open it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
import redis

from feature_repo import apply
from recsys_assets.lib.feature_store import offline, recent_clicks, views
from recsys_assets.lib.feature_store import store as fs
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.support.small_shop import shop_settings

DAY = 86_400
DAY_1 = 1_790_035_200  # 2026-09-22 UTC
FEATURES = ["user_features:age", "user_features:gender", *recent_clicks.FEATURES]

USERS = pl.DataFrame(
    {"user_id": ["1", "2"], "age": [30, 40], "gender": ["F", "M"]},
    schema_overrides={"age": pl.Int32},
)
ITEMS = pl.DataFrame(
    {
        "item_id": ["a"],
        "price": [2.5],
        "category_l1": ["books"],
        "category_l2": ["novel"],
        "item_gender": ["Any"],
        "name": ["left out"],
    }
)


def activity(timestamp: int, *categories: str) -> pl.DataFrame:
    """Return visitor 1's state after a click at ``timestamp``; clicks are a second apart."""
    times = list(range(timestamp - len(categories) + 1, timestamp + 1))
    return pl.DataFrame(
        {
            "user_id": ["1"],
            "timestamp": [timestamp],
            "recent_categories": [list(categories)],
            "recent_items": [[f"one of {category}" for category in categories]],
            "recent_timestamps": [times],
        }
    )


def popularity(day: int, clicks: float) -> pl.DataFrame:
    return pl.DataFrame({"item_id": ["a"], "item_clicks": [clicks], "timestamp": [day + DAY]})


def write_day(
    settings: Settings, day: int, *categories: str, users: pl.DataFrame = USERS, clicks: float = 3
) -> None:
    offline.write_offline(
        settings, users, ITEMS, activity(day + 100, *categories), popularity(day, clicks), day
    )


def clicks(*pairs: tuple[str, int], at: float, user_id: str = "1") -> recent_clicks.RecentClicks:
    """A row of clicks (category, unix seconds) on one item of each category."""
    return recent_clicks.RecentClicks(
        user_id,
        [category for category, _ in pairs],
        [f"one of {category}" for category, _ in pairs],
        [when for _, when in pairs],
        at,
    )


def online(store: Any, user_id: str = "1") -> dict[str, Any]:
    answer = store.get_online_features(FEATURES, entity_rows=[{"user_id": user_id}]).to_dict()
    return {name: values[0] for name, values in answer.items() if name != "user_id"}


@pytest.fixture
def settings(tmp_path: Path, valkey: Any) -> Settings:
    return shop_settings(tmp_path, valkey)


@pytest.fixture
def store(settings: Settings) -> Any:
    opened = fs.open_store(settings)
    applied = apply.apply_features(opened, settings)  # before any offline table exists
    assert (
        applied["views"]
        == list(views.OFFLINE_SCHEMAS)
        == ["user_features", "user_activity", "item_features", "item_popularity"]
    )
    assert applied["services"] == ["home_page_v1", "home_page_v2"]
    return opened


def test_materialised_values_are_read_online(settings: Settings, store: Any) -> None:
    write_day(settings, DAY_1, "books", "tools")
    assert offline.materialize(settings, DAY_1, DAY_1 + DAY, store=store) == {
        "user_features": 2,
        "user_activity": 1,
        "item_features": 1,
        "item_popularity": 1,
    }
    assert online(store) == {
        "age": 30.0,
        "gender": "F",
        "recent_categories": ["books", "tools"],
        "recent_items": ["one of books", "one of tools"],
        "recent_timestamps": [DAY_1 + 99, DAY_1 + 100],
    }
    assert set(online(store, "nobody").values()) == {None}
    names = ["item_features:price", "item_features:category_l2", "item_popularity:item_clicks"]
    item = store.get_online_features(names, entity_rows=[{"item_id": "a"}]).to_dict()
    assert (item["price"], item["category_l2"], item["item_clicks"]) == ([2.5], ["novel"], [3.0])


def test_a_price_that_nobody_gave_is_null_offline_and_online(
    settings: Settings, store: Any
) -> None:
    catalogue = pl.concat(
        [
            ITEMS.with_columns(item_id=pl.lit(name), price=pl.lit(price, pl.Float64))
            for name, price in (("a", None), ("b", 2.5), ("c", None))
        ]
    )
    days = (("2026-09-22", DAY_1, catalogue), ("2026-09-23", DAY_1 + DAY, catalogue[::2]))
    for name, day, items in days:  # on the second day no item has one
        offline.write_offline(
            settings, USERS, items, activity(day + 100, "books"), popularity(day, 3), day
        )
        offline.materialize(settings, day, day + DAY, store=store)
        asked = items["item_id"].to_list()
        written = pl.read_parquet(views.offline_path(settings, "item_features", name))
        assert dict(written.select("item_id", "price").iter_rows()) == dict(
            items.select("item_id", "price").iter_rows()
        )
        found = store.get_online_features(
            ["item_features:price", "item_features:category_l2"],
            entity_rows=[{"item_id": item} for item in asked],
        ).to_dict()
        assert found["price"] == items["price"].to_list()
        assert found["category_l2"] == ["novel"] * len(asked)


def test_a_service_reads_everything_of_its_version(settings: Settings, store: Any) -> None:
    write_day(settings, DAY_1, "books")
    offline.materialize(settings, DAY_1, DAY_1 + DAY, store=store)
    read = {
        name: set(
            store.get_online_features(
                store.get_feature_service(name), [{"user_id": "1", "item_id": "a"}]
            ).to_dict()
        )
        for name in (views.HOME_PAGE_V1, views.HOME_PAGE_V2)
    }
    assert read[views.HOME_PAGE_V2] - read[views.HOME_PAGE_V1] == {"item_clicks"}
    assert {
        "age",
        "gender",
        "recent_categories",
        "recent_items",
        "recent_timestamps",
        "price",
        "category_l1",
        "category_l2",
        "item_gender",
    } <= read[views.HOME_PAGE_V1]


def test_online_never_goes_back_in_time(settings: Settings, store: Any) -> None:
    older = USERS.with_columns(age=pl.Series([31, 41], dtype=pl.Int32))
    write_day(settings, DAY_1 + DAY, "tools", users=older, clicks=9)
    offline.materialize(settings, DAY_1 + DAY, DAY_1 + 2 * DAY, store=store)
    write_day(settings, DAY_1, "books")  # the earlier day is backfilled afterwards
    offline.materialize(settings, DAY_1, DAY_1 + DAY, store=store)
    assert online(store) == {
        "age": 31.0,
        "gender": "F",
        "recent_categories": ["tools"],
        "recent_items": ["one of tools"],
        "recent_timestamps": [DAY_1 + DAY + 100],
    }
    item = store.get_online_features(["item_popularity:item_clicks"], [{"item_id": "a"}]).to_dict()
    assert item["item_clicks"] == [9]


def test_a_newer_push_stays_whatever_is_materialised(settings: Settings, store: Any) -> None:
    write_day(settings, DAY_1, "books")
    write_day(settings, DAY_1 + DAY, "tools")
    live = DAY_1 + DAY + 200
    recent_clicks.push_recent_clicks(store, [clicks(("toys", live), at=live)])
    recent_clicks.push_recent_clicks(store, [clicks(("older", live - 1), at=live - 1)])
    recent_clicks.push_recent_clicks(store, [clicks(("same moment", live), at=live)])
    for day in (DAY_1 + DAY, DAY_1):
        offline.materialize(settings, day, day + DAY, store=store)
    found = online(store)
    assert (found["recent_categories"], found["recent_timestamps"], found["age"]) == (
        ["toys"],
        [live],
        30.0,
    )
    recent_clicks.push_recent_clicks(
        store, [clicks(("toys", live), ("a microsecond later", live), at=live + 1e-6)]
    )
    assert online(store)["recent_categories"] == ["toys", "a microsecond later"]
    write_day(settings, DAY_1 + 2 * DAY, "next day")
    offline.materialize(settings, DAY_1 + 2 * DAY, DAY_1 + 3 * DAY, store=store)
    assert online(store)["recent_categories"] == ["next day"]
    assert online(store)["recent_items"] == ["one of next day"]


def test_a_push_during_a_materialisation_stays(settings: Settings, store: Any) -> None:
    """A batch of many visitors and a newer click of one of them, in either order."""
    many = [f"v{n}" for n in range(400)]
    pushing = fs.open_store(settings)
    for turn in range(12):
        old = [clicks(("old", turn), at=DAY_1 + 10 * turn, user_id=user) for user in [*many, "1"]]
        batch = threading.Thread(target=recent_clicks.push_recent_clicks, args=(store, old))
        batch.start()
        time.sleep(0.004 * turn)
        recent_clicks.push_recent_clicks(
            pushing, [clicks(("live", turn), at=DAY_1 + 10 * turn + 1)]
        )
        batch.join()
        assert online(store)["recent_categories"] == ["live"] and online(store)[
            "recent_timestamps"
        ] == [turn]
        assert online(store, "v0")["recent_timestamps"] == [turn]


def test_a_stored_time_that_cannot_be_read_is_replaced(store: Any, valkey: Any) -> None:
    recent_clicks.push_recent_clicks(store, [clicks(("toys", 1), at=DAY_1)])
    (key,) = valkey.client(0).keys("*")
    for broken in (b"", b"\x08\xff", b"\xff\xff\xff", b"no time"):
        valkey.client(0).hset(key, "_ts:user_activity", broken)
        recent_clicks.push_recent_clicks(store, [clicks(("books", 2), at=DAY_1 + 0.5)])
        assert online(store)["recent_categories"] == ["books"]
        recent_clicks.push_recent_clicks(store, [clicks(("older", 2), at=DAY_1 + 0.499999)])
        assert online(store)["recent_categories"] == ["books"]


def test_live_visitors_need_not_be_registered(store: Any) -> None:
    recent_clicks.push_recent_clicks(
        store,
        [
            clicks(("toys", DAY_1), at=DAY_1, user_id="guest"),
            clicks(("books", 5), ("tools", 9), at=DAY_1, user_id="other"),
        ],
    )
    assert online(store, "guest") == {
        "age": None,
        "gender": None,
        "recent_categories": ["toys"],
        "recent_items": ["one of toys"],
        "recent_timestamps": [DAY_1],
    }
    assert online(store, "other")["recent_timestamps"] == [5, 9]
    recent_clicks.push_recent_clicks(store, [])


def test_clicks_of_many_visitors_are_read_at_once(
    settings: Settings, store: Any, valkey: Any
) -> None:
    write_day(settings, DAY_1, "books", "tools")
    offline.materialize(
        settings, DAY_1, DAY_1 + DAY, store=store
    )  # visitor 2 is registered, and has no clicks
    recent_clicks.push_recent_clicks(
        store, [clicks(("toys", 5), ("toys", 5), at=DAY_1, user_id="guest")]
    )
    assert recent_clicks.read_recent_clicks(store, ["guest", "1", "nobody", "2"]) == {
        "guest": [("toys", "one of toys", 5)] * 2,
        "1": [("books", "one of books", DAY_1 + 99), ("tools", "one of tools", DAY_1 + 100)],
        "nobody": [],
        "2": [],
    }
    assert recent_clicks.read_recent_clicks(store, []) == {}
    (key,) = (key for key in valkey.client(0).keys("*") if b"guest" in key)
    fields = valkey.client(0).hgetall(key).items()
    items = [name for name, value in fields if b"one of toys" in value]
    categories = [name for name, value in fields if b"toys" in value and name not in items]
    assert len(items) == len(categories) == 1
    # a row that was written before rows had items
    valkey.client(0).hdel(key, *items)
    assert recent_clicks.read_recent_clicks(store, ["guest"]) == {"guest": [("toys", "", 5)] * 2}
    valkey.client(0).hdel(key, *categories)
    assert recent_clicks.read_recent_clicks(store, ["guest"]) == {
        "guest": []
    }  # times without categories do not count


@pytest.mark.parametrize(
    ("categories", "items", "timestamps", "found"),
    [
        (["a", "b"], ["i", "j"], [1, 2], [("a", "i", 1), ("b", "j", 2)]),
        ([], [], [], []),
        (None, None, None, []),
        (["a", "b"], None, [1, 2], [("a", "", 1), ("b", "", 2)]),
        (["a", "b"], ["i"], [1, 2], [("a", "", 1), ("b", "", 2)]),
        (["a", "b"], ["i", "j", "k"], [1, 2], [("a", "", 1), ("b", "", 2)]),
        (["a", "b"], ["i", "j"], [1], []),
        (["a"], ["i"], [1, 2], []),
        (["a", "b"], ["i", "j"], None, []),
        (None, ["i", "j"], [1, 2], []),
        (["a", 2], ["i", "j"], [1, 2], []),
        (["a", "b"], ["i", None], [1, 2], []),
        (["a", "b"], ["i", "j"], [1, 2.0], []),
        ("ab", ["i", "j"], [1, 2], []),
    ],
)
def test_stored_lists_count_only_if_they_fit(
    categories: object, items: object, timestamps: object, found: list[tuple[str, str, int]]
) -> None:
    """Lists of items that do not fit leave the clicks, without their items."""
    assert recent_clicks.stored_clicks(categories, items, timestamps) == found


def offline_bytes(settings: Settings) -> dict[str, bytes]:
    root = settings.home / "feast" / "offline"
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_offline_tables_do_not_depend_on_the_order_of_days(tmp_path: Path) -> None:
    contents = []
    for order in ([0, 1], [1, 0], [0, 1, 0]):
        settings = Settings(home=tmp_path / str(len(contents)))
        for n in order:
            write_day(settings, DAY_1 + n * DAY, f"category {n}", clicks=n)
        contents.append(offline_bytes(settings))
    assert contents[0] == contents[1] == contents[2] and len(contents[0]) == 8
    table = pl.read_parquet(views.offline_path(settings, "user_features"))
    assert table.height == 4 and table.schema["event_timestamp"] == pl.Datetime("us")


def test_another_day_touches_no_file_of_the_days_before(settings: Settings) -> None:
    write_day(settings, DAY_1, "books")
    before = {path: path.stat().st_mtime_ns for path in settings.home.rglob("*.parquet")}
    write_day(settings, DAY_1 + DAY, "tools")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_day_written_again_forgets_what_it_held(settings: Settings) -> None:
    write_day(settings, DAY_1, "books")
    write_day(settings, DAY_1 + DAY, "tools")
    offline.write_offline(
        settings,
        USERS[:1],
        ITEMS,
        activity(DAY_1 + 100, "books").clear(),
        popularity(DAY_1, 0),
        DAY_1,
    )
    assert pl.read_parquet(views.offline_path(settings, "user_features"))[
        "user_id"
    ].sort().to_list() == ["1", "1", "2"]
    assert pl.read_parquet(views.offline_path(settings, "user_activity"))[
        "recent_categories"
    ].to_list() == [["tools"]]


def test_files_that_lack_a_column_of_their_view_get_it(settings: Settings, store: Any) -> None:
    """Days that were written before rows had items are read beside those of today."""
    write_day(settings, DAY_1, "books", users=USERS[:1])
    old = Path(views.offline_path(settings, "user_activity", "2026-09-22"))
    whole = pl.read_parquet(old, hive_partitioning=False)
    whole.drop("recent_items").write_parquet(old)
    write_day(settings, DAY_1 + DAY, "tools")
    before = offline_bytes(settings)
    assert offline.add_absent_columns(settings) == [str(old)]
    after = offline_bytes(settings)
    assert [path for path in before if before[path] != after[path]] == [
        "user_activity/day=2026-09-22/part.parquet"
    ]
    found = pl.read_parquet(old, hive_partitioning=False)
    assert found.schema == whole.schema and found["recent_items"].to_list() == [None]
    assert found.drop("recent_items").equals(whole.drop("recent_items"))
    assert offline.add_absent_columns(settings) == []
    moments = pd.to_datetime([DAY_1 + 101, DAY_1 + DAY + 101], unit="s", utc=True).as_unit("us")
    asked = pd.DataFrame({"user_id": "1", "event_timestamp": moments})
    past = store.get_historical_features(asked, ["user_activity:recent_items"]).to_df()
    first, second = past.sort_values("event_timestamp")["recent_items"]
    assert first is None and list(second) == ["one of tools"]
    offline.materialize(settings, DAY_1, DAY_1 + DAY, store=store)
    assert recent_clicks.read_recent_clicks(store, ["1"]) == {"1": [("books", "", DAY_1 + 100)]}
    offline.materialize(settings, DAY_1 + DAY, DAY_1 + 2 * DAY, store=store)
    assert online(store)["recent_items"] == ["one of tools"]


def test_of_clicks_within_a_second_the_last_state_counts(settings: Settings) -> None:
    states = pl.concat([activity(DAY_1 + 100, "books"), activity(DAY_1 + 100, "books", "tools")])
    offline.write_offline(settings, USERS, ITEMS, states, popularity(DAY_1, 1), DAY_1)
    (row,) = pl.read_parquet(views.offline_path(settings, "user_activity")).to_dicts()
    assert row["recent_categories"] == ["books", "tools"]


PROGRAM_OF_HISTORY = """
import json, pandas as pd
from recsys_assets.lib.feature_store.offline import materialize
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.settings import get_settings
store, settings = open_store(get_settings()), get_settings()
moments = pd.to_datetime([{moments}], unit="s", utc=True).as_unit("us")
asked = pd.DataFrame({{"user_id": ["1"] * 3, "row": [0, 1, 2], "event_timestamp": moments}})
found = store.get_historical_features(asked, ["user_activity:recent_categories"]).to_arrow().sort_by("row")
print(json.dumps([found["recent_categories"].to_pylist(), materialize(settings, {start}, {start} + 86400)]))
"""


@pytest.mark.slow
def test_history_is_point_in_time_in_any_zone(settings: Settings, store: Any) -> None:
    """Feast casts times to the zone of the process before it compares them."""
    write_day(settings, DAY_1, "books")
    write_day(settings, DAY_1 + DAY, "tools")
    program = PROGRAM_OF_HISTORY.format(
        moments=f"{DAY_1 + 99}, {DAY_1 + 101}, {DAY_1 + DAY + 101}", start=DAY_1 + DAY
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **settings.environment(), "TZ": "America/New_York"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, counts = json.loads(done.stdout.splitlines()[-1])
    assert found == [None, ["books"], ["tools"]]
    assert counts == {
        "user_features": 2,
        "user_activity": 1,
        "item_features": 1,
        "item_popularity": 1,
    }
    assert online(store)["recent_categories"] == ["tools"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"users": USERS.drop("gender")}, "user_features: column gender is missing"),
        ({"users": pl.concat([USERS, USERS])}, "user_features: user_id repeats"),
        (
            {"user_activity": activity(DAY_1 + 100, "books").drop("recent_timestamps")},
            "user_activity: column recent_t",
        ),
        (
            {"user_activity": activity(DAY_1 + 100, "books").drop("recent_items")},
            "user_activity: column recent_items is missing",
        ),
        (
            {"user_activity": activity(DAY_1 - 1, "books")},
            "user_activity: 1 rows are not of 2026-09-22, .* at 1790035199",
        ),
        (
            {"item_popularity": popularity(DAY_1 + DAY, 1)},
            "item_popularity: 1 rows are not of 2026-09-22",
        ),
        (
            {"item_popularity": pl.concat([popularity(DAY_1, 1)] * 2)},
            "item_popularity: item_id repeats",
        ),
    ],
)
def test_bad_tables_are_refused_by_name(
    settings: Settings, changes: dict[str, pl.DataFrame], message: str
) -> None:
    given = {
        "users": USERS,
        "items": ITEMS,
        "user_activity": activity(DAY_1 + 100, "books"),
        "item_popularity": popularity(DAY_1, 1),
        **changes,
    }
    with pytest.raises(views.FeatureStoreError, match=message):
        offline.write_offline(settings, **given, as_of=DAY_1)
    assert offline_bytes(settings) == {}  # nothing of a refused day is written


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


@pytest.mark.slow
def test_the_serving_environment_reads_online(settings: Settings, store: Any) -> None:
    if not settings.serving_python.exists():
        pytest.fail(f"{settings.serving_python} is missing: make setup")
    write_day(settings, DAY_1, "books")
    offline.materialize(settings, DAY_1, DAY_1 + DAY, store=store)
    recent_clicks.push_recent_clicks(
        store, [clicks(("toys", DAY_1), ("books", DAY_1 + 9), at=DAY_1 + 9, user_id="2")]
    )
    program = (
        "import json, sys\n"
        "import numpy\n"
        "from recsys_assets.lib.feature_store.recent_clicks import RecentClicks, "
        "push_recent_clicks, read_recent_clicks\n"
        "from recsys_assets.lib.feature_store.store import open_store\n"
        "from recsys_assets.settings import get_settings\n"
        "store = open_store(get_settings(), online_only=True, timeout_ms=2000)\n"
        "push_recent_clicks(store, [RecentClicks('3', ['tools'] * 2, ['t1', 't2'], "
        f"[7, {DAY_1}], {DAY_1})])\n"
        f"rows = [{{'user_id': '2'}}, {{'user_id': '3'}}]\n"
        f"answer = store.get_online_features({FEATURES!r}, entity_rows=rows).to_dict()\n"
        "loaded = [name for name in ('duckdb', 'polars') if name in sys.modules]\n"
        "clicks = read_recent_clicks(store, ['3', '9'])\n"
        "print(json.dumps([answer, loaded, numpy.__version__[:2], clicks]))\n"
    )
    done = subprocess.run(
        [settings.serving_python, "-c", program],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **settings.environment()},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = {
        "user_id": ["2", "3"],
        "age": [40.0, None],
        "gender": ["M", None],
        "recent_categories": [["toys", "books"], ["tools", "tools"]],
        "recent_items": [["one of toys", "one of books"], ["t1", "t2"]],
        "recent_timestamps": [[DAY_1, DAY_1 + 9], [7, DAY_1]],
    }
    assert json.loads(done.stdout) == [
        answer,
        [],
        "1.",
        {"3": [["tools", "t1", 7], ["tools", "t2", DAY_1]], "9": []},
    ]
    assert online(store, "3")["recent_timestamps"] == [7, DAY_1]


def test_the_registry_is_read_whole_while_it_is_written(settings: Settings, store: Any) -> None:
    """A process that starts meanwhile finds every definition: the file is never truncated."""
    registry = store.registry._registry_store
    whole = registry.get_registry_proto()
    done = threading.Event()

    def rewrite() -> None:
        for _ in range(150):
            registry.update_registry_proto(whole)
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    sizes = set()
    while not done.is_set():
        sizes.add(len(registry.get_registry_proto().feature_views))
    writer.join()
    assert sizes == {4}
    assert [path.name for path in (settings.home / "feast").iterdir() if path.is_file()] == [
        "registry.db"
    ]


def test_the_aws_target_is_athena_and_tls() -> None:
    from feast.infra.offline_stores.contrib.athena_offline_store.athena_source import AthenaSource

    from feature_repo.features import define

    settings = Settings(
        target="aws",
        aws_region="eu-central-1",
        feast_registry="s3://b/registry.db",
        athena_staging_uri="s3://b/athena",
        feast_offline_uri="s3://b/offline",
        valkey_host="cache",
        valkey_port=6379,
        valkey_password="p",
    )
    config = fs.store_config(settings, timeout_ms=20)
    assert config["offline_store"] == {
        "type": "athena",
        "region": "eu-central-1",
        "data_source": "AwsDataCatalog",
        "database": "recsys",
        "workgroup": "primary",
        "s3_staging_location": "s3://b/athena",
    }
    assert config["online_store"]["connection_string"] == (
        "cache:6379,db=0,ssl=true,password=p,socket_timeout=0.02,socket_connect_timeout=0.02,retry=null"
    )
    assert views.offline_path(settings, "user_features", "2026-09-22") == (
        "s3://b/offline/user_features/day=2026-09-22/part.parquet"
    )
    sources = [
        view.batch_source
        for view in (define(settings).user_features, define(settings).item_features)
    ]
    assert all(isinstance(source, AthenaSource) for source in sources)
    assert [source.table for source in sources] == ["user_features", "item_features"]
    assert {source.date_partition_column for source in sources} == {"day"}


@pytest.mark.parametrize("password", ["p: #'\"{x}", "12345", "a=b\\"])
def test_a_password_reaches_valkey_as_it_is(password: str) -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore

    settings = Settings(
        target="aws",
        aws_region="r",
        feast_registry="s3://b/r",
        athena_staging_uri="s3://b/a",
        valkey_password=password,
    )
    text = fs.store_config(settings)["online_store"]["connection_string"]
    assert str(RedisOnlineStore._parse_connection_string(text)[1]["password"]) == password


@pytest.mark.parametrize("password", ["a,b", "1e5", "true", '"quoted"'])
def test_a_password_that_feast_would_misread_is_refused(password: str) -> None:
    with pytest.raises(
        views.FeatureStoreError, match="RECSYS_VALKEY_PASSWORD holds a comma or reads as JSON"
    ):
        fs.store_config(Settings(valkey_password=password))


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(
        views.FeatureStoreError,
        match=(
            "RECSYS_ATHENA_STAGING_URI, RECSYS_AWS_REGION, RECSYS_FEAST_REGISTRY, "
            "RECSYS_VALKEY_PASSWORD"
        ),
    ):
        fs.store_config(Settings(target="aws"))
