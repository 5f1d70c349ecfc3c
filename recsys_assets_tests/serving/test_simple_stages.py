"""Stages that need no store: context, transforms, models, retrieval, embeddings, unrolling, ordering, decoding."""

from __future__ import annotations

import json
from pathlib import Path

import faiss
import numpy as np
import pytest

from recsys_assets.serving.stage import StageFileCorrupt, StageInputInvalid
from recsys_assets.serving.stages.catalogue import UnknownItemIndex
from recsys_assets.serving.stages.context import ContextPreprocessor
from recsys_assets.serving.stages.embedding_lookup import MultimodalEmbeddingLookup
from recsys_assets.serving.stages.onnx_models import DlrmRanking, ModelOutputInvalid, QueryTower
from recsys_assets.serving.stages.ordering import ItemIdDecoder, SoftmaxSampling, gumbel_top_k, highest_first
from recsys_assets.serving.stages.retrieval import FaissRetrieval
from recsys_assets.serving.stages.tabular import UnrollFeatures
from recsys_assets.settings import Settings
from recsys_assets_tests.serving import tiny_payload


@pytest.fixture(scope="module")
def onnx_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    tiny_payload.write_onnx(folder, Settings())
    for model in ("query_tower", "dlrm_ranking"):
        (folder / model).mkdir()
        (folder / f"{model}.onnx").rename(folder / model / "model.onnx")
    return folder


def run(stage, **inputs):
    stage.check_inputs(inputs)
    found = stage.run(inputs)
    for spec in stage.outputs:
        spec.check(found[spec.name])
    return found


# --- context
@pytest.mark.parametrize(("inputs", "device", "timestamp"), [
    ({}, "-1", 1_234), ({"device_type": "", "timestamp": -1}, "-1", 1_234),
    ({"device_type": "tablet", "timestamp": 0}, "tablet", 0), ({"timestamp": 99}, "-1", 99)])
def test_context_defaults(inputs, device, timestamp):
    tensors = {name: np.array([value], dtype=object if isinstance(value, str) else np.int64)
               for name, value in inputs.items()}
    found = run(ContextPreprocessor(clock=lambda: 1_234.9), **tensors)
    assert found["context_device"].tolist() == [device] and found["context_timestamp"].tolist() == [timestamp]


def test_a_time_before_1970_is_refused():
    with pytest.raises(StageInputInvalid, match="timestamp must be unix seconds"):
        run(ContextPreprocessor(), timestamp=np.array([-2]))


# --- learned models
def test_query_tower_packs_its_inputs_and_names_its_version(onnx_files):
    stage = QueryTower.open(onnx_files / "query_tower", Settings(), version=7)
    found = run(stage, user_cat=np.array([3, 4, 5, 6], np.int32), user_cont=np.array([0.5, 0.7, 0.2], np.float32),
                context_cat=np.array([4], np.int32), context_cont=np.array([0, 1, 0.6, 0.8], np.float32))
    product = np.array([3, 4, 5, 6, 4, 0.5, 0.7, 0.2, 0, 1, 0.6, 0.8], np.float32) @ tiny_payload.weights()["query_tower"]
    np.testing.assert_allclose(found["query_embedding"], product / np.linalg.norm(product), atol=1e-6)
    assert found["query_release"].tolist() == [7]


def ranker_inputs(count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {"ranker_cat": random.integers(0, 40, (count, 9)).astype(np.int32),
            "ranker_cont": random.normal(size=(count, 9)).astype(np.float32),
            "item_embeddings": random.normal(size=(count, 128)).astype(np.float32)}


@pytest.mark.parametrize("count", [0, 1, 300])
def test_dlrm_scores_every_candidate(onnx_files, count):
    inputs = ranker_inputs(count)
    found = run(DlrmRanking.open(onnx_files / "dlrm_ranking", Settings(), version=8), **inputs)
    product = np.concatenate([*inputs.values()], axis=1) @ tiny_payload.weights()["dlrm_ranking"][:, 0]
    np.testing.assert_allclose(found["scores"], 1 / (1 + np.exp(-product)), atol=1e-6)
    assert found["ranker_release"].tolist() == [8]


def test_scores_that_are_not_finite_are_refused(onnx_files):
    inputs = ranker_inputs(3)
    inputs["item_embeddings"][1, 5] = np.nan
    with pytest.raises(ModelOutputInvalid, match="dlrm_ranking: score must be 3 finite values, got 3 values, 1 of them"):
        DlrmRanking.open(onnx_files / "dlrm_ranking", Settings(), version=8).run(inputs)


def test_a_model_with_other_inputs_is_refused(onnx_files):
    with pytest.raises(StageFileCorrupt, match=r"model\.onnx takes \('cat', 'cont', 'embeddings'\), not \('cat', 'cont'\)"):
        QueryTower.open(onnx_files / "dlrm_ranking", Settings(), version=1)


# --- retrieval
def retrieval(topk: int, index: faiss.Index | None = None) -> FaissRetrieval:
    if index is None:
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(64))
        index.add_with_ids(tiny_payload.item_vectors(), np.arange(3, 43))
    return FaissRetrieval(index, topk)


def test_retrieval_equals_brute_force():
    query = np.random.default_rng(2).normal(size=64).astype(np.float32)
    expected = 3 + np.argsort(-(tiny_payload.item_vectors() @ query))
    assert run(retrieval(12), query_embedding=query)["candidates"].tolist() == expected[:12].tolist()
    assert run(retrieval(400), query_embedding=query)["candidates"].tolist() == expected.tolist()


def test_padding_of_a_short_result_never_leaves():
    quantizer = faiss.IndexFlatIP(64)
    index = faiss.IndexIVFFlat(quantizer, 64, 4, faiss.METRIC_INNER_PRODUCT)
    index.train(tiny_payload.item_vectors())
    index.add_with_ids(tiny_payload.item_vectors(), np.arange(3, 43))
    query = tiny_payload.item_vectors()[0]
    assert -1 in index.search(query[None], 40)[1]  # one cell of four is visited
    found = run(retrieval(40, index), query_embedding=query)["candidates"]
    assert 0 < len(found) < 40 and found.min() >= 3


@pytest.mark.parametrize("dimension", [32, 64])
def test_an_index_of_another_dimension_or_without_items_is_refused(tmp_path, dimension):
    index = faiss.IndexFlatIP(dimension)
    if dimension != 64:
        index.add(np.zeros((1, dimension), np.float32))
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    with pytest.raises(StageFileCorrupt, match=r"index\.faiss must hold vectors of 64"):
        FaissRetrieval.open(tmp_path, Settings(), 1)


# --- features of candidates
def test_embeddings_are_rows_of_the_table(tmp_path):
    np.save(tmp_path / "embedding_table.npy", tiny_payload.embedding_table())
    stage = MultimodalEmbeddingLookup.open(tmp_path, Settings(), 1)
    kept = np.array([42, 3, 3], np.int32)
    np.testing.assert_array_equal(run(stage, kept=kept)["item_embeddings"], tiny_payload.embedding_table()[[42, 3, 3]])
    with pytest.raises(UnknownItemIndex, match="kept holds 43; items have 3 to 42"):
        run(stage, kept=np.array([43], np.int32))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_unroll_repeats_user_and_context(count):
    items = np.arange(count * 4, dtype=np.int32).reshape(count, 4)
    numbers = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    found = run(UnrollFeatures(), user_cat=np.array([1, 2, 3, 4], np.int32), user_cont=np.array([0.5, 2, 3], np.float32),
                context_cat=np.array([9], np.int32), context_cont=np.array([5, 6, 7, 8], np.float32), item_cat=items,
                item_cont=numbers)
    assert found["ranker_cat"].tolist() == [[1, 2, 3, 4, 9, *row] for row in items.tolist()]
    assert found["ranker_cont"].tolist() == [[0.5, 2, 3, 5, 6, 7, 8, *row] for row in numbers.tolist()]


# --- order
def test_highest_first_and_ties_keep_retrievals_order():
    kept, scores = np.array([9, 8, 7, 6], np.int32), np.array([0.1, 0.5, 0.9, 0.5], np.float32)
    found = run(SoftmaxSampling(3, False, 20.0), kept=kept, scores=scores)
    assert found["ordered_items"].tolist() == [7, 8, 6]
    assert found["ordered_scores"].tolist() == np.float32([0.9, 0.5, 0.5]).tolist()
    assert highest_first(np.zeros(5, np.float32), 9).tolist() == [0, 1, 2, 3, 4]


def test_diversity_samples_without_replacement_by_softmax_weights():
    """Frequencies of the first draw against the weights exp(temperature · score)."""
    scores, generator = np.array([0.30, 0.25, 0.20, 0.10], np.float32), np.random.default_rng(11)
    draws = np.array([gumbel_top_k(scores, 4, 20.0, generator) for _ in range(4_000)])
    assert (np.sort(draws, axis=1) == np.arange(4)).all()
    weights = np.exp(20.0 * scores)
    np.testing.assert_allclose(np.bincount(draws[:, 0], minlength=4) / len(draws), weights / weights.sum(), atol=0.03)


def test_diversity_mode_keeps_scores_with_their_items():
    kept, scores = np.arange(3, 23, dtype=np.int32), np.linspace(0, 1, 20, dtype=np.float32)
    stage = SoftmaxSampling(10, True, 20.0, np.random.default_rng(3))
    first, second = (run(stage, kept=kept, scores=scores) for _ in range(2))
    assert first["ordered_items"].tolist() != second["ordered_items"].tolist()
    for found in (first, second):
        assert len(set(found["ordered_items"].tolist())) == 10
        np.testing.assert_array_equal(found["ordered_scores"], scores[found["ordered_items"] - 3])


def test_scores_must_match_their_items():
    with pytest.raises(StageInputInvalid, match="scores must be as many as kept, got 2 and 3"):
        run(SoftmaxSampling(3, False, 20.0), kept=np.arange(3, dtype=np.int32), scores=np.zeros(2, np.float32))


@pytest.mark.parametrize(("change", "fault"), [
    ({"ranking_topk": 0}, "ranking_topk ≥ 1"), ({"diversity_mode": 1}, "boolean diversity_mode"),
    ({"temperature": 0}, "temperature > 0"), ({"temperature": None}, "has no 'temperature'")])
def test_a_senseless_sampling_file_is_refused(tmp_path, change, fault):
    given = {"ranking_topk": 5, "diversity_mode": False, "temperature": 20.0, **change}
    (tmp_path / "sampling.json").write_text(json.dumps({k: v for k, v in given.items() if v is not None}))
    with pytest.raises(StageFileCorrupt, match=fault):
        SoftmaxSampling.open(tmp_path, Settings(), 1)


def test_decoder_gives_the_catalogues_ids_and_refuses_any_other_index():
    stage = ItemIdDecoder(["a", "ü:b"])
    assert run(stage, ordered_items=np.array([4, 3], np.int32))["ordered_ids"].tolist() == ["ü:b", "a"]
    for index in (-1, 0, 2, 5):
        with pytest.raises(UnknownItemIndex, match=f"ordered_items holds {index}; items have 3 to 4"):
            run(stage, ordered_items=np.array([3, index], np.int32))


@pytest.mark.parametrize("ids", [[], ["a", "a"], [1], {"a": 1}])
def test_a_catalogue_that_is_no_list_of_distinct_ids_is_refused(tmp_path, ids):
    (tmp_path / "item_ids.json").write_text(json.dumps(ids))
    with pytest.raises(StageFileCorrupt, match=r"item_ids\.json must be a list of distinct strings"):
        ItemIdDecoder.open(tmp_path, Settings(), 1)
