"""The union of all sources as a stage: alone and in a batch, with and without sources."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.files import FileCorrupt
from recsys_assets.serving.stages.candidate_sources import CandidateSources
from recsys_assets.serving.stages.stage import StageInputInvalid
from recsys_assets.source_names import ALL_SOURCES, FOLLOW_UPS, RETRIEVAL
from recsys_assets_tests.support import stage_runs, tiny_payload


@pytest.fixture(params=[True, False], ids=["sources", "retrieval alone"])
def stage(request, tmp_path) -> CandidateSources:
    return opened(tmp_path, request.param)


def opened(folder, by_sources: bool) -> CandidateSources:
    np.save(folder / "embedding_table.npy", tiny_payload.embedding_table())
    tiny_payload.write_sources(folder, by_sources)
    return CandidateSources.open(folder, None, 1)


def asked(visitors: int, seed: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    items, ages = np.zeros((visitors, 50), np.int32), np.zeros((visitors, 50), np.float32)
    for row, size in enumerate(rng.integers(0, 51, visitors)):
        items[row, :size] = rng.integers(2, 43, size)  # 2: an item that the vocabulary lacks
        ages[row, :size] = np.sort(rng.random(size)) * 100
    counts = rng.integers(0, 13, visitors).astype(np.int32)
    found = [3 + rng.permutation(40)[:count] for count in counts]
    return {
        "user_items": items,
        "user_ages": ages,
        "candidates": np.concatenate(found).astype(np.int32),
        "candidate_similarity": rng.random(counts.sum()).astype(np.float32),
        "candidate_counts": counts,
    }


def alone(given: dict[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    end = np.cumsum(given["candidate_counts"])
    part = slice(end[row] - given["candidate_counts"][row], end[row])
    return {
        "user_items": given["user_items"][row : row + 1],
        "user_ages": given["user_ages"][row : row + 1],
        "candidates": given["candidates"][part],
        "candidate_similarity": given["candidate_similarity"][part],
        "candidate_counts": given["candidate_counts"][row : row + 1],
    }


def test_a_visitor_gets_the_same_alone_and_in_a_batch(stage):
    given = asked(visitors=17)
    together = stage_runs.run(stage, **given)
    single = [stage_runs.run(stage, **alone(given, row)) for row in range(17)]
    for name, values in together.items():
        if name != "union_by_sources":
            expected = np.concatenate([one[name] for one in single])
            np.testing.assert_array_equal(values, expected, name)
    assert together["union_counts"].sum() == len(together["union"])


def test_without_sources_the_candidates_pass(tmp_path):
    given = asked(visitors=5)
    found = stage_runs.run(opened(tmp_path, by_sources=False), **given)
    np.testing.assert_array_equal(found["union"], given["candidates"])
    np.testing.assert_array_equal(found["union_score"], given["candidate_similarity"])
    assert set(found["union_mostly"].tolist()) == {ALL_SOURCES.index(RETRIEVAL)}
    assert found["union_by_sources"].tolist() == [0]


def test_sources_add_items_and_say_so(tmp_path):
    given = asked(visitors=9)
    found = stage_runs.run(opened(tmp_path, by_sources=True), **given)
    assert (found["union_counts"] > given["candidate_counts"]).all()
    assert found["union_by_sources"].tolist() == [1]
    bit = 1 << ALL_SOURCES.index(FOLLOW_UPS)
    assert (found["union_found_by"] & bit > 0).any() and (found["union_found_by"] > 0).all()
    end = np.cumsum(found["union_counts"])
    for first, last in zip(end - found["union_counts"], end, strict=True):
        assert (np.diff(found["union_score"][first:last]) <= 0).all(), "best first"
        assert len(set(found["union"][first:last].tolist())) == last - first


def test_an_item_of_another_generation_is_refused(tmp_path):
    given = asked(visitors=1)
    given["user_items"][0, 0] = 43
    with pytest.raises(StageInputInvalid, match="user_items must be below 43, got 43"):
        opened(tmp_path, by_sources=True).run(given)


def test_counts_must_fit(stage):
    given = asked(visitors=3)
    given["candidate_counts"] = given["candidate_counts"] + 1
    with pytest.raises(StageInputInvalid, match="candidate_counts must add up to"):
        stage.run(given)


def test_a_folder_without_its_file_is_refused(tmp_path):
    with pytest.raises((FileCorrupt, FileNotFoundError), match=r"sources\.json"):
        CandidateSources.open(tmp_path, None, 1)
