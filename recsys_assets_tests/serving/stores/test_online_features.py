"""The direct reader against Feast's own ``get_online_features``, on a real store."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import hiredis
import numpy as np
import pytest
from feast.infra.online_stores.helpers import _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.lib.feature_store.views import FeatureStoreError
from recsys_assets.serving.stages.user_lookup import FEATURES
from recsys_assets.serving.stores.connections import StoreUnavailable
from recsys_assets.serving.stores.online_features import OnlineFeatures
from recsys_assets.settings import FEAST_DATABASE
from recsys_assets_tests.support import tiny_store
from recsys_assets_tests.support.tiny_store import AS_OF

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def shop(tmp_path_factory, valkey_process):
    settings = tiny_store.settings_on(tmp_path_factory.mktemp("home"), valkey_process)
    return SimpleNamespace(settings=settings, store=tiny_store.apply_views(settings))


@pytest.fixture
def features(shop, valkey):
    return OnlineFeatures.open(shop.settings, 2_000)


def feast_says(shop, references, key, ids):
    """The same rows by Feast; a feature that is absent or null has None there."""
    answer = (
        open_store(shop.settings, online_only=True)
        .get_online_features(list(references), {key: list(ids)})
        .to_dict()
    )
    names = [reference.split(":")[1] for reference in references]
    return [
        {name: answer[name][n] for name in names if answer[name][n] is not None}
        for n in range(len(ids))
    ]


def test_as_feast_reads_hundreds_of_visitors(shop, features):
    random = np.random.default_rng(4)
    names = (
        [f"user-{n}" for n in range(120)]
        + [f"ü-{n}|a:b*" for n in range(40)]
        + ["", " ", "\n", "語" * 90, "x" * 3_000]
    )
    tiny_store.write_online(
        shop.store,
        "user_features",
        "user_id",
        {
            name: {
                "age": None if n % 5 == 0 else float(random.normal(40, 20)),
                "gender": None if n % 7 == 0 else "FM"[n % 2],
            }
            for n, name in enumerate(names)
            if n % 11
        },
    )
    tiny_store.write_online(
        shop.store,
        "user_activity",
        "user_id",
        {
            name: {
                "recent_categories": [f"c{k}" for k in range(n % 201)],
                "recent_items": [f"ü|{k}" for k in range(n % 201)],
                "recent_timestamps": [AS_OF - k for k in range(n % 201)],
            }
            for n, name in enumerate(names)
            if n % 3
        },
    )
    ids = [*names, *(f"absent-{n}" for n in range(200)), *names[:9]]
    rows = features.read(FEATURES, "user_id", ids)
    assert rows == feast_says(shop, FEATURES, "user_id", ids)
    assert [features.read(FEATURES, "user_id", [name])[0] for name in ids[::20]] == rows[::20]
    kinds = {(name, type(value)) for row in rows for name, value in row.items()}
    assert kinds == {
        ("age", float),
        ("gender", str),
        ("recent_categories", list),
        ("recent_items", list),
        ("recent_timestamps", list),
    }
    assert {len(row) for row in rows} == {0, 1, 2, 3, 4, 5}


def test_as_feast_reads_items(shop, features):
    tiny_store.write_items(shop.store, 30)
    references = ("item_popularity:item_clicks", "item_features:price", "item_features:category_l1")
    ids = [*tiny_store.ITEM_IDS, "gone"]
    rows = features.read(references, "item_id", ids)
    assert rows == feast_says(shop, references, "item_id", ids) and rows[0] and not rows[-1]
    assert features.read(references, "item_id", []) == []


def arguments(command: bytes) -> list[bytes]:
    """As a server reads them."""
    reader = hiredis.Reader()
    reader.feed(command)
    return reader.gets()


def test_keys_are_those_of_feast(shop, features):
    for entity in ("", "user-1", "ünï", "x" * 5_000, "a\0b"):
        key = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=entity)])
        name, asked, *fields = arguments(features._plan(FEATURES, "user_id").command(entity))
        assert name == b"HMGET" and len(fields) == len(FEATURES)
        assert asked == _redis_key(
            "recsys", key, shop.store.config.entity_key_serialization_version
        )
    assert features.read(FEATURES, "user_id", ["\ud800"]) == [{}]  # no text at all: nobody's id


def test_one_round_trip_for_all(shop, features, valkey):
    tiny_store.write_users(shop.store)
    features.read(FEATURES, "user_id", ["user-1"])
    admin = valkey.client()
    before = admin.info("stats")["total_reads_processed"]
    features.read(FEATURES, "user_id", [f"user-{n}" for n in range(100)])
    assert (
        admin.info("stats")["total_reads_processed"] - before <= 3
    )  # the count itself is asked for beside


def test_what_feast_did_not_write_is_that_entitys_alone(shop, features, valkey):
    tiny_store.write_users(shop.store)
    client = valkey.client(FEAST_DATABASE)
    broken = next(key for key in client.keys("*") if b"user-1" in key)
    client.delete(broken)
    client.rpush(broken, "no hash")
    rows = features.read(FEATURES, "user_id", ["user-0", "user-1", "nobody"])
    assert rows == [{"age": 20.0, "gender": "F"}, None, {}]
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        features.read(FEATURES, "user_id", ["user-1"])


@pytest.mark.parametrize(
    ("references", "key", "error", "message"),
    [
        (("user_features:none",), "user_id", FeatureStoreError, "no feature user_features:none"),
        (("none:age",), "user_id", FeatureStoreError, "no feature none:age"),
        (("user_features:age",), "item_id", FeatureStoreError, "keyed by the text item_id"),
        (("user_features:age", "user_features:age"), "user_id", ValueError, "must differ"),
    ],
)
def test_what_the_registry_does_not_know_is_named(features, references, key, error, message):
    with pytest.raises(error, match=message):
        features.read(references, key, ["u"])


def test_a_dead_store_is_unavailable_and_comes_back(shop, features, valkey):
    tiny_store.write_users(shop.store)
    valkey.kill()
    with pytest.raises(StoreUnavailable):
        features.read(FEATURES, "user_id", ["user-1"])
    with pytest.raises(StoreUnavailable):
        features.versions(["item_features"])
    valkey.start()
    assert features.read(FEATURES, "user_id", ["user-1"]) == [{"age": 29.0, "gender": "M"}]


def test_versions_grow_only_with_rows_that_are_written(shop, features):
    views = ("item_features", "item_popularity", "user_features")
    assert features.versions(views) == (None, None, None)
    tiny_store.write_items(shop.store, 3)
    tiny_store.write_users(shop.store)
    assert features.versions(views) == (b"3", b"3", None)
    tiny_store.write_items(shop.store, 3)  # not newer
    tiny_store.write_online(
        shop.store, "item_popularity", "item_id", {"item-00": {"item_clicks": 1.0}}, AS_OF - 60
    )
    assert features.versions(views) == (b"3", b"3", None)
    tiny_store.write_online(
        shop.store, "item_popularity", "item_id", {"item-00": {"item_clicks": 1.0}}, AS_OF + 60
    )
    assert features.versions(views) == (b"3", b"4", None)


def test_the_length_before_an_id_is_of_its_bytes(features):
    plan = features._plan(FEATURES, "user_id")
    assert (
        arguments(plan.command("ü"))[1]
        == plan.head + struct.pack("<I", 2) + "ü".encode() + b"recsys"
    )


def test_few_values_are_kept_parsed_and_no_list_is(shop, features):
    tiny_store.write_users(shop.store)
    tiny_store.write_clicks(shop.store, "user-1", ("books", "item-01", AS_OF - 60))
    first, second = (features.read(FEATURES, "user_id", ["user-1", "user-0"]) for _ in range(2))
    assert first == second and first[0]["recent_categories"] == ["books"]
    assert first[0]["recent_items"] == ["item-01"]
    assert (
        first[0]["recent_categories"] is not second[0]["recent_categories"]
    )  # whoever changes one changes no other
    assert {29.0, "M", 20.0, "F"} <= set(features._parsed.values())
    for n in range(10_000):
        features._parse(Value(string_val=f"text-{n}").SerializeToString())
    features._parse(Value(string_val="x" * 100).SerializeToString())
    assert len(features._parsed) == 4_096 and max(map(len, features._parsed)) <= 64
    assert features.read(FEATURES, "user_id", ["user-1", "user-0"]) == first
