from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from recsys_assets.files import FileCorrupt
from recsys_assets.lib.features.transforms import Transforms
from recsys_assets.serving.stages.catalogue import UnknownItemIndex
from recsys_assets.serving.stages.item_lookup import FeastItemLookup
from recsys_assets.settings import FEAST_DATABASE
from recsys_assets_tests.support import stage_runs, tiny_store
from recsys_assets_tests.support.tiny_payload import ITEM_IDS, items, transforms

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def shop(tmp_path_factory, valkey_process):
    settings = tiny_store.settings_on(tmp_path_factory.mktemp("home"), valkey_process)
    return SimpleNamespace(settings=settings, store=tiny_store.apply_views(settings))


def open_stage(folder, settings, snapshot=None) -> FeastItemLookup:
    for name, content in {
        "items.json": snapshot or items(),
        "item_ids.json": ITEM_IDS,
        "transforms.json": transforms(),
    }.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    stage = FeastItemLookup.open(folder, settings, 1)
    _opened.append(stage)
    return stage


_opened: list[FeastItemLookup] = []


@pytest.fixture(autouse=True)
def closed():
    yield
    while _opened:
        _opened.pop().close()


def eventually(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.02)


def ask(stage: FeastItemLookup, *indices: int) -> tuple[list[list[int]], list[list[float]]]:
    found = stage_runs.run(stage, kept=np.array(indices, dtype=np.int32))
    assert found["item_table_version"].tolist() == [stage.table.current.version]
    return found["item_codes"].tolist(), found["item_numbers"].tolist()


def expected(*rows: dict) -> tuple[list[list[int]], list[list[float]]]:
    codes = Transforms.from_dict(transforms()).item_codes(
        *([row[field] for row in rows] for field in ("category_l1", "category_l2", "item_gender"))
    )
    return codes.tolist(), [[float(np.float32(row["price"])), row["item_clicks"]] for row in rows]


def test_online_values_win_over_the_snapshot_which_fills_the_rest(shop, valkey, tmp_path):
    changed = {"category_l1": "tools", "category_l2": "style-7", "item_gender": "M", "price": 1.5}
    tiny_store.write_online(shop.store, "item_features", "item_id", {"item-01": changed})
    half = {**items()["item-02"], "price": None}
    del half["item_clicks"]
    tiny_store.write_online(shop.store, "item_features", "item_id", {"item-02": half})
    tiny_store.write_online(
        shop.store, "item_popularity", "item_id", {"item-02": {"item_clicks": 70.0}}
    )
    stage = open_stage(tmp_path, shop.settings)
    assert ask(stage, 5, 4, 3) == expected(
        {**items()["item-02"], "item_clicks": 70.0},
        {**items()["item-01"], **changed},
        items()["item-00"],
    )
    assert ask(stage) == ([], [])
    assert {name: value for name, (_, value) in stage.gauges().items()} == {
        "recsys_item_table_refreshed_seconds": stage.table.refreshed_at,
        "recsys_item_table_version": 1,
    }
    assert time.time() - 60 < stage.table.refreshed_at <= time.time()


def test_a_price_that_nobody_gave_is_unknown_until_somebody_does(shop, valkey, tmp_path):
    snapshot = items()
    for item_id in ("item-01", "item-02", "item-03"):
        snapshot[item_id]["price"] = None
    online = {name: items()["item-02"][name] for name in ("category_l1", "category_l2")}
    tiny_store.write_online(
        shop.store,
        "item_features",
        "item_id",
        {
            "item-02": {**online, "item_gender": "M", "price": None},
            "item-03": {**online, "item_gender": "M", "price": 1.5},
        },
    )
    stage = open_stage(tmp_path, shop.settings, snapshot)
    prices = stage_runs.run(stage, kept=np.array([4, 5, 6], np.int32))["item_numbers"][:, 0]
    assert np.isnan(prices[:2]).all() and prices[2] == 1.5
    compiled = Transforms.from_dict(transforms())
    assert compiled.price_log_norm(prices)[:2].tolist() == [0.0, 0.0]


def test_a_store_that_is_down_at_start_leaves_the_snapshot(shop, valkey, tmp_path):
    valkey.kill()
    stage = open_stage(tmp_path, shop.settings)
    assert ask(stage, 3, 42) == expected(items()["item-00"], items()["item-39"])


def test_after_the_start_no_store_is_needed(shop, valkey, tmp_path):
    tiny_store.write_items(shop.store)
    stage = open_stage(tmp_path, shop.settings)
    valkey.kill()
    assert ask(stage, *range(3, 43)) == expected(*items().values())


def test_an_index_outside_the_catalogue_is_refused(shop, valkey, tmp_path):
    with pytest.raises(UnknownItemIndex, match="kept holds 2; items have 3 to 42"):
        ask(open_stage(tmp_path, shop.settings), 3, 2)


def test_an_incomplete_snapshot_is_refused_and_the_item_named(shop, valkey, tmp_path):
    snapshot = items()
    del snapshot["item-05"]["price"]
    del snapshot["item-07"]
    with pytest.raises(
        FileCorrupt, match=r"items\.json lacks 2 items or one of their .*first 'item-05'"
    ):
        open_stage(tmp_path, shop.settings, snapshot)


EVERY = range(3, 43)


def test_what_is_written_while_serving_is_served(shop, valkey, tmp_path):
    tiny_store.write_items(shop.store)
    stage = open_stage(tmp_path, shop.settings)
    assert stage.table.current.version == 1
    rows = items()
    for at, price in ((60, 7.25), (120, 8.5)):
        before = stage.table.current
        rows["item-07"]["price"] = price
        tiny_store.write_online(
            shop.store,
            "item_features",
            "item_id",
            {
                "item-07": {
                    name: value for name, value in rows["item-07"].items() if name != "item_clicks"
                }
            },
            tiny_store.AS_OF + at,
        )
        eventually(lambda before=before: stage.table.current.version > before.version)
        assert ask(stage, *EVERY) == expected(*rows.values())
        assert not np.shares_memory(before.numbers, stage.table.current.numbers)
    rows["item-08"]["item_clicks"] = 99.0
    tiny_store.write_online(
        shop.store,
        "item_popularity",
        "item_id",
        {"item-08": {"item_clicks": 99.0}},
        tiny_store.AS_OF + 60,
    )
    eventually(lambda: stage.table.current.version == 4)
    assert ask(stage, *EVERY) == expected(*rows.values())


def test_nothing_new_leaves_the_table_alone_and_is_known_to_be_fresh(shop, valkey, tmp_path):
    tiny_store.write_items(shop.store)
    stage = open_stage(tmp_path, shop.settings)
    table, at = stage.table.current, stage.table.refreshed_at
    tiny_store.write_items(shop.store)  # not newer: no row is written
    eventually(lambda: stage.table.refreshed_at > at + 1)
    assert stage.table.current is table


def test_a_snapshot_is_replaced_when_the_store_comes_back(shop, valkey, tmp_path):
    rows = items()
    rows["item-00"]["price"] = 3.5
    tiny_store.write_online(
        shop.store,
        "item_features",
        "item_id",
        {
            "item-00": {
                name: value for name, value in rows["item-00"].items() if name != "item_clicks"
            }
        },
    )
    valkey.kill()
    stage = open_stage(tmp_path, shop.settings)
    assert ask(stage, *EVERY) == expected(*items().values())
    assert stage.table.refreshed_at == 0 and stage.table.current.version == 1
    valkey.start()
    eventually(lambda: stage.table.refreshed_at > 0)
    assert ask(stage, *EVERY) == expected(*rows.values()) and stage.table.current.version == 2


def test_a_refresh_that_fails_keeps_the_table_and_is_tried_again(shop, valkey, tmp_path):
    tiny_store.write_items(shop.store)
    stage = open_stage(tmp_path, shop.settings)
    table, at = stage.table.current, stage.table.refreshed_at
    admin = valkey.client()
    admin.execute_command("ACL", "SETUSER", "default", "-hmget")  # versions are read, items are not
    try:
        tiny_store.write_online(
            shop.store,
            "item_popularity",
            "item_id",
            {"item-08": {"item_clicks": 99.0}},
            tiny_store.AS_OF + 60,
        )
        time.sleep(2.5)
        assert stage.table.current is table and stage.table.refreshed_at - at < 2.5
    finally:
        admin.execute_command("ACL", "SETUSER", "default", "+@all")
    eventually(lambda: stage.table.current.version == 2)
    assert ask(stage, 11)[1][0][1] == 99.0


def test_an_emptied_store_leaves_the_snapshot(shop, valkey, tmp_path):
    tiny_store.write_online(
        shop.store, "item_popularity", "item_id", {"item-08": {"item_clicks": 99.0}}
    )
    stage = open_stage(tmp_path, shop.settings)
    valkey.client(FEAST_DATABASE).flushdb()
    eventually(lambda: stage.table.current.version == 2)
    assert ask(stage, *EVERY) == expected(*items().values())


def test_values_that_no_model_can_read_are_as_good_as_none(shop, valkey, tmp_path):
    for n, price in enumerate((0.0, -1.0, float("nan"), float("inf"), 1e300)):
        tiny_store.write_online(
            shop.store,
            "item_features",
            "item_id",
            {
                f"item-0{n}": {
                    "category_l1": "tools",
                    "category_l2": "style-0",
                    "item_gender": "M",
                    "price": price,
                }
            },
        )
        tiny_store.write_online(
            shop.store,
            "item_popularity",
            "item_id",
            {f"item-0{n}": {"item_clicks": -abs(price) - 1}},
        )
    codes, numbers = ask(open_stage(tmp_path, shop.settings), *range(3, 8))
    assert numbers == expected(*list(items().values())[:5])[1]
    assert (
        codes
        == expected(
            *[
                {
                    "category_l1": "tools",
                    "category_l2": "style-0",
                    "item_gender": "M",
                    "price": 1,
                    "item_clicks": 0,
                }
            ]
            * 5
        )[0]
    )


def test_an_answer_is_of_one_state_of_the_table(shop, valkey, tmp_path):
    """Price and clicks are written as a pair; a reader beside the refreshes never sees half of
    one.
    """

    def write(n: int) -> None:
        at = tiny_store.AS_OF + n
        tiny_store.write_online(
            shop.store,
            "item_features",
            "item_id",
            {
                i: {
                    "category_l1": "tools",
                    "category_l2": "style-0",
                    "item_gender": "M",
                    "price": float(n),
                }
                for i in ITEM_IDS
            },
            at,
        )
        tiny_store.write_online(
            shop.store,
            "item_popularity",
            "item_id",
            {i: {"item_clicks": float(n)} for i in ITEM_IDS},
            at,
        )

    write(1)
    stage = open_stage(tmp_path, shop.settings)
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            found = stage.run({"kept": np.arange(3, 43, dtype=np.int32)})
            same = all(len(np.unique(column)) == 1 for column in found["item_numbers"].T)
            seen.add((int(found["item_table_version"][0]), same))

    reader = threading.Thread(target=read)
    reader.start()
    write(2)
    eventually(lambda: ask(stage, 3)[1] == [[2.0, 2.0]])
    done.set()
    reader.join()
    versions = sorted(version for version, _ in seen)
    assert (
        (versions[0], True) in seen
        and (versions[-1], True) in seen
        and versions == sorted(set(versions))
    )


def test_closing_ends_the_thread(shop, valkey, tmp_path):
    before = threading.active_count()
    stage = open_stage(tmp_path, shop.settings)
    assert threading.active_count() == before + 1
    stage.close()
    assert threading.active_count() == before
