"""New items of a day: vectors by content, indices after the others, and not a bit changed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.features.batch_transform import item_vocabulary, read_transforms
from recsys_assets.lib.features.transforms import Transforms
from recsys_assets.lib.fine_tune import added_items
from recsys_assets.lib.fine_tune.fine_tuning import FineTuneError
from recsys_assets.lib.release.item_parts import ADDED, entered, holds_items, item_parts
from recsys_assets.lib.release.releases import read_release
from recsys_assets.lib.retrieval.index import load_index
from recsys_assets.release_files import INDEX
from recsys_assets.settings import Settings
from recsys_assets_tests.support import embedded_shop, linear_onnx
from recsys_assets_tests.support.bare_releases import write_release
from recsys_assets_tests.support.embedded_shop import Embedded, Trained

KNOWN, ALL = 20, 24
DAYS = ("2026-11-28", "2026-11-29", "2026-11-30")


def added_on(shop: Any, day: str, champion: Artifact, catalogue: pl.DataFrame) -> Artifact:
    """``fine_tune/items`` of a day."""
    store = shop.store
    with store.stage("fine_tune/rows", day, inputs={"champion": champion}) as staged:
        (staged.path / "plan.json").write_text(json.dumps({"champion": champion.digest}))
        rows = staged.publish()
    inputs = {"rows": rows, "items": embedded_shop.publish_items(store, catalogue)}
    with store.stage("fine_tune/items", day, inputs=inputs) as staged:
        figures = added_items.write_added_items(
            store, **inputs, settings=shop.settings, target=staged.path, log=shop.log.append
        )
        return staged.publish({**figures})


def release_of(shop: Any, number: int, day: str, **inputs: Artifact) -> Artifact:
    return write_release(
        shop.store, shop.settings, number, day, kind="fine_tune", generation=1, inputs=inputs
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A generation of 20 items; the catalogue of the day after has 24."""
    settings = Settings(home=tmp_path_factory.mktemp("shop"))
    store = ArtifactStore(settings.artifacts)
    catalogue = embedded_shop.catalogue(ALL, without_picture=(3, 21, 22))
    nothing = {name: pl.lit("") for name in ("name", "description")}
    unknown = {name: pl.lit(c.UNKNOWN_CATEGORY) for name in (c.CATEGORY_L1, c.CATEGORY_L2)}
    # of item 22 nothing but the id and the price is known
    catalogue = pl.concat(
        [catalogue[:22], catalogue[22:23].with_columns(**nothing, **unknown), catalogue[23:]]
    )
    embedded = embedded_shop.embed(
        store, settings, embedded_shop.publish_items(store, catalogue[:KNOWN])
    )
    trained = embedded_shop.train(store, embedded)
    champion = write_release(store, settings, 1, "2026-11-27", inputs=trained.inputs)
    return SimpleNamespace(
        settings=settings,
        store=store,
        catalogue=catalogue,
        embedded=embedded,
        trained=trained,
        champion=champion,
        log=[],
    )


@pytest.fixture(scope="module")
def added(shop: SimpleNamespace) -> Artifact:
    return added_on(shop, DAYS[0], shop.champion, shop.catalogue)


def array(artifact: Artifact, name: str) -> np.ndarray:
    found: np.ndarray = np.load(artifact.path(name), allow_pickle=False)
    return found


def inputs_of(artifact: Artifact) -> dict[str, np.ndarray]:
    with np.load(artifact.path("item_tower_inputs.npz"), allow_pickle=False) as stored:
        return dict(stored)


def test_what_the_champion_has_keeps_index_and_bytes(shop, added):
    trained: Trained = shop.trained
    first = 3 + KNOWN
    table = array(trained.aligned, "embedding_table.npy")
    assert array(added, "embedding_table.npy")[:first].tobytes() == table.tobytes()
    for name in ("item_vectors.npy", "item_index.npy"):
        before, after = array(trained.vectors, name), array(added, name)
        assert len(after) == ALL and after[:KNOWN].tobytes() == before.tobytes()
    before, after = inputs_of(trained.aligned), inputs_of(added)
    assert all(after[name][:KNOWN].tobytes() == before[name].tobytes() for name in before)
    ids = np.arange(3, first)
    kept = (
        load_index(one.path(INDEX)).reconstruct_batch(ids) for one in (trained.faiss_index, added)
    )
    assert next(kept).tobytes() == next(kept).tobytes()
    content, grown = read_transforms(trained.workflows), read_transforms(added)
    assert grown.pop("added_items") == ["i20", "i21", "i22", "i23"] and grown == content
    assert item_vocabulary(added) == shop.catalogue[c.ITEM_ID].to_list()


def test_new_items_have_the_content_that_the_encoders_of_the_generation_give(shop, added):
    """The oracle is the graph's own embedding of the whole catalogue, by the stored PCA."""
    whole: Embedded = embedded_shop.embed(
        shop.store,
        shop.settings,
        embedded_shop.publish_items(shop.store, shop.catalogue),
        shop.embedded,
    )
    table = array(added, "embedding_table.npy")[3 + KNOWN :]
    for part, name in enumerate(("text", "image")):
        expected = array(whole.embeddings, f"{name}.npy")[KNOWN:]
        np.testing.assert_array_equal(table[:, 64 * part : 64 * (part + 1)], expected)
    has_text, has_picture = table[:, :64].any(axis=1), table[:, 64:].any(axis=1)
    assert has_text.tolist() == [True, True, False, True]
    assert has_picture.tolist() == [True, False, False, True]


def test_their_vectors_are_the_frozen_item_towers(shop, added):
    frame, content = shop.catalogue[KNOWN:], read_transforms(shop.trained.workflows)
    compiled = Transforms.from_dict(content)
    codes = compiled.item_codes(*(frame[name] for name in c.ITEM_CATEGORICAL[1:]))
    inputs = {
        # the models do not know the ids: out-of-vocabulary, as an item without clicks
        "cat": np.column_stack([np.full(4, c.OOV_INDEX), codes]),
        "cont": compiled.price_log_norm(frame[c.PRICE].to_numpy())[:, None],
        "embeddings": array(added, "embedding_table.npy")[3 + KNOWN :],
    }
    expected = linear_onnx.answer(shop.trained.tower, inputs)
    found = array(added, "item_vectors.npy")[KNOWN:]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    opened = load_index(added.path(INDEX))
    assert opened.ntotal == ALL
    _, nearest = opened.search(found, 1)
    assert nearest[:, 0].tolist() == [23, 24, 25, 26]


def test_the_figures_name_the_new_items_and_what_they_lack(shop, added):
    name = shop.catalogue["name"][KNOWN]
    figures = added.metrics
    assert {one: figures[one] for one in figures if one != "names"} == {
        "rows": ALL,
        "entered": 4,
        "entered_before": 0,
        "waiting": 0,
        "left": 0,
        "without_text": 1,
        "without_image": 2,
    }
    assert figures["names"][0] == f"i20: {name}" and len(figures["names"]) == 4
    table = added.path("figures/new_items.md").read_text()
    assert table.startswith("4 new items entered.") and "| i22 |" in table
    rows = entered(added)
    assert rows is not None and rows[c.ITEM_ID].to_list() == ["i20", "i21", "i22", "i23"]
    images = pl.read_parquet(added.path("images.parquet"))
    assert sorted(images["image"]) == ["20.png", "23.png"]


def test_a_day_without_a_new_item_copies_nothing(shop):
    added = added_on(shop, DAYS[0], shop.champion, shop.catalogue[:KNOWN])
    assert [*added.manifest["files"]] == ["entered.json"] and not holds_items(added)
    assert added.metrics["entered"] == 0 and added.metrics["names"] == []
    parts = item_parts(shop.store, read_release(shop.champion), added)
    assert parts.workflows.digest == shop.trained.workflows.digest and parts.added is None


def test_later_days_add_to_the_items_of_their_champion(shop, added):
    tuned = release_of(shop, 2, DAYS[0], **{ADDED: added})
    # nothing new: the same files, without a copy
    same = added_on(shop, DAYS[1], tuned, shop.catalogue)
    assert same.metrics["entered"] == 0 and same.metrics["entered_before"] == 4
    for name in ("transforms.json", "embedding_table.npy", "item_vectors.npy", INDEX):
        assert same.path(name).samefile(added.path(name)), name
    assert entered(same) is None
    # one more, while one of the generation's items left: it keeps its index
    more = embedded_shop.catalogue(ALL + 1)[ALL:]
    catalogue = pl.concat([shop.catalogue[1:], more])
    third = added_on(shop, DAYS[2], release_of(shop, 3, DAYS[1], **{ADDED: same}), catalogue)
    figures = third.metrics
    assert (figures["entered"], figures["entered_before"], figures["left"]) == (1, 4, 1)
    assert item_vocabulary(third) == [*shop.catalogue[c.ITEM_ID], "i24"]
    assert read_transforms(third)["added_items"] == ["i20", "i21", "i22", "i23", "i24"]
    before = array(added, "item_vectors.npy")
    assert array(third, "item_vectors.npy")[:ALL].tobytes() == before.tobytes()
    assert load_index(third.path(INDEX)).ntotal == ALL + 1
    # rolled back to the full training, the day starts from its items
    anew = added_on(shop, DAYS[2], shop.champion, catalogue)
    assert anew.metrics["entered"] == 5 and anew.metrics["entered_before"] == 0


def test_items_wait_where_the_generation_has_no_room(shop):
    catalogue = embedded_shop.catalogue(2 * KNOWN + 3, without_picture=tuple(range(43)))
    shop.log.clear()
    added = added_on(shop, DAYS[0], shop.champion, catalogue)
    assert added.metrics["entered"] == KNOWN and added.metrics["waiting"] == 3
    [said] = [line for line in shop.log if line.startswith("warning")]
    assert said == (
        "warning: 3 of 23 new items wait, because release 1 has room for 20; run full_training"
    )
    assert item_vocabulary(added)[-1] == "i39"


def test_hash_buckets_stay_the_models_own(shop, tmp_path: Path):
    """Rows of buckets follow the vocabulary in the models' tables, not in the catalogue's."""
    settings = Settings(home=tmp_path)
    own = SimpleNamespace(settings=settings, store=ArtifactStore(settings.artifacts), log=[])
    items = embedded_shop.publish_items(own.store, shop.catalogue[:KNOWN])
    trained = embedded_shop.train(
        own.store, embedded_shop.embed(own.store, settings, items), buckets=7
    )
    champion = write_release(own.store, settings, 1, "2026-11-27", inputs=trained.inputs)
    assert len(array(trained.aligned, "embedding_table.npy")) == 3 + KNOWN + 7
    added = added_on(own, DAYS[0], champion, shop.catalogue)
    table = array(added, "embedding_table.npy")
    assert len(table) == 3 + ALL and table[3 + KNOWN].any()
    compiled = Transforms.from_dict(read_transforms(added))
    assert compiled.item_index.index("i20") == 3 + KNOWN
    assert 3 + KNOWN <= compiled.vocabulary[c.ITEM_ID].index("i20") < 3 + KNOWN + 7


def test_another_text_encoder_is_refused_by_name(shop, tmp_path: Path):
    settings = Settings(home=tmp_path)
    own = SimpleNamespace(settings=settings, store=ArtifactStore(settings.artifacts), log=[])
    items = embedded_shop.publish_items(own.store, shop.catalogue[:KNOWN])
    recorded = {"text_encoder": "another", "text_encoder_version": "another@1"}
    trained = embedded_shop.train(
        own.store, embedded_shop.embed(own.store, settings, items, recorded=recorded)
    )
    champion = write_release(own.store, settings, 1, "2026-11-27", inputs=trained.inputs)
    with pytest.raises(FineTuneError, match=r"RECSYS_TEXT_ENCODER names .*another.*full_training"):
        added_on(own, DAYS[0], champion, shop.catalogue)
    # a day without a new item needs no encoder
    added_on(own, DAYS[1], champion, shop.catalogue[:KNOWN])


def test_a_price_that_is_none_is_refused_by_name(shop):
    wrong = shop.catalogue.with_columns(
        pl.when(pl.col(c.ITEM_ID) == "i21").then(-1.0).otherwise(pl.col(c.PRICE)).alias(c.PRICE)
    )
    with pytest.raises(ValueError, match=r"price is not a number above 0 .*i21"):
        added_on(shop, DAYS[0], shop.champion, wrong)


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (["a", ""], "item_id '' cannot be an item's id; correct the catalogue"),
        (["a", "-1"], "item_id '-1' cannot be an item's id; correct the catalogue"),
        (["b", "b"], r"item_id must be unique; 1 new ones occur more than once: \['b'\]"),
    ],
)
def test_ids_that_collide_are_refused_by_name(ids, says):
    with pytest.raises(FineTuneError, match=says):
        added_items.new_items(["a"], pl.DataFrame({c.ITEM_ID: ids}))
