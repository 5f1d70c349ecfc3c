from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from recsys_assets.serving.stage import StageFileCorrupt
from recsys_assets.serving.stages.catalogue import UnknownItemIndex
from recsys_assets.serving.stages.item_lookup import FeastItemLookup
from recsys_assets.serving.transforms import Transforms
from recsys_assets_tests.serving import tiny_store
from recsys_assets_tests.serving.tiny_payload import ITEM_IDS, items, transforms

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def shop(tmp_path_factory, valkey_process):
    settings = tiny_store.settings_on(tmp_path_factory.mktemp("home"), valkey_process)
    return SimpleNamespace(settings=settings, store=tiny_store.apply_views(settings))


def open_stage(folder, settings, snapshot=None) -> FeastItemLookup:
    for name, content in {"items.json": snapshot or items(), "item_ids.json": ITEM_IDS,
                          "transforms.json": transforms()}.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    return FeastItemLookup.open(folder, settings, 1)


def ask(stage: FeastItemLookup, *indices: int) -> tuple[list[list[int]], list[list[float]]]:
    found = stage.run({"kept": np.array(indices, dtype=np.int32)})
    for spec in stage.outputs:
        spec.check(found[spec.name])
    return found["item_codes"].tolist(), found["item_numbers"].tolist()


def expected(*rows: dict) -> tuple[list[list[int]], list[list[float]]]:
    codes = Transforms.from_dict(transforms()).item_codes(
        *([row[field] for row in rows] for field in ("category_l1", "category_l2", "item_gender")))
    return codes.tolist(), [[float(np.float32(row["price"])), row["item_clicks"]] for row in rows]


def test_online_values_win_over_the_snapshot_which_fills_the_rest(shop, valkey, tmp_path):
    changed = {"category_l1": "tools", "category_l2": "style-7", "item_gender": "M", "price": 1.5}
    tiny_store.write_online(shop.store, "item_features", "item_id", {"item-01": changed})
    half = {**items()["item-02"], "price": None}
    del half["item_clicks"]
    tiny_store.write_online(shop.store, "item_features", "item_id", {"item-02": half})
    tiny_store.write_online(shop.store, "item_popularity", "item_id", {"item-02": {"item_clicks": 70.0}})
    stage = open_stage(tmp_path, shop.settings)
    assert ask(stage, 5, 4, 3) == expected({**items()["item-02"], "item_clicks": 70.0}, {**items()["item-01"], **changed},
                                           items()["item-00"])
    assert ask(stage) == ([], [])


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
    with pytest.raises(StageFileCorrupt, match=r"items\.json lacks 2 items or one of their .*first 'item-05'"):
        open_stage(tmp_path, shop.settings, snapshot)
