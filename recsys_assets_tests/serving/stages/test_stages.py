"""Stages that need no store: context, transforms, models, embeddings, unrolling."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recsys_assets.files import FileCorrupt
from recsys_assets.lib.exports.session import open_session
from recsys_assets.lib.features.transforms import Transforms, TransformsInvalid
from recsys_assets.release_files import ITEMS, LISTS
from recsys_assets.serving.stages.catalogue import UnknownItemIndex
from recsys_assets.serving.stages.context import ContextPreprocessor
from recsys_assets.serving.stages.embedding_lookup import MultimodalEmbeddingLookup
from recsys_assets.serving.stages.onnx_models import (
    DlrmRanking,
    KnownItems,
    ModelOutputInvalid,
    QueryTower,
)
from recsys_assets.serving.stages.stage import StageInputInvalid
from recsys_assets.serving.stages.tabular import NvtItemTransform, NvtUserTransform, UnrollFeatures
from recsys_assets.settings import Settings
from recsys_assets_tests.support import tiny_payload
from recsys_assets_tests.support.stage_runs import run


@pytest.fixture(scope="module")
def onnx_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    tiny_payload.write_onnx(folder, Settings())
    (folder / "query_tower" / "history.json").write_text('{"width": 14}')
    return folder


# --- context
@pytest.mark.parametrize(
    ("inputs", "device", "timestamp"),
    [
        ({}, "-1", 1_234),
        ({"device_type": "", "timestamp": -1}, "-1", 1_234),
        ({"device_type": "tablet", "timestamp": 0}, "tablet", 0),
        ({"timestamp": 99}, "-1", 99),
    ],
)
def test_context_defaults(inputs, device, timestamp):
    tensors = {
        name: np.array([value], dtype=object if isinstance(value, str) else np.int64)
        for name, value in {"user_id": "u", **inputs}.items()
    }
    found = run(ContextPreprocessor(clock=lambda: 1_234.9), **tensors)
    assert found["context_device"].tolist() == [device] and found["context_timestamp"].tolist() == [
        timestamp
    ]
    assert (
        found["visitor_id"].tolist(),
        found["context_top_k"].tolist(),
        found["context_seed"].tolist(),
    ) == (["u"], [-1], [-1])


def test_context_of_several_visitors():
    found = run(
        ContextPreprocessor(clock=lambda: 7),
        user_id=np.array(["a", "b", "c"], object),
        device_type=np.array(["mobile", "", "tablet"], object),
        timestamp=np.array([-1, 5, 6]),
        top_k=np.array([1, -1, 3], np.int32),
        seed=np.array([0, -1, 9]),
    )
    assert {name: values.tolist() for name, values in found.items()} == {
        "visitor_id": ["a", "b", "c"],
        "context_device": ["mobile", "-1", "tablet"],
        "context_timestamp": [7, 5, 6],
        "context_top_k": [1, -1, 3],
        "context_seed": [0, -1, 9],
    }


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"timestamp": np.array([-2])}, "timestamp must be unix seconds"),
        ({"top_k": np.array([0], np.int32)}, "top_k must be a number of items"),
        ({"seed": np.array([-7])}, "seed must be ≥ 0"),
        (
            {"device_type": np.array(["mobile", "tablet"], object)},
            "device_type must be absent or as many as user_id, got 2 for 1",
        ),
        ({"user_id": np.zeros(0, object)}, "user_id must hold 1 to 256 visitors, got 0"),
        (
            {"user_id": np.array(["u"] * 257, object)},
            "user_id must hold 1 to 256 visitors, got 257",
        ),
    ],
)
def test_a_senseless_request_is_refused_and_the_tensor_named(given, fault):
    with pytest.raises(StageInputInvalid, match=fault):
        run(ContextPreprocessor(), **{"user_id": np.array(["u"], object), **given})


# --- learned models
def test_query_tower_packs_its_inputs_and_names_its_version(onnx_files):
    stage = QueryTower.open(onnx_files / "query_tower", Settings(), version=7)
    history = np.arange(14, dtype=np.float32)
    found = run(stage, **visitor(history))
    row = np.array([3, 4, 5, 6, 4, 0.5, 0.7, 0.2, 0.1, 0, 1, 0.6, 0.8, *history], np.float32)
    product = row @ tiny_payload.weights()["query_tower"]
    np.testing.assert_allclose(
        found["query_embedding"], [product / np.linalg.norm(product)], atol=1e-6
    )
    assert found["query_release"].tolist() == [7]


def visitor(history: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "user_cat": np.array([[3, 4, 5, 6]], np.int32),
        "user_cont": np.array([[0.5, 0.7, 0.2, 0.1]], np.float32),
        "user_history": history[None],
        "user_items": np.zeros((1, 50), np.int32),
        "user_ages": np.zeros((1, 50), np.float32),
        "context_cat": np.array([[4]], np.int32),
        "context_cont": np.array([[0, 1, 0.6, 0.8]], np.float32),
    }


def together(*given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Several visitors' tensors as one batch."""
    return {name: np.concatenate([one[name] for one in given]) for name in given[0]}


def test_visitors_of_a_batch_get_their_own_embeddings_to_the_bit(onnx_files):
    stage, random = (
        QueryTower.open(onnx_files / "query_tower", Settings(), version=7),
        np.random.default_rng(3),
    )
    given = [visitor(random.random(14).astype(np.float32)) for _ in range(33)]
    found = run(stage, **together(*given))["query_embedding"]
    assert found.tobytes() == b"".join(
        run(stage, **one)["query_embedding"].tobytes() for one in given
    )


def test_a_history_of_another_generation_is_refused(onnx_files):
    stage = QueryTower.open(onnx_files / "query_tower", Settings(), version=7)
    with pytest.raises(
        StageInputInvalid,
        match=r"user_history must be FP32\[B, 14\], got \[1, 16\]; nvt_user_transform and",
    ):
        run(stage, **visitor(np.zeros(16, np.float32)))


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"width": 16},
            r"model\.onnx takes a history of 14 counts, but the transforms give 16; train",
        ),
        ({"width": 15}, r"history\.json needs an even width"),
        ({"width": "14"}, "even width"),
        ({}, "even width"),
        ([14], "even width"),
    ],
)
def test_a_tower_for_other_transforms_is_refused_at_load(onnx_files, tmp_path, given, fault):
    (tmp_path / "model.onnx").write_bytes((onnx_files / "query_tower" / "model.onnx").read_bytes())
    (tmp_path / "history.json").write_text(json.dumps(given))
    with pytest.raises(FileCorrupt, match=fault):
        QueryTower.open(tmp_path, Settings(), version=1)


def ranker_inputs(count: int, visitors: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    table = random.normal(size=(40, 128)).astype(np.float32)
    items = random.integers(0, 40, (count, 4)).astype(np.int32)
    return {
        "visitor_cat": random.integers(0, 40, (visitors, 5)).astype(np.int32),
        "visitor_cont": random.normal(size=(visitors, 8)).astype(np.float32),
        "kept": items[:, 0],
        "item_cat": items,
        "candidate_cont": random.normal(size=(count, 6)).astype(np.float32),
        "item_embeddings": table[items[:, 0]],
    }


def test_each_visitors_candidates_score_as_alone_to_the_bit(onnx_files):
    stage, counts = (
        DlrmRanking.open(onnx_files / "dlrm_ranking", Settings(), version=8),
        np.array([5, 0, 300, 1, 17], np.int32),
    )
    inputs = ranker_inputs(int(counts.sum()), len(counts))
    found, ends = run(stage, **inputs, kept_counts=counts)["scores"], np.cumsum(counts)
    for row, (end, count) in enumerate(zip(ends, counts, strict=True)):
        own = {
            name: value[row : row + 1] if name.startswith("visitor") else value[end - count : end]
            for name, value in inputs.items()
        }
        alone = run(stage, **own, kept_counts=np.array([count], np.int32))
        assert alone["scores"].tobytes() == found[end - count : end].tobytes()


@pytest.mark.parametrize(
    ("counts", "fault"),
    [
        ([2, 2], "must add up to 3"),
        ([4, -1], "must add up to 3"),
        ([3], "must have one count for each of 2 visitors"),
    ],
)
def test_counts_that_do_not_add_up_are_refused(onnx_files, counts, fault):
    with pytest.raises(StageInputInvalid, match=f"kept_counts {fault}"):
        run(
            DlrmRanking.open(onnx_files / "dlrm_ranking", Settings(), version=8),
            **ranker_inputs(3, 2),
            kept_counts=np.array(counts, np.int32),
        )


@pytest.mark.parametrize("name", ["kept", "item_cat", "item_embeddings"])
def test_candidates_without_all_their_features_are_refused(onnx_files, name):
    inputs = ranker_inputs(3)
    with pytest.raises(
        StageInputInvalid, match=f"{name} must be as many as candidate_cont, got 2 and 3"
    ):
        run(
            DlrmRanking.open(onnx_files / "dlrm_ranking", Settings(), version=8),
            **{**inputs, name: inputs[name][:2]},
            kept_counts=np.array([3], np.int32),
        )


@pytest.mark.parametrize("count", [0, 1, 300])
def test_dlrm_scores_every_candidate(onnx_files, count):
    inputs = ranker_inputs(count)
    found = run(
        DlrmRanking.open(onnx_files / "dlrm_ranking", Settings(), version=8),
        **inputs,
        kept_counts=np.array([count], np.int32),
    )
    assert found["ranker_release"].tolist() == [8]
    np.testing.assert_allclose(found["scores"], expected_scores(inputs), atol=1e-6)


def expected_scores(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Of one visitor, by the ranker's weights."""
    of_visitor = [
        np.repeat(inputs[name], len(inputs["item_cat"]), axis=0)
        for name in ("visitor_cat", "visitor_cont")
    ]
    row = [
        of_visitor[0],
        inputs["item_cat"],
        of_visitor[1],
        inputs["candidate_cont"],
        inputs["item_embeddings"],
    ]
    return 1 / (
        1 + np.exp(-np.concatenate(row, axis=1) @ tiny_payload.weights()["dlrm_ranking"][:, 0])
    )


@pytest.mark.parametrize("rows", [1, 8, 64])
def test_known_items_score_as_new_ones_to_the_bit(onnx_files, rows):
    """Whatever was asked before: items that were seen, that changed a category, that share a row of
    a table that is too small.
    """
    folder, counts = onnx_files / "dlrm_ranking", np.array([50], np.int32)
    sessions = [
        open_session(folder / file, names)
        for file, names in ((LISTS, DlrmRanking.arguments), (ITEMS, ("cat", "embeddings")))
    ]
    used, first = DlrmRanking(sessions[0], 1, KnownItems(sessions[1], rows)), ranker_inputs(50)
    changed = {**first, "item_cat": first["item_cat"].copy()}
    changed["item_cat"][::3, 1:] += 1
    for inputs in (first, first, changed, first):
        new = DlrmRanking(sessions[0], 1, KnownItems(sessions[1]))
        found, alone = (run(stage, **inputs, kept_counts=counts)["scores"] for stage in (used, new))
        assert found.tobytes() == alone.tobytes()
        np.testing.assert_allclose(found, expected_scores(inputs), atol=1e-6)


def test_added_items_are_told_apart_although_the_ranker_knows_none_of_them(onnx_files):
    """Two items of equal values, out-of-vocabulary, differ by their embeddings alone."""
    folder = onnx_files / "dlrm_ranking"
    inputs = ranker_inputs(2)
    inputs["item_cat"][:] = [2, 5, 5, 5]
    inputs["kept"] = np.array([43, 44], np.int32)
    counts = np.array([2], np.int32)
    stage = DlrmRanking.open(folder, Settings(), version=8)
    for _ in range(2):  # the second time, from the cache
        found = run(stage, **inputs, kept_counts=counts)["scores"]
        np.testing.assert_allclose(found, expected_scores(inputs), atol=1e-6)
    assert found[0] != found[1]


def test_scores_that_are_not_finite_are_refused(onnx_files):
    inputs = ranker_inputs(3)
    inputs["item_embeddings"][1, 5] = np.nan
    with pytest.raises(
        ModelOutputInvalid,
        match="dlrm_ranking: score must be 3 finite values, got 3 values, 1 of them",
    ):
        DlrmRanking.open(onnx_files / "dlrm_ranking", Settings(), version=8).run(
            {**inputs, "kept_counts": np.array([3], np.int32)}
        )


def test_a_model_with_other_inputs_is_refused(onnx_files, tmp_path):
    (tmp_path / "model.onnx").write_bytes((onnx_files / "ranker.onnx").read_bytes())
    with pytest.raises(
        FileCorrupt,
        match=r"takes \('cat', 'cont', 'embeddings'\), not \('cat', 'cont', 'history'\)",
    ):
        QueryTower.open(tmp_path, Settings(), version=1)
    (tmp_path / ITEMS).write_bytes((onnx_files / "dlrm_ranking" / ITEMS).read_bytes())
    (tmp_path / LISTS).write_bytes((onnx_files / "ranker.onnx").read_bytes())
    with pytest.raises(
        FileCorrupt, match=r"lists\.onnx takes \('cat', 'cont', 'embeddings'\), not"
    ):
        DlrmRanking.open(tmp_path, Settings(), version=1)


# --- features of candidates
def test_embeddings_are_rows_of_the_table(tmp_path):
    np.save(tmp_path / "embedding_table.npy", tiny_payload.embedding_table())
    stage = MultimodalEmbeddingLookup.open(tmp_path, Settings(), 1)
    kept = np.array([42, 3, 3], np.int32)
    np.testing.assert_array_equal(
        run(stage, kept=kept)["item_embeddings"], tiny_payload.embedding_table()[[42, 3, 3]]
    )
    with pytest.raises(UnknownItemIndex, match="kept holds 43; items have 3 to 42"):
        run(stage, kept=np.array([43], np.int32))


@pytest.mark.parametrize(("categories", "n24"), [(["books", "tools", "books"], 1), ([], 0)])
def test_user_transform_counts_the_history(categories, n24):
    stage = NvtUserTransform(Transforms.from_dict(tiny_payload.transforms()))
    given = {
        "user_raw": np.array([["user-2", "F", "books"]], object),
        "user_numbers": np.array([[38, n24, 2, len(categories)]], np.float32),
        "user_items_raw": np.array(["item-01", "gone", ""][: len(categories)], object),
        "user_ages_raw": np.array([30, 25, 2][: len(categories)], np.float32),
    }
    found = run(stage, **given, user_history_raw=np.array(categories, object))
    # newest first: an unknown item is out of vocabulary, as one whose name is not stored
    count = len(categories)
    assert found["user_items"].tolist() == [[2, 2, 4][:count] + [0] * (50 - count)]
    assert found["user_ages"].tolist() == [[2, 25, 30][:count] + [0] * (50 - count)]
    week, day = found["user_history"].reshape(2, -1)
    assert (week.sum(), day.sum()) == (len(categories), n24)
    assert week[4] == categories.count("books") and day[4] == n24  # the last click was on books
    given["user_numbers"][0, 3] += 1  # one click more than there are categories
    with pytest.raises(TransformsInvalid, match="clicks_look_back must add up to"):
        run(stage, **given, user_history_raw=np.array(categories, object))


@pytest.mark.parametrize("buckets", [0, 5])
def test_clicks_on_an_added_item_count_for_the_sources_alone(buckets):
    """The query tower has no row for it; the sources have one after the vocabulary."""
    content = {**tiny_payload.transforms(), "added_items": ["new"]}
    content["hashed_buckets"] = {**content["hashed_buckets"], "item_id": buckets}
    content["cardinality"] = {**content["cardinality"], "item_id": 43 + buckets}
    transforms = Transforms.from_dict(content)
    found = run(
        NvtUserTransform(transforms),
        user_raw=np.array([["user-2", "F", "books"]], object),
        user_numbers=np.array([[38, 0, 2, 3]], np.float32),
        user_history_raw=np.array(["books"] * 3, object),
        user_items_raw=np.array(["gone", "new", "item-01"], object),
        user_ages_raw=np.array([3, 2, 1], np.float32),
    )
    assert found["user_clicked"][0, :4].tolist() == [4, 43, 2, 0]
    of_models = [transforms.vocabulary["item_id"].index(item) for item in ("new", "gone")]
    assert found["user_items"][0, :4].tolist() == [4, *of_models, 0]
    assert of_models == [2, 2] if not buckets else min(of_models) >= 43
    items = run(
        NvtItemTransform(transforms),
        kept=np.array([42, 43], np.int32),
        item_codes=np.full((2, 3), 4, np.int32),
        item_numbers=np.ones((2, 2), np.float32),
    )["item_cat"]
    assert items[:, 0].tolist() == [42, of_models[0]]


def test_several_visitors_histories_are_their_own():
    stage = NvtUserTransform(Transforms.from_dict(tiny_payload.transforms()))
    given = {
        "user_raw": np.array(
            [["user-2", "F", "books"], ["-1", "-1", "-1"], ["user-0", "M", "tools"]], object
        ),
        "user_numbers": np.array([[38, 1, 2, 2], [np.nan, 0, 24, 0], [20, 0, 24, 1]], np.float32),
    }
    clicks = {
        "user_history_raw": np.array(["books", "tools", "beauty"], object),
        "user_items_raw": np.array(["item-01", "item-02", "item-03"], object),
        "user_ages_raw": np.array([3, 2, 1], np.float32),
    }
    found = run(stage, **given, **clicks)
    assert found["user_items"][:, :3].tolist() == [[5, 4, 0], [0, 0, 0], [6, 0, 0]]
    for row, part in enumerate((slice(0, 2), slice(2, 2), slice(2, 3))):
        alone = run(
            stage,
            **{name: value[row : row + 1] for name, value in given.items()},
            **{name: value[part] for name, value in clicks.items()},
        )
        assert all(alone[name].tobytes() == found[name][row : row + 1].tobytes() for name in found)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_unroll_joins_user_and_context_and_looks_affinities_up(count):
    items = np.arange(count * 4, dtype=np.int32).reshape(count, 4)
    items[:, 1] = [3, 4, 2][:count]
    numbers = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    history = np.array(
        [0, 0, 0, 6, 2, 0, 0, 0, 1, 0], np.float32
    )  # of 5 categories: 8 clicks, one of them today
    found = run(
        UnrollFeatures(),
        user_cat=np.array([[1, 2, 3, 4]], np.int32),
        user_cont=np.array([[0.5, 2, 3, 4]], np.float32),
        user_history=history[None],
        context_cat=np.array([[9]], np.int32),
        context_cont=np.array([[5, 6, 7, 8]], np.float32),
        item_cat=items,
        item_cont=numbers,
        kept_counts=np.array([count], np.int32),
    )
    # c_long / (8 + 2), c24 / (1 + 1), log1p(c_long), log1p(c24)
    affinities = np.float32(
        [[0.6, 0.5, np.log(7), np.log(2)], [0.2, 0, np.log(3), 0], [0, 0, 0, 0]]
    )
    assert found["visitor_cat"].tolist() == [[1, 2, 3, 4, 9]] and found[
        "visitor_cont"
    ].tolist() == [[0.5, 2, 3, 4, 5, 6, 7, 8]]
    assert found["candidate_cont"].tolist() == [
        [*row, *affinity]
        for row, affinity in zip(numbers.tolist(), affinities.tolist(), strict=False)
    ]


@pytest.mark.parametrize(("width", "category"), [(10, 5), (9, 1), (10, -1)])
def test_unroll_refuses_a_history_that_does_not_cover_the_categories(width, category):
    items = np.array([[3, category, 3, 3]], np.int32)
    with pytest.raises(
        StageInputInvalid,
        match=f"user_history must count clicks by every category_l1 index twice, got {width}",
    ):
        run(
            UnrollFeatures(),
            **visitor(np.zeros(width, np.float32)),
            item_cat=items,
            item_cont=np.zeros((1, 2), np.float32),
            kept_counts=np.array([1], np.int32),
        )


def test_unroll_gives_each_visitor_his_own_features():
    history = np.zeros((2, 10), np.float32)
    history[1, 3] = 4
    items = np.array([[5, 3, 2, 2], [6, 3, 2, 2], [5, 3, 2, 2]], np.int32)
    found = run(
        UnrollFeatures(),
        user_cat=np.array([[1] * 4, [2] * 4], np.int32),
        user_cont=np.ones((2, 4), np.float32),
        user_history=history,
        context_cat=np.array([[3], [4]], np.int32),
        context_cont=np.ones((2, 4), np.float32),
        item_cat=items,
        item_cont=np.zeros((3, 2), np.float32),
        kept_counts=np.array([1, 2], np.int32),
    )
    assert found["visitor_cat"].tolist() == [[1, 1, 1, 1, 3], [2, 2, 2, 2, 4]]
    assert found["candidate_cont"][:, -4].tolist() == np.float32([0, 4 / 6, 4 / 6]).tolist()
