"""A release that a fine-tune gave new items: what is new, and what stays to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.release.build import build_fine_tune_release
from recsys_assets.lib.release.grown import GROWN
from recsys_assets.lib.release.releases import (
    COMPONENTS,
    REFRESHED,
    ReleaseError,
    read_display,
    read_release,
)
from recsys_assets.lib.retrieval.index import add_to_index, load_index, save_index
from recsys_assets.settings import Settings
from recsys_assets_tests.lib.release.test_releases import ITEMS as KNOWN
from recsys_assets_tests.lib.release.test_releases import PASSED, Generation, content

DAYS = ("2026-01-13", "2026-01-14", "2026-01-15")
#: Nearest to i4 are i1 (.998), i2 (.79) and i3 (.61).
VECTORS = {"i4": [0.61, 0.79], "i5": [0.0, 0.99]}


@pytest.fixture
def generation(tmp_path: Path) -> Generation:
    return Generation(ArtifactStore(tmp_path / "artifacts"))


@pytest.fixture
def full(generation: Generation, tmp_path: Path) -> Artifact:
    return generation.release(Settings(home=tmp_path, ranking_topk=2))


def added(store: ArtifactStore, before: Artifact, *ids: str) -> Artifact:
    """``fine_tune/items`` that adds items to those of a release."""
    transforms = json.loads(before.path("models/nvt_user_transform/transforms.json").read_text())
    transforms["added_items"] = [*transforms.get("added_items", ()), *ids]
    items = len(KNOWN) + len(transforms["added_items"])
    index = load_index(before.path("models/faiss_retrieval/index.faiss"))
    vectors = np.array([VECTORS[one] for one in ids], np.float32).reshape(-1, 2)
    add_to_index(index, vectors, np.arange(items - len(ids), items) + 3)
    with store.stage("fine_tune/items", DAYS[0], params={"ids": ids}) as staged:
        (staged.path / "transforms.json").write_text(json.dumps(transforms))
        (staged.path / "entered.json").write_text(json.dumps(ids))
        np.save(staged.path / "embedding_table.npy", np.full((3 + items, 128), 2, np.float32))
        save_index(index, staged.path / "index.faiss")
        if ids:
            row = {
                **dict.fromkeys(columns.RAW_ITEMS, ""),
                columns.PRICE: 4.5,
                "promoted": False,
                "category_l1": "toys",
                "image": "new.png",
            }
            rows = [{**row, columns.ITEM_ID: one, "name": f"New {one}"} for one in ids]
            pl.DataFrame(rows).write_parquet(staged.path / "items.parquet")
            # the name of a picture that the release has already
            images = {"image": ["new.png", "i1.png"], "content": [b"new", b"other"]}
            pl.DataFrame(images).write_parquet(staged.path / "images.parquet")
        return staged.publish()


def tuned(
    generation: Generation, base: Artifact, items: Artifact | None, day: str = DAYS[0], **more: list
) -> Artifact:
    parts = {**generation.tuned(day), **more}
    return build_fine_tune_release(
        generation.store, day=day, base=base, gate=PASSED, added=items, **parts
    )


def files(artifact: Artifact, *but: str) -> dict[str, str]:
    found = artifact.manifest["files"].items()
    return {name: entry["sha256"] for name, entry in found if not name.startswith(but or ("?",))}


def test_a_new_item_is_in_every_file_that_names_items(generation, full):
    items = added(generation.store, full, "i4")
    built = tuned(generation, full, items, popularity=["i4", "i3"], item_clicks={"i4": 2.0})
    release = read_release(built)
    ids = [*KNOWN, "i4"]
    for name in ("item_ids.json", "models/item_id_decoder/item_ids.json"):
        assert content(built, name) == ids
    assert content(built, "models/filter_seen_items/popularity.json")[:2] == [
        6,
        ids.index("i3") + 3,
    ]
    snapshot = content(built, "models/feast_item_lookup/items.json")
    assert snapshot["i4"] == {
        "category_l1": "toys",
        "category_l2": "",
        "item_gender": "",
        "price": 4.5,
        "item_clicks": 2.0,
    }
    assert snapshot["i1"]["price"] == 9.5 and snapshot["i1"]["item_clicks"] == 0.0
    shown, before = read_display(release), read_display(read_release(full))
    assert shown.pop("i4")["title"] == "New i4" and shown == before
    images = pl.read_parquet(built.path("images.parquet"))
    assert dict(images.iter_rows()) == {"i1.png": b"png", "new.png": b"new"}
    similar, old = (np.load(one.path("similar_items.npy")) for one in (built, full))
    assert similar[:3].tobytes() == old.tobytes() and similar.shape == (4, 2)
    assert similar[3].tolist() == [KNOWN.index("i1") + 3, KNOWN.index("i2") + 3]
    for model in ("faiss_retrieval", "filter_seen_items"):
        assert load_index(built.path(f"models/{model}/index.faiss")).ntotal == 4
    table = np.load(built.path("models/candidate_sources/embedding_table.npy"))
    assert table.shape == (7, 128)
    changed = {*REFRESHED, *GROWN}
    assert release.versions == {one: 2 if one in changed else 1 for one in COMPONENTS}
    assert {"query_tower", "faiss_retrieval", "item_id_decoder"} <= changed
    assert "feast_user_lookup" not in changed
    built.verify()


def test_without_a_new_item_the_release_is_as_before_there_were_any(generation, full):
    built = tuned(generation, full, None)
    assert read_release(built).versions == {one: 2 if one in REFRESHED else 1 for one in COMPONENTS}
    assert "added_items" not in built.manifest["inputs"]
    for name in ("item_ids.json", "similar_items.npy", "models/faiss_retrieval/index.faiss"):
        assert built.path(name).samefile(full.path(name)), name


def test_several_fine_tunes_in_a_row_add_to_each_other(generation, full):
    store = generation.store
    first = tuned(generation, full, added(store, full, "i4"))
    quiet = tuned(generation, first, added(store, first), DAYS[1])
    # the quiet day publishes no version of what did not change, and has the first one's files
    versions = read_release(quiet).versions
    assert {versions[one] for one in GROWN if one not in REFRESHED} == {2}
    assert {versions[one] for one in REFRESHED} == {3}
    for model in set(GROWN) - set(REFRESHED):
        prefix = f"models/{model}/"
        before, after = (
            {name: one for name, one in files(each).items() if name.startswith(prefix)}
            for each in (first, quiet)
        )
        assert before == after, "as the repository compares a version that is published already"
    assert content(quiet, "item_ids.json") == [*KNOWN, "i4"]
    assert read_display(read_release(quiet)) == read_display(read_release(first))
    third = tuned(generation, quiet, added(store, quiet, "i5"), DAYS[2])
    assert content(third, "item_ids.json") == [*KNOWN, "i4", "i5"]
    similar, old = (np.load(one.path("similar_items.npy")) for one in (third, first))
    assert similar[:4].tobytes() == old.tobytes() and len(similar) == 5
    assert load_index(third.path("models/faiss_retrieval/index.faiss")).ntotal == 5
    assert set(content(third, "models/feast_item_lookup/items.json")) == {*KNOWN, "i4", "i5"}
    assert read_release(third).generation == 1
    # rolled back to the full training, the day starts from its items
    anew = tuned(generation, full, added(store, full, "i5"), DAYS[2])
    assert content(anew, "item_ids.json") == [*KNOWN, "i5"]


def test_items_of_another_champion_are_refused(generation, full):
    store = generation.store
    first = tuned(generation, full, added(store, full, "i4"))
    with pytest.raises(ReleaseError, match=r"adds items to others than those of release 2;"):
        tuned(generation, first, added(store, full, "i5"), DAYS[1])
    with pytest.raises(ReleaseError, match="release 2 has items that earlier fine-tunes added"):
        tuned(generation, first, None, DAYS[1])
