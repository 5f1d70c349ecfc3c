from __future__ import annotations

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
from feast.protos.feast.types.Value_pb2 import Value

from recsys_assets.files import FileCorrupt
from recsys_assets.serving.stages.user_lookup import FeastUserLookup
from recsys_assets.serving.stores.online_features import OnlineFeatures
from recsys_assets.settings import FEAST_DATABASE
from recsys_assets_tests.support import stage_runs, tiny_store
from recsys_assets_tests.support.silent_server import SilentServer
from recsys_assets_tests.support.tiny_store import AS_OF

pytestmark = pytest.mark.services
MEAN_AGE = 40.25


@pytest.fixture(scope="module")
def shop(tmp_path_factory, valkey_process):
    settings = tiny_store.settings_on(tmp_path_factory.mktemp("home"), valkey_process)
    return SimpleNamespace(settings=settings, store=tiny_store.apply_views(settings))


@pytest.fixture
def lookup(shop, valkey):
    tiny_store.write_users(shop.store)
    return FeastUserLookup(
        OnlineFeatures.open(shop.settings, shop.settings.store_timeout_ms),
        MEAN_AGE,
        look_back_days=7,
    )


COLD = (
    0.0,
    24.0,
    0.0,
)  # clicks_24h, hours_since_click and clicks_look_back of a visitor without any
DAY = 86_400


def ask(stage: FeastUserLookup, user_id: str, now: int = AS_OF) -> tuple[list[str], float, int]:
    """user_raw, age and user_degraded of a visitor without recent clicks."""
    found = look_up(stage, user_id, now)
    age, *activity = found["user_numbers"][0].tolist()
    assert tuple(activity) == COLD and found["user_history_raw"].tolist() == []
    assert found["user_items_raw"].tolist() == found["user_ages_raw"].tolist() == []
    return found["user_raw"][0].tolist(), age, int(found["user_degraded"][0])


def look_up(stage: FeastUserLookup, user_id: str, now: int) -> dict[str, np.ndarray]:
    return look_up_all(stage, [user_id], [now])


def look_up_all(
    stage: FeastUserLookup, user_ids: list[str], moments: list[int]
) -> dict[str, np.ndarray]:
    return stage_runs.run(
        stage, visitor_id=np.array(user_ids, dtype=object), context_timestamp=np.array(moments)
    )


def history(stage: FeastUserLookup, user_id: str, now: int = AS_OF) -> list[str]:
    return look_up(stage, user_id, now)["user_history_raw"].tolist()


def latest(stage: FeastUserLookup, user_id: str, now: int = AS_OF) -> list[tuple[str, float]]:
    """(item, age in hours) of the clicks that count, oldest first."""
    found = look_up(stage, user_id, now)
    return list(zip(found["user_items_raw"].tolist(), found["user_ages_raw"].tolist(), strict=True))


def ask_all(
    stage: FeastUserLookup, user_id: str, now: int = AS_OF
) -> tuple[list[str], list[float], int]:
    found = look_up(stage, user_id, now)
    return (
        found["user_raw"][0].tolist(),
        found["user_numbers"][0].tolist(),
        int(found["user_degraded"][0]),
    )


def test_known_visitor(lookup):
    assert ask(lookup, "user-1") == (["user-1", "M", "-1"], 29.0, 0)


def test_unknown_visitor_gets_the_defaults_of_training(lookup):
    assert ask(lookup, "nobody") == (["-1", "-1", "-1"], MEAN_AGE, 0)


def test_half_known_visitor_keeps_the_id(lookup, shop):
    tiny_store.write_online(
        shop.store, "user_features", "user_id", {"half": {"age": None, "gender": "F"}}
    )
    assert ask(lookup, "half") == (["half", "F", "-1"], MEAN_AGE, 0)


@pytest.mark.parametrize(
    ("user_id", "known", "age"),
    [("user-1", ["user-1", "M"], 29.0), ("nobody", ["-1", "-1"], MEAN_AGE)],
)
def test_recent_clicks_count_at_the_moment_of_the_request(lookup, shop, user_id, known, age):
    tiny_store.write_clicks(
        shop.store,
        user_id,
        ("books", "b", AS_OF - 7_200),
        ("tools", "t", AS_OF - 3_600),
        ("tools", "u", AS_OF + 10),
    )
    assert ask_all(lookup, user_id, AS_OF + 3_610) == ([*known, "tools"], [age, 3.0, 1.0, 3.0], 0)
    # the click of the very second does not count, nor does a later one: a clock that lags behind
    # the event
    assert ask_all(lookup, user_id, AS_OF + 10) == (
        [*known, "tools"],
        [age, 2.0, float(np.float32(3_610 / 3_600)), 2.0],
        0,
    )
    assert ask_all(lookup, user_id, AS_OF - 3_600) == ([*known, "books"], [age, 1.0, 1.0, 1.0], 0)
    assert ask_all(lookup, user_id, AS_OF + 10 + DAY) == (
        [*known, "tools"],
        [age, 1.0, 24.0, 3.0],
        0,
    )
    assert ask_all(lookup, user_id, AS_OF + 10 + DAY + 1) == (
        [*known, "-1"],
        [age, 0.0, 24.0, 3.0],
        0,
    )
    assert ask_all(lookup, user_id, AS_OF + 11 + 7 * DAY) == ([*known, "-1"], [age, *COLD], 0)


@pytest.mark.parametrize(("look_back_days", "counted"), [(2, []), (30, ["tools", "books"])])
def test_the_history_covers_the_look_back_of_the_release(
    lookup, shop, tmp_path, look_back_days, counted
):
    tiny_store.write_clicks(
        shop.store,
        "user-1",
        ("beauty", "e", AS_OF - 31 * DAY),
        ("tools", "t", AS_OF - 10 * DAY),
        ("books", "b", AS_OF - 3 * DAY),
    )
    (tmp_path / "user_defaults.json").write_text(
        json.dumps({"mean_age": MEAN_AGE, "look_back_days": look_back_days})
    )
    stage = FeastUserLookup.open(tmp_path, shop.settings, 1)
    try:
        assert history(stage, "user-1") == counted
        assert ask_all(stage, "user-1")[1] == [29.0, 0.0, 24.0, float(len(counted))]
    finally:
        stage.close()


def test_the_history_is_of_seven_days_oldest_first(lookup, shop):
    tiny_store.write_clicks(
        shop.store,
        "user-1",
        ("beauty", "e1", AS_OF - 7 * DAY - 1),
        ("books", "b1", AS_OF - 7 * DAY),
        ("tools", "t1", AS_OF - DAY - 1),
        ("books", "ü|b", AS_OF - DAY),
        ("footwear", "f1", AS_OF - 1),
        ("beauty", "e2", AS_OF),
        ("beauty", "e3", AS_OF + 9),
    )
    assert history(lookup, "user-1") == ["books", "tools", "books", "footwear"]
    clicks_24h, _, clicks_look_back = ask_all(lookup, "user-1")[1][1:]
    assert (clicks_24h, clicks_look_back) == (
        2.0,
        4.0,
    )  # the last two of the four are of the 24 hours
    assert history(lookup, "user-1", AS_OF + 1) == ["tools", "books", "footwear", "beauty"]
    assert history(lookup, "nobody") == []
    # the items of the same clicks; ages are as of the request, later clicks are left out
    assert latest(lookup, "user-1") == [
        ("b1", 168.0),
        ("t1", float(np.float32(24 + 1 / 3_600))),
        ("ü|b", 24.0),
        ("f1", float(np.float32(1 / 3_600))),
    ]
    assert latest(lookup, "user-1", AS_OF + 3_600) == [
        ("t1", float(np.float32(25 + 1 / 3_600))),
        ("ü|b", 25.0),
        ("f1", float(np.float32(1 + 1 / 3_600))),
        ("e2", 1.0),
        ("e3", float(np.float32(3_591 / 3_600))),
    ]
    assert latest(lookup, "user-1", AS_OF - 7 * DAY - 1) == latest(lookup, "nobody") == []


def test_of_many_clicks_the_latest_200_count(lookup, shop):
    """150 of yesterday and before, 180 of today: 200 of them are looked at, whatever is stored."""
    old = [("books", f"b{n}", AS_OF - DAY - 150 + n) for n in range(150)]
    tiny_store.write_clicks(
        shop.store, "user-1", *old, *[("tools", f"t{n}", AS_OF - 180 + n) for n in range(180)]
    )
    assert history(lookup, "user-1") == ["books"] * 20 + ["tools"] * 180
    assert [item for item, _ in latest(lookup, "user-1")] == [
        *(f"b{n}" for n in range(130, 150)),
        *(f"t{n}" for n in range(180)),
    ]
    assert ask_all(lookup, "user-1")[1] == [29.0, 180.0, float(np.float32(1 / 3_600)), 200.0]
    many = [("tools", f"t{n}", AS_OF - 250 + n) for n in range(250)]
    tiny_store.write_clicks(shop.store, "user-2", *many)
    assert latest(lookup, "user-2")[0] == ("t50", float(np.float32(200 / 3_600)))
    assert history(lookup, "user-2") == ["tools"] * 200 and ask_all(lookup, "user-2")[1][1] == 200.0


def test_anonymous_visitors_share_nothing(lookup, shop):
    tiny_store.write_clicks(shop.store, "-1", ("tools", "t", AS_OF - 60))
    assert ask(lookup, "-1") == (["-1", "-1", "-1"], MEAN_AGE, 0)


def test_lists_that_do_not_belong_together_are_as_good_as_none(lookup, shop):
    row = {
        "recent_categories": ["tools", "books"],
        "recent_items": ["t", "b"],
        "recent_timestamps": [AS_OF - 60],
    }
    tiny_store.write_online(shop.store, "user_activity", "user_id", {"user-1": row})
    assert ask(lookup, "user-1") == (["user-1", "M", "-1"], 29.0, 0)


@pytest.mark.parametrize("items", [None, [], ["t"]])
def test_clicks_without_their_items_count_by_category(lookup, shop, items):
    """A row that was written before rows had items, and lists that do not belong together."""
    row = {
        "recent_categories": ["tools", "books"],
        "recent_items": items,
        "recent_timestamps": [AS_OF - 7_200, AS_OF - 3_600],
    }
    tiny_store.write_online(shop.store, "user_activity", "user_id", {"user-1": row})
    assert history(lookup, "user-1") == ["tools", "books"]
    assert latest(lookup, "user-1") == [("", 2.0), ("", 1.0)]


@pytest.mark.parametrize("user_id", ["", "a b", "ünï", "user-1\n", "a:b*", "x" * 5_000])
def test_odd_ids_are_just_unknown(lookup, user_id):
    assert ask(lookup, user_id) == (["-1", "-1", "-1"], MEAN_AGE, 0)


def test_a_dead_store_gives_defaults_and_it_recovers_by_itself(lookup, valkey):
    assert ask(lookup, "user-1")[2] == 0
    valkey.kill()
    for _ in range(5):
        assert ask(lookup, "user-1") == (["-1", "-1", "-1"], MEAN_AGE, 1)
    valkey.start()
    deadline = time.monotonic() + 10
    while (answer := ask(lookup, "user-1"))[2] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer == (["user-1", "M", "-1"], 29.0, 0)


def test_a_hanging_store_is_tried_once_a_visitor_and_then_spared(shop):
    """redis-py's own default would try each read four times; the breaker lets three visitors
    try.
    """
    with SilentServer() as server:
        settings = shop.settings.model_copy(update={"valkey_port": server.port})
        stage = FeastUserLookup(
            OnlineFeatures.open(settings, timeout_ms=20), MEAN_AGE, look_back_days=7
        )
        assert [ask(stage, "user-1")[2] for _ in range(6)] == [1] * 6
        assert server.connections == 3


def test_a_value_of_the_wrong_type_degrades_that_visitor_only(lookup, shop, valkey):
    client = valkey.client(FEAST_DATABASE)
    key = next(key for key in client.keys("*") if b"user-1" in key)
    client.delete(key)
    client.set(key, "not a hash")
    assert ask(lookup, "user-1")[2] == 1
    assert ask(lookup, "user-2") == (["user-2", "F", "-1"], 38.0, 0)
    client.delete(key)
    tiny_store.write_users(shop.store)
    field = next(
        name
        for name, value in client.hgetall(key).items()
        if value == Value(string_val="M").SerializeToString()
    )
    client.hset(key, field, b"\xff\xff\xff")
    assert ask(lookup, "user-1")[2] == 1
    # and of several asked at once, none beside
    found = look_up_all(lookup, ["user-2", "user-1", "-1", "user-3"], [AS_OF] * 4)
    assert found["user_degraded"].tolist() == [0, 1, 0, 0]
    assert found["user_raw"][:, 0].tolist() == ["user-2", "-1", "-1", "user-3"]


def test_a_value_of_another_type_than_declared_is_as_good_as_none(lookup, shop, valkey):
    client = valkey.client(FEAST_DATABASE)
    key = next(key for key in client.keys("*") if b"user-1" in key)
    for field, value in client.hgetall(key).items():
        if value == Value(float_val=29.0).SerializeToString():
            client.hset(key, field, Value(string_val="old").SerializeToString())
    assert ask(lookup, "user-1") == (["user-1", "M", "-1"], MEAN_AGE, 0)


def test_the_stage_opens_while_the_store_is_down(shop, valkey, tmp_path):
    (tmp_path / "user_defaults.json").write_text('{"mean_age": 40.25}')
    valkey.kill()
    stage = FeastUserLookup.open(tmp_path, shop.settings, 1)
    assert ask(stage, "user-1")[2] == 1


def test_defaults_without_a_mean_age_are_refused(shop, valkey, tmp_path):
    (tmp_path / "user_defaults.json").write_text('{"age": 40}')
    with pytest.raises(FileCorrupt, match=r"user_defaults.json.*mean_age"):
        FeastUserLookup.open(tmp_path, shop.settings, 1)


def test_many_visitors_are_answered_as_one_by_one_and_read_at_once(lookup, shop, valkey):
    for n in range(4):
        clicks = [
            (("books", "tools")[k % 2], f"i{k}", AS_OF - 40 * DAY // (k + 5))
            for k in range(9 * n + 1)
        ]
        tiny_store.write_clicks(shop.store, f"user-{n}", *clicks)
    tiny_store.write_clicks(shop.store, "cold", ("beauty", "e", AS_OF - 60))
    visitors = ["user-3", "-1", "user-0", "cold", "nobody", "user-3", "user-2", "ünï", "user-1"]
    moments = [AS_OF, AS_OF, AS_OF + 9, AS_OF, AS_OF, AS_OF - DAY, AS_OF + 3 * DAY, AS_OF, AS_OF]
    admin = valkey.client()
    admin.config_resetstat()
    together = look_up_all(lookup, visitors, moments)
    assert (
        admin.info("commandstats")["cmdstat_hmget"]["calls"] == 7
    )  # of distinct visitors, none anonymous
    alone = [look_up(lookup, visitor, now) for visitor, now in zip(visitors, moments, strict=True)]
    for name, found in together.items():
        expected = np.concatenate([one[name] for one in alone])
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert (
            found.tolist() == expected.tolist()
            if found.dtype == object
            else found.tobytes() == expected.tobytes()
        )
    for name in ("user_history_raw", "user_items_raw", "user_ages_raw"):
        assert len(together[name]) == together["user_numbers"][:, 3].sum() > 20
    assert together["user_ages_raw"].min() > 0


def test_an_age_that_is_no_number_is_as_good_as_none(lookup, shop):
    tiny_store.write_online(
        shop.store, "user_features", "user_id", {"odd": {"age": float("inf"), "gender": "F"}}
    )
    assert ask(lookup, "odd") == (["odd", "F", "-1"], MEAN_AGE, 0)
