"""Releases: assembled from real (tiny) artifacts, numbered, and readable by the real stages."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.features.seen import DEFAULT_RULE, SeenRule
from recsys_assets.lib.gates.simple import existing_release
from recsys_assets.lib.release import build, releases
from recsys_assets.lib.release.build import build_fine_tune_release, build_release
from recsys_assets.lib.release.contents import popularity_indices
from recsys_assets.lib.release.numbers import allocate_number
from recsys_assets.lib.release.releases import (
    COMPONENTS,
    ReleaseError,
    list_releases,
    newest_passed,
    open_release,
    read_display,
    read_release,
)
from recsys_assets.lib.release.rung import OLDER
from recsys_assets.lib.retrieval.index import build_index, save_index
from recsys_assets.lib.sources.sources import MostPopular
from recsys_assets.lib.sources.stored import (
    BY_SIMILARITY,
    BY_SOURCES,
    SERVED,
    read_young,
    write_blend,
)
from recsys_assets.serving.stages.registry import STAGES, stage_class
from recsys_assets.serving.triton.ensemble import render_ensemble
from recsys_assets.serving.triton.repository import TEMPLATES
from recsys_assets.settings import Settings
from recsys_assets.source_names import POPULARITY, RETRIEVAL
from recsys_assets_tests.support.seen import publish_rule

DAY = "2026-01-12"
ITEMS = ["i3", "i1", "i2"]  # in the order of their indices
VECTORS = np.array(
    [[1, 0], [0.6, 0.8], [0, 1]], np.float32
)  # the middle one is the others' nearest
PASSED = {
    "passed": True,
    "checks": [{"name": "auc", "value": 0.7, "threshold": 0.6, "passed": True, "blocks": True}],
}
FAILED = {
    "passed": False,
    "checks": [{"name": "auc", "value": 0.5, "threshold": 0.6, "passed": False, "blocks": True}],
}


def artifact(store: ArtifactStore, kind: str, inputs: dict | None = None, **files) -> Artifact:
    with store.stage(
        kind, DAY, inputs=inputs or {}, params={"files": sorted(map(repr, files.items()))}
    ) as staged:
        for name, write in files.items():
            write(staged.path / name.replace("__", "."))
        return staged.publish()


def text(content: str):
    return lambda path: path.write_text(content)


def ranker_files(tag: str):
    return {f"{name}__onnx": text(f"{name} {tag}") for name in ("dlrm", "dlrm_items", "dlrm_lists")}


def tuned_blend(store: ArtifactStore, inputs: dict, young: int) -> Artifact:
    """A blend of the latest popular items, with places for new ones."""
    with store.stage("fine_tune/blend", DAY, inputs=inputs, params={"young": young}) as staged:
        (staged.path / SERVED).mkdir()
        write_blend(
            staged.path / SERVED,
            BY_SOURCES,
            (MostPopular(np.array([2, 0])),),
            {RETRIEVAL: 0.5, POPULARITY: 0.25},
            np.arange(len(ITEMS)) == young,
            new_item_places=10,
        )
        return staged.publish()


class Generation:
    """The artifacts of one full training, three items large."""

    def __init__(
        self, store: ArtifactStore, tag: str = "a", rows: int = 6, look_back_days: int = 7
    ):
        self.store, self.tag = store, tag
        items = pl.DataFrame(
            [
                {
                    columns.ITEM_ID: i,
                    "uuid": f"u{i}",
                    "name": f"Item {i}",
                    "description": "",
                    "category_l1": "c",
                    "category_l2": "s",
                    "price": None if i == "i2" else 9.5,
                    "item_gender": "Any",
                    "promoted": False,
                    "image": "i1.png" if i == "i1" else "",
                }
                for i in sorted(ITEMS)
            ]
        )
        images = pl.DataFrame({"image": ["i1.png"], "content": [b"png"]})
        vocabulary = {columns.ITEM_ID: ITEMS, columns.USER_ID: ["ann", "bob"]}
        transforms = {
            "vocabulary": vocabulary,
            "cardinality": {columns.ITEM_ID: 6, columns.CATEGORY_L1: 4},
            "mean_age": 33.5,
            "look_back_days": look_back_days,
            "tag": tag,
        }
        self.raw_items = artifact(
            store,
            "raw/items",
            items__parquet=items.write_parquet,
            images__parquet=images.write_parquet,
        )
        self.workflows = artifact(
            store,
            "features/workflows",
            {"items": self.raw_items},
            transforms__json=text(json.dumps(transforms)),
        )
        upstream = {"workflows": self.workflows}
        table = np.zeros((rows, 128), np.float32)
        self.aligned = artifact(
            store,
            "embeddings/aligned",
            upstream,
            embedding_table__npy=lambda path: np.save(path, table),
        )
        self.query_tower = artifact(
            store, "retrieval/two_tower", upstream, query_tower__onnx=text(f"tower {tag}")
        )
        self.ranker = artifact(store, "ranking/dlrm", upstream, **ranker_files(f"dlrm {tag}"))
        index = build_index(
            VECTORS, np.arange(columns.VOCABULARY_START, columns.VOCABULARY_START + len(ITEMS))
        )
        self.faiss_index = artifact(
            store,
            "retrieval/faiss_index",
            upstream,
            index__faiss=lambda path: save_index(index, path),
        )

        self.seen_rule = publish_rule(store, DAY)

    def release(self, settings: Settings, **changes) -> Artifact:
        parts = {
            name: getattr(self, name)
            for name in (
                "raw_items",
                "workflows",
                "aligned",
                "faiss_index",
                "query_tower",
                "ranker",
                "seen_rule",
            )
        }
        given = {
            "as_of": DAY,
            "popularity": ["i2", "gone", "i3"],
            "item_clicks": {"i2": 4.0, "gone": 1.0},
            "gate": PASSED,
            **parts,
            **changes,
        }
        return build_release(self.store, settings, **given)

    def tuned(self, tag: str, young: int = 1) -> dict:
        upstream = {"workflows": self.workflows, "origin": self.query_tower}
        return {
            "blend": tuned_blend(self.store, {**upstream, "items": self.raw_items}, young),
            "popularity": ["i3", "i2"],
            "item_clicks": {"i3": 7.0},
            "query_tower": artifact(
                self.store, "fine_tune/query_tower", upstream, query_tower__onnx=text(tag)
            ),
            "ranker": artifact(self.store, "fine_tune/dlrm", upstream, **ranker_files(tag)),
        }


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", ranking_topk=2)


@pytest.fixture
def store(settings):
    return ArtifactStore(settings.artifacts)


def content(release: Artifact, name: str):
    return json.loads(release.path(name).read_text())


def test_a_full_release_holds_everything(store, settings):
    built = Generation(store).release(settings, metrics={"recall_at_100": 0.4})
    release = open_release(store, 1)
    assert (release.number, release.generation, release.kind, release.day) == (1, 1, "full", DAY)
    assert release.versions == dict.fromkeys(COMPONENTS, 1) and release.known_user == "ann"
    assert release.gate == PASSED and built.metrics == {
        "recall_at_100": 0.4,
        "release": 1,
        "rung": OLDER,
        "gate": PASSED,
        "learnt_days": {"query_tower": [], "ranker": [], "sources": []},
    }
    assert content(built, "models/filter_seen_items/popularity.json") == [
        5,
        3,
        4,
    ]  # i2, i3, then i1 that nobody took
    assert content(built, "models/item_id_decoder/item_ids.json") == ITEMS
    assert content(built, "models/softmax_sampling/sampling.json") == {
        "ranking_topk": 2,
        "diversity": "off",
        "temperature": 20.0,
        "mmr_lambda": 0.7,
        "category_cap": 0,
        "retrieval_weight": settings.retrieval_weight,
        "new_item_places": 0,
    }
    files = built.manifest["files"]
    assert (
        files["models/filter_seen_items/index.faiss"] == files["models/faiss_retrieval/index.faiss"]
    )
    assert content(built, "item_ids.json") == ITEMS
    similar = np.load(built.path("similar_items.npy"), allow_pickle=False)
    assert similar.dtype == np.int32 and similar.tolist() == [[4, 5], [5, 3], [4, 3]]
    assert content(built, "models/query_tower/history.json") == {
        "width": 8
    }  # a category and the three rows before it
    assert content(built, "models/feast_user_lookup/user_defaults.json") == {
        "mean_age": 33.5,
        "look_back_days": 7,
    }
    snapshot = content(built, "models/feast_item_lookup/items.json")
    assert snapshot["i1"] == {
        "category_l1": "c",
        "category_l2": "s",
        "item_gender": "Any",
        "price": 9.5,
        "item_clicks": 0.0,
    }
    assert snapshot["i2"]["item_clicks"] == 4.0 and snapshot["i2"]["price"] is None
    display = read_display(release)
    assert set(display) == set(ITEMS) and display["i1"]["title"] == "Item i1"
    assert display["i1"]["image"] == "i1.png" and display["i2"]["image"] is None
    assert display["i1"]["price"] == 9.5 and display["i2"]["price"] is None
    built.verify()


def test_every_model_of_the_repository_gets_the_files_its_stage_declares(store, settings):
    built = Generation(store).release(settings)
    assert set(COMPONENTS) == set(STAGES)
    for model in COMPONENTS:
        prefix = f"models/{model}/"
        files = {
            name.removeprefix(prefix) for name in built.manifest["files"] if name.startswith(prefix)
        }
        assert files == set(stage_class(model).files), model
        assert (TEMPLATES / model / "model.py").is_file() and (
            TEMPLATES / model / "config.pbtxt"
        ).is_file()
    versions = open_release(store, 1).versions
    template = (TEMPLATES / "ensemble_model" / "config.pbtxt").read_text()
    assert render_ensemble(template, versions).count("model_version: 1") == 15


def test_a_fine_tune_keeps_the_generation(store, settings):
    generation = Generation(store)
    full = generation.release(settings)
    first = build_fine_tune_release(
        store, day="2026-01-13", base=full, gate=PASSED, **generation.tuned("one")
    )
    second = build_fine_tune_release(
        store, day="2026-01-14", base=first, gate=None, **generation.tuned("two")
    )
    assert [(r.number, r.kind, r.generation) for r in list_releases(store)] == [
        (1, "full", 1),
        (2, "fine_tune", 1),
        (3, "fine_tune", 1),
    ]
    own = (
        "query_tower",
        "candidate_sources",
        "filter_seen_items",
        "feast_item_lookup",
        "dlrm_ranking",
        "softmax_sampling",
    )
    assert open_release(store, 3).versions == {
        model: 3 if model in own else 1 for model in COMPONENTS
    }
    changed = {
        name
        for name, entry in second.manifest["files"].items()
        if full.manifest["files"].get(name) != entry
    }
    assert changed == {
        "models/candidate_sources/sources.json",
        "models/candidate_sources/popularity.ranked.npy",
        "models/candidate_sources/young.npy",
        "models/filter_seen_items/popularity.json",
        "models/feast_item_lookup/items.json",
        "models/softmax_sampling/sampling.json",
        "models/softmax_sampling/young.npy",
        "models/query_tower/model.onnx",
        "models/dlrm_ranking/items.onnx",
        "models/dlrm_ranking/lists.onnx",
        "ranker.onnx",
        "release.json",
        "display.json",
    }
    assert set(full.manifest["files"]) < set(second.manifest["files"]), "the sources are new"
    places = read_young(second.path("models/softmax_sampling/young.npy"))
    assert places.tolist() == [False, True, False]
    sampling = content(second, "models/softmax_sampling/sampling.json")
    assert sampling == {
        **content(full, "models/softmax_sampling/sampling.json"),
        "retrieval_weight": 1.0,  # the scores of sources are in units of the ranker's logit
        "new_item_places": 10,
    }
    assert content(second, "models/filter_seen_items/popularity.json") == [3, 5, 4]
    clicks = content(second, "models/feast_item_lookup/items.json")
    assert {item: row["item_clicks"] for item, row in clicks.items()} == {
        "i1": 0.0,
        "i2": 0.0,
        "i3": 7.0,
    }
    assert read_display(open_release(store, 3)) == read_display(open_release(store, 1))
    assert newest_passed(store, settings) == 2


def test_the_same_parts_give_the_same_release(store, settings):
    generation = Generation(store)
    first = generation.release(settings)
    assert generation.release(settings).uri == first.uri and store.partitions(
        "serving/release"
    ) == ["000001"]
    assert (
        generation.release(settings, gate=FAILED).partition == "000002"
    )  # another verdict is another release
    assert generation.release(settings, item_clicks={"i2": 5.0}).partition == "000003"
    tuned = generation.tuned("one")
    weighted = generation.release(settings.model_copy(update={"retrieval_weight": 0.5}))
    assert weighted.partition == "000004"
    assert content(weighted, "models/softmax_sampling/sampling.json")["retrieval_weight"] == 0.5
    for number, change in enumerate(
        ({"diversity_mode": "mmr"}, {"mmr_lambda": 0.5}, {"category_cap": 3}), start=5
    ):
        varied = generation.release(settings.model_copy(update=change))
        assert varied.partition == f"{number:06d}"
        [(name, value)] = change.items()
        assert (
            content(varied, "models/softmax_sampling/sampling.json")[name.removesuffix("_mode")]
            == value
        )
    tune = [
        build_fine_tune_release(store, day=DAY, base=first, gate=PASSED, **tuned).partition
        for _ in range(2)
    ]
    assert tune == ["000008", "000008"]


def test_the_seen_rule_is_the_generations(store, settings):
    """Another rule gives another release; a fine-tune keeps the one of its generation."""
    generation = Generation(store)
    first = generation.release(settings)
    rule = SeenRule(("Purchase",), 3)
    other = generation.release(settings, seen_rule=publish_rule(store, "2026-01-13", rule))
    assert other.partition != first.partition
    assert (releases.seen_rule(first), releases.seen_rule(other)) == (DEFAULT_RULE, rule)
    tuned = build_fine_tune_release(
        store, day="2026-01-13", base=other, gate=PASSED, **generation.tuned("one")
    )
    assert releases.seen_rule(tuned) == rule


def test_the_same_parts_after_a_change_of_code_are_another_release(store, settings, monkeypatch):
    generation = Generation(store)
    first = generation.release(settings)
    assert generation.release(settings).uri == first.uri and first.manifest["code"] == build.code()
    monkeypatch.setattr(build.fingerprints, "digest", lambda *modules: f"other code of {modules}")
    second = generation.release(settings)
    assert (first.partition, second.partition) == ("000001", "000002")
    assert (
        second.manifest["code"]
        == f"{releases.CODE_VERSION}-other code of ('recsys_assets.lib.release.build',)"
    )


def test_parts_of_two_generations_are_refused(store, settings):
    old, new = Generation(store, "a"), Generation(store, "b")
    with pytest.raises(
        ReleaseError, match=r"ranking/dlrm \[2026-01-12\] was made from another features/workflows"
    ):
        new.release(settings, ranker=old.ranker)
    full = new.release(settings)
    with pytest.raises(ReleaseError, match="fine_tune/query_tower"):
        build_fine_tune_release(store, day=DAY, base=full, gate=PASSED, **old.tuned("one"))
    assert store.partitions("serving/release") == ["000001"]


def test_a_fine_tune_of_a_generation_of_an_older_form_is_refused(store, settings, monkeypatch):
    generation = Generation(store)
    full = generation.release(settings)
    monkeypatch.setattr(releases, "CODE_VERSION", "a later one")
    with pytest.raises(ReleaseError, match="older version of this code"):
        build_fine_tune_release(store, day=DAY, base=full, gate=PASSED, **generation.tuned("one"))


def test_a_table_of_another_length_is_refused(store, settings):
    with pytest.raises(ReleaseError, match=r"5 rows for 3 items"):
        Generation(store, rows=5).release(settings)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"passed": True, "checks": []}, "no checks"),
        ({**FAILED, "passed": True}, "against its own checks"),
    ],
)
def test_a_verdict_that_contradicts_itself_is_refused(store, settings, gate, message):
    with pytest.raises(ReleaseError, match=message):
        Generation(store).release(settings, gate=gate)


def test_without_a_passed_release_there_is_nothing_to_promote(store, settings):
    with pytest.raises(ReleaseError, match="materialise the full graph"):
        newest_passed(store, settings)
    Generation(store).release(settings, gate=FAILED)
    with pytest.raises(
        ReleaseError, match="no release of the recommender has passed its gate and serves"
    ):
        newest_passed(store, settings)
    assert open_release(store, 1).failed_checks == ["auc = 0.5 (threshold 0.6)"]


def _take(root: str, queue) -> None:
    queue.put([allocate_number(ArtifactStore(root)) for _ in range(20)])


def test_two_writers_never_get_the_same_number(store):
    queue = multiprocessing.get_context("fork").Queue()
    writers = [
        multiprocessing.get_context("fork").Process(target=_take, args=(store.root, queue))
        for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    given = [queue.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join()
    assert sorted(given[0] + given[1]) == list(range(1, 41))
    assert all(numbers == sorted(numbers) for numbers in given)


def test_a_number_taken_between_listing_and_creation_is_skipped(store, monkeypatch):
    """The other writer is faster: its file appears after the listing."""
    create = os.open
    raced = threading.Event()

    def beaten(path, flags, *rest):
        if str(path).endswith("/000001") and not raced.is_set():
            raced.set()
            os.close(create(path, os.O_CREAT | os.O_WRONLY))
        return create(path, flags, *rest)

    monkeypatch.setattr(os, "open", beaten)
    assert allocate_number(store) == 2 and raced.is_set()


def test_popularity_covers_the_catalogue_once():
    assert popularity_indices(["c", "gone", "a", "c"], ["a", "b", "c"]) == [5, 3, 4]


def test_a_remote_store_numbers_too():
    store = ArtifactStore("memory://releases-test")
    try:
        assert [allocate_number(store) for _ in range(3)] == [1, 2, 3]
    finally:
        store.fs.rm("/releases-test", recursive=True)


def test_the_best_release_is_of_the_newest_day_then_of_the_highest_rung(store, settings):
    """A retrain builds the simple release first; the full one of that day wins where it passed."""

    def rung(name):
        return {"name": name, "why": "tried", "next": None}

    simple, full, failed, later = (
        Generation(store, tag).release(settings, **changes)
        for tag, changes in {
            "a": {"rung": rung("item_to_item")},
            "b": {"rung": rung("full")},
            "c": {"rung": rung("full"), "gate": FAILED, "as_of": "2026-01-14"},
            "d": {"rung": rung("popularity"), "as_of": "2026-01-13"},
        }.items()
    )
    kinds = [releases.read_release(one).kind for one in (simple, full, failed, later)]
    assert kinds == ["simple", "full", "full", "simple"]
    assert newest_passed(store, settings) == releases.read_release(later).number
    content = json.loads(later.path("display.json").read_text())
    assert content["rung"] == "popularity"


def test_a_release_has_the_look_back_of_its_features(store, settings):
    """A release that fits the setting is promoted before a newer one that does not."""
    short = Generation(store).release(settings)
    generation = Generation(store, "b", look_back_days=30)
    long = generation.release(settings)
    made = [releases.read_release(one) for one in (short, long)]
    assert [one.look_back_days for one in made] == [7, 30]
    assert content(long, "models/feast_user_lookup/user_defaults.json")["look_back_days"] == 30
    monthly = settings.model_copy(update={"look_back_days": 30})
    assert newest_passed(store, settings) == made[0].number
    assert newest_passed(store, monthly) == made[1].number
    # without any that fits, the promotion says why
    assert newest_passed(store, settings.model_copy(update={"look_back_days": 2})) == 2


def test_a_simple_release_of_another_look_back_is_not_the_same_release(store, settings):
    """The vectors of a rung, and so its artifacts, may be equal."""
    generation = Generation(store)
    with store.stage("ladder/fusion", "d") as staged:
        (staged.path / SERVED).mkdir()
        write_blend(staged.path / SERVED, BY_SIMILARITY, (), {}, np.zeros(3, bool), 20)
        blend = staged.publish()
    rung = {"name": "popularity", "why": "tried", "next": None}
    made = generation.release(settings, rung=rung, blend=blend)
    # a simple rung has no sources, but places for the young items among its candidates
    assert content(made, "models/softmax_sampling/sampling.json")["new_item_places"] == 20
    assert "models/softmax_sampling/young.npy" in made.manifest["files"]
    roles = {
        "rung": "faiss_index",
        "fusion": "blend",
        "models": "query_tower",
        "raw_items": "raw_items",
    }
    parts = {part: store.open(made.manifest["inputs"][role]) for part, role in roles.items()}
    parts["seen_rule"] = store.open(made.manifest["inputs"]["seen_rule"])
    found = existing_release(store, settings, parts)
    assert found is not None and found.uri == made.uri
    assert existing_release(store, settings.model_copy(update={"look_back_days": 2}), parts) is None


def test_warnings_do_not_keep_a_release_back(store, settings):
    warned = {"name": "drift: price", "value": 0.5, "threshold": 0.25, "passed": False}
    gate = {"passed": True, "checks": [*PASSED["checks"], {**warned, "blocks": False}]}
    release = releases.read_release(Generation(store).release(settings, gate=gate))
    assert release.failed_checks == [] and newest_passed(store, settings) == release.number
    assert release.warnings == ["drift: price = 0.5 (threshold 0.25)"]
    with pytest.raises(ReleaseError, match="against its own checks"):
        blocked = {**gate, "checks": [{**warned, "blocks": True}]}
        Generation(store, "b").release(settings, gate=blocked)


def test_a_release_records_the_encoder_of_its_texts(store, settings):
    old = Generation(store)
    assert read_release(old.release(settings)).text_encoder is None
    generation, named = Generation(store, "b"), {"name": "m", "version": "v"}
    with store.stage("embeddings/aligned", inputs={"workflows": generation.workflows}) as staged:
        np.save(staged.path / "embedding_table.npy", np.ones((6, 128), np.float32))
        metrics = {"text_encoder": "m", "text_encoder_version": "v"}
        generation.aligned = staged.publish(metrics)
    full = generation.release(settings)
    assert content(full, "release.json")["text_encoder"] == named
    tuned = build_fine_tune_release(
        store, day="2026-03-21", base=full, gate=PASSED, **generation.tuned("c")
    )
    assert read_release(tuned).text_encoder == named
