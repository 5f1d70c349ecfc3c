"""The union of all sources as a stage: alone and in a batch, with and without sources."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from recsys_assets.files import FileCorrupt
from recsys_assets.lib.feature_store.popular_now import period_key
from recsys_assets.lib.sources.forward_decay import period_of
from recsys_assets.lib.sources.stored import BY_SOURCES, write_blend
from recsys_assets.serving.stages.candidate_sources import CandidateSources
from recsys_assets.serving.stages.stage import StageInputInvalid
from recsys_assets.settings import VISITOR_DATABASE, Settings
from recsys_assets.source_names import (
    ALL_SOURCES,
    FOLLOW_UPS,
    IALS,
    ITEM_TO_ITEM,
    OWN_ITEMS,
    POPULAR_NOW,
    POPULARITY,
    RETRIEVAL,
    SESSION_KNN,
)
from recsys_assets_tests.support import stage_runs, tiny_payload, tiny_store


@pytest.fixture(params=[True, False], ids=["sources", "retrieval alone"])
def stage(request, tmp_path) -> Iterator[CandidateSources]:
    made = opened(tmp_path, request.param)
    yield made
    made.close()


def opened(folder, by_sources: bool) -> CandidateSources:
    np.save(folder / "embedding_table.npy", tiny_payload.embedding_table())
    tiny_payload.write_sources(folder, by_sources)
    # nothing listens there: without counts, the source of what is popular now lists nothing
    settings = Settings(home=folder, valkey_port=1)
    return CandidateSources.open(folder, settings, 1)


def asked(visitors: int, seed: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    items, ages = np.zeros((visitors, 50), np.int32), np.zeros((visitors, 50), np.float32)
    for row, size in enumerate(rng.integers(0, 51, visitors)):
        items[row, :size] = rng.integers(2, 43, size)  # 2: an item that the vocabulary lacks
        ages[row, :size] = np.sort(rng.random(size)) * 100
    counts = rng.integers(0, 13, visitors).astype(np.int32)
    found = [3 + rng.permutation(40)[:count] for count in counts]
    return {
        "user_clicked": items,
        "user_ages": ages,
        "candidates": np.concatenate(found).astype(np.int32),
        "candidate_similarity": rng.random(counts.sum()).astype(np.float32),
        "candidate_counts": counts,
    }


def alone(given: dict[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    end = np.cumsum(given["candidate_counts"])
    part = slice(end[row] - given["candidate_counts"][row], end[row])
    return {
        "user_clicked": given["user_clicked"][row : row + 1],
        "user_ages": given["user_ages"][row : row + 1],
        "candidates": given["candidates"][part],
        "candidate_similarity": given["candidate_similarity"][part],
        "candidate_counts": given["candidate_counts"][row : row + 1],
    }


def test_a_visitor_gets_the_same_alone_and_in_a_batch(stage):
    given = asked(visitors=17)
    together = stage_runs.run(stage, **given)
    single = [stage_runs.run(stage, **alone(given, row)) for row in range(17)]
    together |= stage.explain(given | together)
    for row, one in enumerate(single):
        one.update(stage.explain(alone(given, row) | one))
    for name, values in together.items():
        if name != "union_by_sources":
            expected = np.concatenate([one[name] for one in single])
            np.testing.assert_array_equal(values, expected, name)
    assert together["union_counts"].sum() == len(together["union"])


def test_without_sources_the_candidates_pass(tmp_path):
    given = asked(visitors=5)
    stage = opened(tmp_path, by_sources=False)
    found = stage_runs.run(stage, **given)
    np.testing.assert_array_equal(found["union"], given["candidates"])
    np.testing.assert_array_equal(found["union_score"], given["candidate_similarity"])
    explained = stage.explain(given | found)
    assert set(explained["union_found_by"].tolist()) == {1 << ALL_SOURCES.index(RETRIEVAL)}
    assert set(explained["union_mostly"].tolist()) == {ALL_SOURCES.index(RETRIEVAL)}
    assert found["union_by_sources"].tolist() == [0]


def test_sources_add_items_and_say_so(tmp_path):
    given = asked(visitors=9)
    stage = opened(tmp_path, by_sources=True)
    found = stage_runs.run(stage, **given)
    found |= stage.explain(given | found)
    assert (found["union_counts"] > given["candidate_counts"]).all()
    assert found["union_by_sources"].tolist() == [1]
    bit = 1 << ALL_SOURCES.index(FOLLOW_UPS)
    assert (found["union_found_by"] & bit > 0).any() and (found["union_found_by"] > 0).all()
    end = np.cumsum(found["union_counts"])
    for first, last in zip(end - found["union_counts"], end, strict=True):
        assert (np.diff(found["union_score"][first:last]) <= 0).all(), "best first"
        assert len(set(found["union"][first:last].tolist())) == last - first


def test_each_item_of_a_source_names_the_visitors_item(tmp_path):
    """Item n is followed by n + 1 and n + 2; user 0 has items 10 and 20, user 1 item 10 alone."""
    stage = opened(tmp_path, by_sources=True)
    given = {
        "user_clicked": np.zeros((3, 50), np.int32),
        "user_ages": np.zeros((3, 50), np.float32),
        "candidates": np.array([3], np.int32),
        "candidate_similarity": np.ones(1, np.float32),
        "candidate_counts": np.array([1, 0, 0], np.int32),
    }
    given["user_clicked"][0, :2], given["user_ages"][0, :2] = [13, 23], [1.0, 2.0]
    given["user_clicked"][1, 0] = 13
    found = stage_runs.run(stage, **given)
    explained = stage.explain(given | found)
    for spec in stage.explains:
        spec.check(explained[spec.name])
    found, after = found | explained, explained["union_after"]
    # the blend's own word for the source, then the sums of tiny_payload.sources by hand
    end = np.cumsum(found["union_counts"])
    named: dict[int, dict[int, tuple[str, int]]] = {}
    for user, (last, count) in enumerate(zip(end, found["union_counts"], strict=True)):
        named[user] = {
            int(found["union"][n]): (ALL_SOURCES[found["union_mostly"][n]], int(after[n]))
            for n in range(last - count, last)
        }
    follow = {
        user: {item: x for item, (name, x) in of.items() if name == FOLLOW_UPS}
        for user, of in named.items()
    }
    assert follow[0].items() <= {14: 13, 15: 13, 24: 23, 25: 23}.items() and len(follow[0]) > 1
    assert set(follow[0].values()) == {13, 23} and set(follow[1].values()) == {13}
    assert follow[2] == {}, "nothing is clicked, so nothing follows"
    for of in named.values():
        for item, (name, x) in of.items():
            if name == OWN_ITEMS:
                assert x == item
            elif name == ITEM_TO_ITEM:
                assert x in (0, 13, 23)
            elif name in (RETRIEVAL, POPULARITY, IALS, SESSION_KNN, POPULAR_NOW):
                assert x == 0


def test_without_sources_no_item_of_the_visitor_is_named(tmp_path):
    given = asked(visitors=5)
    stage = opened(tmp_path, by_sources=False)
    explained = stage.explain(given | stage_runs.run(stage, **given))
    np.testing.assert_array_equal(
        explained["union_after"], np.zeros(len(given["candidates"]), np.int32)
    )


def test_an_item_of_another_generation_is_refused(tmp_path):
    given = asked(visitors=1)
    given["user_clicked"][0, 0] = 43
    with pytest.raises(StageInputInvalid, match="user_clicked must be below 43, got 43"):
        opened(tmp_path, by_sources=True).run(given)


def test_counts_must_fit(stage):
    given = asked(visitors=3)
    given["candidate_counts"] = given["candidate_counts"] + 1
    with pytest.raises(StageInputInvalid, match="candidate_counts must add up to"):
        stage.run(given)


def test_a_folder_without_its_file_is_refused(tmp_path):
    with pytest.raises((FileCorrupt, FileNotFoundError), match=r"sources\.json"):
        CandidateSources.open(tmp_path, None, 1)


@pytest.mark.services
def test_what_is_popular_now_is_listed_and_stays_while_the_store_is_away(valkey, tmp_path):
    key = period_key(3, period_of(time.time(), 3))
    client = valkey.client(VISITOR_DATABASE)
    client.zadd(key, {"item-33": 8.0, "item-06": 4.0, "of another shop": 16.0})
    np.save(tmp_path / "embedding_table.npy", tiny_payload.embedding_table())
    tiny_payload.write_sources(tmp_path, by_sources=True)
    stage = CandidateSources.open(tmp_path, tiny_store.settings_on(tmp_path, valkey), 1)
    given = asked(visitors=6)
    found = stage_runs.run(stage, **given)
    found |= stage.explain(given | found)
    bit = 1 << ALL_SOURCES.index(POPULAR_NOW)
    assert set(found["union"][found["union_found_by"] & bit > 0].tolist()) == {36, 9}
    assert stage.gauges()["recsys_popular_now_items"][1] == 2
    assert time.time() - stage.gauges()["recsys_popular_now_refreshed_seconds"][1] < 60
    valkey.kill()
    time.sleep(1.5)  # at least one poll fails
    again = stage_runs.run(stage, **given)
    again |= stage.explain(given | again)
    for name, values in found.items():
        np.testing.assert_array_equal(values, again[name], name)
    stage.close()


def test_a_release_without_the_source_opens_no_store(tmp_path):
    """As a release of before: its folder has neither the entry nor the arrays."""
    np.save(tmp_path / "embedding_table.npy", tiny_payload.embedding_table())
    others = tuple(one for one in tiny_payload.sources() if one.name != POPULAR_NOW)
    weights = {RETRIEVAL: 0.5, **{one.name: 0.3 for one in others}}
    write_blend(tmp_path, BY_SOURCES, others, weights, np.zeros(40, bool))
    assert not list(tmp_path.glob("popular_now*"))
    stage = CandidateSources.open(tmp_path, None, 1)
    found = stage_runs.run(stage, **asked(visitors=3))
    assert stage.gauges() == {} and len(found["union"])
    stage.close()
