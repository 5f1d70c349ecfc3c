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
from recsys_assets.serving.stages.ordering import ItemIdDecoder, SoftmaxSampling, blend, gumbel_top_k, highest_first
from recsys_assets.serving.stages.retrieval import FaissRetrieval
from recsys_assets.serving.stages.tabular import NvtUserTransform, UnrollFeatures
from recsys_assets.serving.transforms import Transforms, TransformsInvalid
from recsys_assets.settings import Settings
from recsys_assets_tests.serving import tiny_payload


@pytest.fixture(scope="module")
def onnx_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    tiny_payload.write_onnx(folder, Settings())
    for model in ("query_tower", "dlrm_ranking"):
        (folder / model).mkdir()
        (folder / f"{model}.onnx").rename(folder / model / "model.onnx")
    (folder / "query_tower" / "history.json").write_text('{"width": 14}')
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
    history = np.arange(14, dtype=np.float32)
    found = run(stage, **visitor(history))
    row = np.array([3, 4, 5, 6, 4, 0.5, 0.7, 0.2, 0.1, 0, 1, 0.6, 0.8, *history], np.float32)
    product = row @ tiny_payload.weights()["query_tower"]
    np.testing.assert_allclose(found["query_embedding"], product / np.linalg.norm(product), atol=1e-6)
    assert found["query_release"].tolist() == [7]


def visitor(history: np.ndarray) -> dict[str, np.ndarray]:
    return {"user_cat": np.array([3, 4, 5, 6], np.int32), "user_cont": np.array([0.5, 0.7, 0.2, 0.1], np.float32),
            "user_history": history, "context_cat": np.array([4], np.int32),
            "context_cont": np.array([0, 1, 0.6, 0.8], np.float32)}


def test_a_history_of_another_generation_is_refused(onnx_files):
    stage = QueryTower.open(onnx_files / "query_tower", Settings(), version=7)
    with pytest.raises(StageInputInvalid, match=r"user_history must be FP32\[14\], got \[16\]; nvt_user_transform and"):
        run(stage, **visitor(np.zeros(16, np.float32)))


@pytest.mark.parametrize(("given", "fault"), [
    ({"width": 16}, r"model\.onnx takes a history of 14 counts, but the transforms give 16; train"),
    ({"width": 15}, r"history\.json needs an even width"), ({"width": "14"}, "even width"), ({}, "even width"),
    ([14], "even width")])
def test_a_tower_for_other_transforms_is_refused_at_load(onnx_files, tmp_path, given, fault):
    (tmp_path / "model.onnx").write_bytes((onnx_files / "query_tower" / "model.onnx").read_bytes())
    (tmp_path / "history.json").write_text(json.dumps(given))
    with pytest.raises(StageFileCorrupt, match=fault):
        QueryTower.open(tmp_path, Settings(), version=1)


def ranker_inputs(count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {"ranker_cat": random.integers(0, 40, (count, 9)).astype(np.int32),
            "ranker_cont": random.normal(size=(count, 14)).astype(np.float32),
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
    with pytest.raises(StageFileCorrupt, match=r"takes \('cat', 'cont', 'embeddings'\), not \('cat', 'cont', 'history'\)"):
        QueryTower.open(onnx_files / "dlrm_ranking", Settings(), version=1)


# --- retrieval
def retrieval(topk: int, index: faiss.Index | None = None) -> FaissRetrieval:
    if index is None:
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(64))
        index.add_with_ids(tiny_payload.item_vectors(), np.arange(3, 43))
    return FaissRetrieval(index, topk)


def test_retrieval_equals_brute_force():
    query = np.random.default_rng(2).normal(size=64).astype(np.float32)
    products = tiny_payload.item_vectors() @ query
    expected = 3 + np.argsort(-products)
    for topk in (12, 400):
        found = run(retrieval(topk), query_embedding=query)
        assert found["candidates"].tolist() == expected[:topk].tolist()
        np.testing.assert_allclose(found["candidate_similarity"], products[found["candidates"] - 3], rtol=1e-5)


def test_padding_of_a_short_result_never_leaves():
    quantizer = faiss.IndexFlatIP(64)
    index = faiss.IndexIVFFlat(quantizer, 64, 4, faiss.METRIC_INNER_PRODUCT)
    index.train(tiny_payload.item_vectors())
    index.add_with_ids(tiny_payload.item_vectors(), np.arange(3, 43))
    query = tiny_payload.item_vectors()[0]
    assert -1 in index.search(query[None], 40)[1]  # one cell of four is visited
    found = run(retrieval(40, index), query_embedding=query)
    assert 0 < len(found["candidates"]) < 40 and found["candidates"].min() >= 3
    assert len(found["candidate_similarity"]) == len(found["candidates"])
    assert np.isfinite(found["candidate_similarity"]).all()


@pytest.mark.parametrize("dimension", [32, 64])
def test_an_index_of_another_dimension_or_without_items_is_refused(tmp_path, dimension):
    index = faiss.IndexFlatIP(dimension)
    if dimension != 64:
        index.add(np.zeros((1, dimension), np.float32))
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    with pytest.raises(StageFileCorrupt, match=r"index\.faiss must hold vectors of 64"):
        FaissRetrieval.open(tmp_path, Settings(), 1)


def test_an_index_of_distances_is_refused(tmp_path):
    index = faiss.IndexFlatL2(64)
    index.add(tiny_payload.item_vectors())
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    with pytest.raises(StageFileCorrupt, match=r"index\.faiss must search by inner product"):
        FaissRetrieval.open(tmp_path, Settings(), 1)


# --- features of candidates
def test_embeddings_are_rows_of_the_table(tmp_path):
    np.save(tmp_path / "embedding_table.npy", tiny_payload.embedding_table())
    stage = MultimodalEmbeddingLookup.open(tmp_path, Settings(), 1)
    kept = np.array([42, 3, 3], np.int32)
    np.testing.assert_array_equal(run(stage, kept=kept)["item_embeddings"], tiny_payload.embedding_table()[[42, 3, 3]])
    with pytest.raises(UnknownItemIndex, match="kept holds 43; items have 3 to 42"):
        run(stage, kept=np.array([43], np.int32))


@pytest.mark.parametrize(("categories", "n24"), [(["books", "tools", "books"], 1), ([], 0)])
def test_user_transform_counts_the_history(categories, n24):
    stage = NvtUserTransform(Transforms.from_dict(tiny_payload.transforms()))
    given = {"user_raw": np.array(["user-2", "F", "books"], object),
             "user_numbers": np.array([38, n24, 2, len(categories)], np.float32)}
    found = run(stage, **given, user_history_raw=np.array(categories, object))
    week, day = found["user_history"].reshape(2, -1)
    assert (week.sum(), day.sum()) == (len(categories), n24)
    assert week[4] == categories.count("books") and day[4] == n24  # the last click was on books
    given["user_numbers"][3] += 1  # one click more than there are categories
    with pytest.raises(TransformsInvalid, match="a click history needs"):
        run(stage, **given, user_history_raw=np.array(categories, object))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_unroll_repeats_user_and_context_and_looks_affinities_up(count):
    items = np.arange(count * 4, dtype=np.int32).reshape(count, 4)
    items[:, 1] = [3, 4, 2][:count]
    numbers = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    history = np.array([0, 0, 0, 6, 2, 0, 0, 0, 1, 0], np.float32)  # of 5 categories: 8 clicks, one of them today
    found = run(UnrollFeatures(), user_cat=np.array([1, 2, 3, 4], np.int32), user_cont=np.array([0.5, 2, 3, 4], np.float32),
                user_history=history, context_cat=np.array([9], np.int32),
                context_cont=np.array([5, 6, 7, 8], np.float32), item_cat=items, item_cont=numbers)
    # c7 / (8 + 2), c24 / (1 + 1), log1p(c7), log1p(c24)
    affinities = np.float32([[0.6, 0.5, np.log(7), np.log(2)], [0.2, 0, np.log(3), 0], [0, 0, 0, 0]])
    assert found["ranker_cat"].tolist() == [[1, 2, 3, 4, 9, *row] for row in items.tolist()]
    assert found["ranker_cont"].tolist() == [[0.5, 2, 3, 4, 5, 6, 7, 8, *row, *affinity]
                                             for row, affinity in zip(numbers.tolist(), affinities.tolist(), strict=False)]


@pytest.mark.parametrize(("width", "category"), [(10, 5), (9, 1), (10, -1)])
def test_unroll_refuses_a_history_that_does_not_cover_the_categories(width, category):
    items = np.array([[3, category, 3, 3]], np.int32)
    with pytest.raises(StageInputInvalid, match=f"user_history must count clicks by every category_l1 index twice, got {width}"):
        run(UnrollFeatures(), **visitor(np.zeros(width, np.float32)), item_cat=items, item_cont=np.zeros((1, 2), np.float32))


# --- order
def order(stage: SoftmaxSampling, kept, scores, similarity=None) -> dict[str, np.ndarray]:
    similarity = np.zeros(len(scores)) if similarity is None else similarity
    return run(stage, kept=np.array(kept, np.int32), scores=np.array(scores, np.float32),
               kept_similarity=np.array(similarity, np.float32))


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_highest_first_and_ties_keep_retrievals_order(weight):
    found = order(SoftmaxSampling(3, False, 20.0, weight), [9, 8, 7, 6], [0.1, 0.5, 0.9, 0.5])
    assert found["ordered_items"].tolist() == [7, 8, 6]
    assert found["ordered_scores"].tolist() == np.float32([0.9, 0.5, 0.5]).tolist()
    assert highest_first(np.zeros(5, np.float32), 9).tolist() == [0, 1, 2, 3, 4]


def test_blend_by_hand_and_its_order():
    scores, similarity = np.float32([0.5, 0.2, 0.4]), np.float32([0.25, 1.0, 0.75])
    # logits 0, ln(1/4) and ln(2/3); behind the nearest by .75, 0 and .25
    expected = [1 / (1 + np.exp(2 * 0.75)), 0.2, 1 / (1 + 1.5 * np.exp(2 * 0.25))]
    np.testing.assert_allclose(blend(scores, similarity, 2.0), expected, rtol=1e-6)
    found = order(SoftmaxSampling(3, False, 20.0, 2.0), [9, 8, 7], scores, similarity)
    assert found["ordered_items"].tolist() == [7, 8, 9]
    np.testing.assert_allclose(found["ordered_scores"], np.sort(expected)[::-1], rtol=1e-6)
    assert found["ordered_scores"][1] == scores[1]  # the nearest item keeps its probability to the bit
    alone = order(SoftmaxSampling(3, False, 20.0, 0.0), [9, 8, 7], scores, similarity)
    assert alone["ordered_items"].tolist() == [9, 7, 8]
    assert alone["ordered_scores"].tolist() == np.float32([0.5, 0.4, 0.2]).tolist()


def test_several_lists_blend_as_each_alone():
    random = np.random.default_rng(6)
    scores, similarity, of = random.random(30), random.uniform(-1, 1, 30), np.arange(30) % 4
    nearest = np.array([similarity[of == n].max() for n in range(4)])
    together = blend(scores, similarity, 2.0, nearest[of])
    for n in range(4):
        np.testing.assert_array_equal(together[of == n], blend(scores[of == n], similarity[of == n], 2.0))


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0, 10_000.0])
def test_blended_scores_descend_and_never_exceed_the_rankers(weight):
    random = np.random.default_rng(4)
    scores = np.concatenate([random.random(200), [0, 1, 1e-9, 1 - 1e-8]]).astype(np.float32)
    similarity = random.uniform(-1, 1, len(scores)).astype(np.float32)
    found = order(SoftmaxSampling(len(scores), False, 20.0, weight), range(3, 3 + len(scores)), scores, similarity)
    assert (np.diff(found["ordered_scores"]) <= 0).all()
    assert (found["ordered_scores"] <= scores[found["ordered_items"] - 3] + 1e-7).all()
    assert (found["ordered_scores"] >= 0).all() and sorted(found["ordered_items"]) == [*range(3, 3 + len(scores))]
    nearest = 3 + similarity.argmax()
    assert found["ordered_scores"][found["ordered_items"] == nearest][0] == pytest.approx(scores[nearest - 3], abs=1e-7)


def test_more_weight_brings_the_list_nearer_to_retrievals_order():
    random = np.random.default_rng(9)
    scores, similarity = random.random(50), np.sort(random.uniform(-1, 1, 50))[::-1]  # retrieval's order: as given
    moved = [np.abs(order(SoftmaxSampling(50, False, 20.0, weight), range(3, 53), scores, similarity)["ordered_items"]
                    - np.arange(3, 53)).mean() for weight in (0.0, 1.0, 3.0, 100.0)]
    assert moved == sorted(moved, reverse=True) and moved[0] > moved[2] > moved[3]


def test_no_candidate_gives_an_empty_order():
    for weight in (0.0, 3.0):
        assert order(SoftmaxSampling(3, False, 20.0, weight), [], [])["ordered_items"].tolist() == []


def test_diversity_samples_without_replacement_by_softmax_weights():
    """Frequencies of the first draw against the weights exp(temperature · score)."""
    scores, generator = np.array([0.30, 0.25, 0.20, 0.10], np.float32), np.random.default_rng(11)
    draws = np.array([gumbel_top_k(scores, 4, 20.0, generator) for _ in range(4_000)])
    assert (np.sort(draws, axis=1) == np.arange(4)).all()
    weights = np.exp(20.0 * scores)
    np.testing.assert_allclose(np.bincount(draws[:, 0], minlength=4) / len(draws), weights / weights.sum(), atol=0.03)


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_diversity_mode_keeps_blended_scores_with_their_items(weight):
    scores, similarity = np.linspace(0, 1, 20, dtype=np.float32), np.linspace(1, -1, 20, dtype=np.float32)
    stage = SoftmaxSampling(10, True, 20.0, weight, np.random.default_rng(3))
    first, second = (order(stage, range(3, 23), scores, similarity) for _ in range(2))
    assert first["ordered_items"].tolist() != second["ordered_items"].tolist()
    blended = blend(scores, similarity, weight).astype(np.float32)
    for found in (first, second):
        assert len(set(found["ordered_items"].tolist())) == 10
        np.testing.assert_array_equal(found["ordered_scores"], blended[found["ordered_items"] - 3])


def test_diversity_draws_by_the_blended_scores():
    """Equal probabilities: without retrieval's part each item comes first as often, with it the nearest does."""
    def firsts(weight: float) -> np.ndarray:
        stage = SoftmaxSampling(1, True, 20.0, weight, np.random.default_rng(5))
        drawn = [order(stage, [3, 4], [0.5, 0.5], [0.0, 1.0])["ordered_items"][0] for _ in range(2_000)]
        return np.bincount(drawn, minlength=5)[3:] / 2_000

    np.testing.assert_allclose(firsts(0.0), [0.5, 0.5], atol=0.04)
    far, near = 20 / (1 + np.exp(0.4)), 10.0  # temperature times the blended scores
    np.testing.assert_allclose(firsts(0.4), np.exp([far - near, 0]) / np.exp([far - near, 0]).sum(), atol=0.04)


@pytest.mark.parametrize(("scores", "similarity", "fault"), [
    (2, 3, "scores must be as many as kept, got 2 and 3"), (3, 4, "kept_similarity must be as many as kept, got 4 and 3")])
def test_scores_and_similarities_must_match_their_items(scores, similarity, fault):
    with pytest.raises(StageInputInvalid, match=fault):
        order(SoftmaxSampling(3, False, 20.0, 3.0), range(3), np.zeros(scores), np.zeros(similarity))


@pytest.mark.parametrize(("change", "fault"), [
    ({"ranking_topk": 0}, "ranking_topk ≥ 1"), ({"diversity_mode": 1}, "boolean diversity_mode"),
    ({"temperature": 0}, "temperature > 0"), ({"temperature": None}, "has no 'temperature'"),
    ({"retrieval_weight": -0.5}, "finite retrieval_weight ≥ 0"), ({"retrieval_weight": float("inf")}, "retrieval_weight ≥ 0"),
    ({"retrieval_weight": "3"}, "retrieval_weight ≥ 0"), ({"retrieval_weight": None}, "has no 'retrieval_weight'")])
def test_a_senseless_sampling_file_is_refused(tmp_path, change, fault):
    given = {"ranking_topk": 5, "diversity_mode": False, "temperature": 20.0, "retrieval_weight": 3.0, **change}
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
