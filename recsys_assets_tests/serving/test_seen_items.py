from __future__ import annotations

import json

import numpy as np
import pytest

from recsys_assets.serving import bloom
from recsys_assets.serving.stage import StageFileCorrupt, StageInputInvalid
from recsys_assets.serving.stages.catalogue import UnknownItemIndex
from recsys_assets.serving.stages.seen_items import FilterSeenItems
from recsys_assets.serving.stores import Breaker, visitor_client
from recsys_assets.settings import VISITOR_DATABASE, Settings
from recsys_assets_tests.serving import tiny_payload, tiny_store
from recsys_assets_tests.serving.silent_server import SilentServer

pytestmark = pytest.mark.services
ITEMS = [f"item-{n}" for n in range(20)]  # item n has index 3 + n
POPULAR = np.array([22, 21, 20, 19], dtype=np.int32)  # the rest of the catalogue was never clicked
NOW = 1_760_000_000.0


def stage_on(settings: Settings, *, most: int = 8, least: int = 5, breaker: Breaker | None = None) -> FilterSeenItems:
    return FilterSeenItems(visitor_client(settings, VISITOR_DATABASE), ITEMS, POPULAR, most=most, least=least,
                           seen_days=7, clock=lambda: NOW, breaker=breaker)


@pytest.fixture
def settings(valkey, tmp_path) -> Settings:
    return tiny_store.settings_on(tmp_path, valkey)


def see(valkey, user_id: str, indices: list[int], at: float = NOW) -> None:
    """Bits as the event consumer sets them; the day is long past, so no expiry is set here."""
    client = valkey.client(VISITOR_DATABASE)
    for index in indices:
        for bit in bloom.positions(ITEMS[index - 3]):
            client.setbit(bloom.seen_key(user_id, bloom.day_of(at)), int(bit), 1)


def similarity(index: int) -> float:
    """Of a candidate with its place in the catalogue, so that a kept one tells whether it kept its own."""
    return index / 64


def ask(stage: FilterSeenItems, candidates: list[int], user_id: str = "u") -> tuple[list[int], int]:
    """kept and filter_degraded; every candidate kept has its own similarity, every other item the smallest."""
    given = {"user_id": np.array([user_id], dtype=object), "candidates": np.array(candidates, dtype=np.int32),
             "candidate_similarity": np.array([similarity(index) for index in candidates], dtype=np.float32)}
    stage.check_inputs(given)
    found = stage.run(given)
    for spec in stage.outputs:
        spec.check(found[spec.name])
    kept, least = found["kept"].tolist(), min(map(similarity, candidates), default=0.0)
    assert found["kept_similarity"].tolist() == [similarity(k) if k in candidates else least for k in kept]
    return kept, int(found["filter_degraded"][0])


def test_seen_items_go_and_the_order_stays(settings, valkey):
    see(valkey, "u", [3, 6])
    assert ask(stage_on(settings), [9, 3, 8, 7, 6, 5, 4]) == ([9, 8, 7, 5, 4], 0)


def test_every_one_of_the_last_seven_days_counts_and_no_more(settings, valkey):
    for days in range(8):
        see(valkey, "u", [3 + days], NOW - 86_400 * days)
    assert ask(stage_on(settings), [*range(3, 16)])[0] == [10, 11, 12, 13, 14, 15]


def test_at_most_topk_are_kept(settings):
    assert ask(stage_on(settings, most=6), [*range(3, 15)])[0] == [3, 4, 5, 6, 7, 8]


def test_backfill_is_popular_unseen_and_no_candidate(settings, valkey):
    see(valkey, "u", [3, 4, 21])
    # 22 is a candidate already, 21 was seen: 20 and 19 fill up
    assert ask(stage_on(settings), [22, 3, 4, 5, 6]) == ([22, 5, 6, 20, 19], 0)


def test_backfill_reaches_items_that_nobody_clicked(settings, valkey):
    see(valkey, "u", [3, 19, 20, 21, 22])
    assert ask(stage_on(settings), [3]) == ([4, 5, 6, 7, 8], 0)


def test_all_candidates_seen_gives_a_full_list_of_others(settings, valkey):
    see(valkey, "u", [3, 4, 5, 6, 7])
    assert ask(stage_on(settings), [3, 4, 5, 6, 7]) == ([22, 21, 20, 19, 8], 0)


def test_a_seen_catalogue_is_shown_again_rather_than_nothing(settings, valkey):
    see(valkey, "u", [*range(3, 23)])
    assert ask(stage_on(settings), [5, 4, 3]) == ([5, 4, 3], 0)


def test_no_candidate_at_all_still_gives_a_list(settings):
    assert ask(stage_on(settings), []) == ([22, 21, 20, 19, 3], 0)


def test_topk_beyond_the_catalogue_gives_each_item_once(settings):
    kept, _ = ask(stage_on(settings, most=300, least=100), [9, 8])
    assert kept[:2] == [9, 8] and sorted(kept) == [*range(3, 23)]


def test_visitors_do_not_share_and_anonymous_ones_have_no_memory(settings, valkey):
    see(valkey, "u", [3])
    see(valkey, "-1", [4])
    stage = stage_on(settings)
    assert ask(stage, [3, 4, 5, 6, 7], "v")[0] == ask(stage, [3, 4, 5, 6, 7], "-1")[0] == [3, 4, 5, 6, 7]


def test_a_dead_store_passes_candidates_through_and_recovers(settings, valkey):
    see(valkey, "u", [3])
    now = [0.0]
    stage = stage_on(settings, breaker=Breaker(clock=lambda: now[0]))
    valkey.kill()
    assert [ask(stage, [3, 4, 5, 6, 7]) for _ in range(5)] == [([3, 4, 5, 6, 7], 1)] * 5
    valkey.start()
    assert ask(stage, [3, 4, 5, 6, 7])[1] == 1  # not asked yet
    now[0] = 1.0
    assert ask(stage, [3, 4, 5, 6, 7]) == ([4, 5, 6, 7, 22], 0)


def test_a_hanging_store_is_tried_once_a_visitor_and_then_spared(tmp_path):
    with SilentServer() as server:
        stage = stage_on(Settings(home=tmp_path, valkey_port=server.port, store_timeout_ms=20))
        assert [ask(stage, [3, 4, 5, 6, 7])[1] for _ in range(6)] == [1] * 6
        assert server.connections == 3


def test_a_key_of_the_wrong_type_degrades_that_visitor_only(settings, valkey):
    valkey.client(VISITOR_DATABASE).rpush(bloom.seen_key("u", bloom.day_of(NOW)), "x")
    stage = stage_on(settings)
    assert ask(stage, [3, 4, 5, 6, 7]) == ([3, 4, 5, 6, 7], 1)
    assert ask(stage, [3, 4, 5, 6, 7], "v") == ([3, 4, 5, 6, 7], 0)


@pytest.mark.parametrize("index", [-1, 0, 2, 23])
def test_an_index_outside_the_catalogue_is_refused(settings, index):
    with pytest.raises(UnknownItemIndex, match=f"candidates holds {index}; items have 3 to 22"):
        ask(stage_on(settings), [3, index])


def test_similarities_must_match_their_candidates(settings):
    with pytest.raises(StageInputInvalid, match="candidate_similarity must be as many as candidates, got 1 and 2"):
        stage_on(settings).run({"user_id": np.array(["u"], dtype=object), "candidates": np.array([3, 4], dtype=np.int32),
                                "candidate_similarity": np.zeros(1, np.float32)})


@pytest.mark.parametrize("popularity", [[3, 3], [2], [43], [-1]])
def test_a_popularity_list_that_is_no_ranking_of_the_catalogue_is_refused(settings, tmp_path, popularity):
    (tmp_path / "item_ids.json").write_text(json.dumps(tiny_payload.ITEM_IDS))
    (tmp_path / "popularity.json").write_text(json.dumps(popularity))
    with pytest.raises(StageFileCorrupt, match=r"popularity.json must list catalogue indices, each once"):
        FilterSeenItems.open(tmp_path, settings, 1)
