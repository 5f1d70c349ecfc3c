from __future__ import annotations

import json
import time

import numpy as np
import pytest

from recsys_assets.columns import VIEW
from recsys_assets.files import FileCorrupt
from recsys_assets.lib.feature_store import bloom
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.features.seen import DEFAULT_RULE, SeenRule
from recsys_assets.local_time import UTC
from recsys_assets.serving.stages import seen_items
from recsys_assets.serving.stages.answer import Degraded, Fate
from recsys_assets.serving.stages.catalogue import UnknownItemIndex
from recsys_assets.serving.stages.retrieval import Searcher
from recsys_assets.serving.stages.seen_items import FilterSeenItems
from recsys_assets.serving.stages.stage import StageInputInvalid
from recsys_assets.serving.stores.availability import Unavailable, set_availability
from recsys_assets.serving.stores.connections import Breaker
from recsys_assets.settings import POPULARITY_DATABASE, VISITOR_DATABASE, Settings
from recsys_assets_tests.support import stage_runs, tiny_payload, tiny_store
from recsys_assets_tests.support.silent_server import SilentServer

pytestmark = pytest.mark.services
ITEMS = [f"item-{n}" for n in range(20)]  # item n has index 3 + n
POPULAR = np.array([22, 21, 20, 19], dtype=np.int32)  # the rest of the catalogue was never clicked
NOW = 1_760_000_000.0


class Unsearched:
    """An index that has no more than the candidates."""

    def __len__(self) -> int:
        return 0


def stage_on(
    settings: Settings,
    *,
    most: int = 8,
    least: int = 5,
    breaker: Breaker | None = None,
    searcher: Searcher | Unsearched | None = None,
    rule: SeenRule = DEFAULT_RULE,
) -> FilterSeenItems:
    stage = FilterSeenItems(
        visitor_client(settings, VISITOR_DATABASE),
        Unavailable(settings),
        lambda: searcher or Unsearched(),
        ITEMS,
        POPULAR,
        most=most,
        least=least,
        rule=rule,
        zone=UTC,
        clock=lambda: NOW,
        breaker=breaker,
    )
    stage.poller.poll()  # as ``start`` does first; the thread is not needed here
    return stage


@pytest.fixture
def settings(valkey, tmp_path) -> Settings:
    return tiny_store.settings_on(tmp_path, valkey)


def see(valkey, user_id: str, indices: list[int], at: float = NOW) -> None:
    """Bits as the event consumer sets them; the day is long past, so no expiry is set here."""
    client = valkey.client(VISITOR_DATABASE)
    for index in indices:
        for bit in bloom.positions(ITEMS[index - 3], VIEW):
            client.setbit(bloom.seen_key(user_id, bloom.day_of(at, UTC)), int(bit), 1)


def similarity(index: int) -> float:
    """Of a candidate with its place in the catalogue, so that a kept one tells whether it kept its
    own.
    """
    return index / 64


QUERY = np.ones((1, 64), np.float32)


def run(
    stage: FilterSeenItems, candidates: list[int], user_id: str = "u", query: np.ndarray = QUERY
) -> dict[str, np.ndarray]:
    return stage_runs.run(
        stage,
        visitor_id=np.array([user_id], dtype=object),
        query_embedding=query,
        union=np.array(candidates, dtype=np.int32),
        union_counts=np.array([len(candidates)], np.int32),
        union_by_sources=np.zeros(1, np.int32),
        union_score=np.array([similarity(index) for index in candidates], dtype=np.float32),
    )


def ask(stage: FilterSeenItems, candidates: list[int], user_id: str = "u") -> tuple[list[int], int]:
    """kept and filter_degraded; every candidate kept has its own similarity, every other item the
    smallest.
    """
    found = run(stage, candidates, user_id)
    kept, least = found["kept"].tolist(), min(map(similarity, candidates), default=0.0)
    assert found["kept_similarity"].tolist() == [
        similarity(k) if k in candidates else least for k in kept
    ]
    assert found["kept_counts"].tolist() == [len(kept)] and len(set(kept)) == len(kept)
    considered, fates = (
        found["considered"].tolist(),
        [Fate(fate) for fate in found["considered_fate"]],
    )
    assert found["considered_counts"].tolist() == [len(considered)] and len(set(considered)) == len(
        considered
    )
    assert considered[: len(candidates)] == candidates
    assert [item for item, fate in zip(considered, fates, strict=True) if fate.kept] == kept
    return kept, int(found["filter_degraded"][0])


def fates(stage: FilterSeenItems, candidates: list[int]) -> dict[int, Fate]:
    found = run(stage, candidates)
    return dict(zip(found["considered"].tolist(), map(Fate, found["considered_fate"]), strict=True))


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
    assert ask(stage_on(settings), [5, 4, 3]) == ([5, 4, 3, 22, 21], 0)
    assert ask(stage_on(settings), []) == ([22, 21, 20, 19, 3], 0)
    assert set(fates(stage_on(settings), [5, 4, 3]).values()) == {Fate.SHOWN_AGAIN}


def test_no_candidate_at_all_still_gives_a_list(settings):
    assert ask(stage_on(settings), []) == ([22, 21, 20, 19, 3], 0)


def test_topk_beyond_the_catalogue_gives_each_item_once(settings):
    kept, _ = ask(stage_on(settings, most=300, least=100), [9, 8])
    assert kept[:2] == [9, 8] and sorted(kept) == [*range(3, 23)]


def test_visitors_do_not_share_and_anonymous_ones_have_no_memory(settings, valkey):
    see(valkey, "u", [3])
    see(valkey, "-1", [4])
    stage = stage_on(settings)
    assert (
        ask(stage, [3, 4, 5, 6, 7], "v")[0]
        == ask(stage, [3, 4, 5, 6, 7], "-1")[0]
        == [3, 4, 5, 6, 7]
    )


def test_a_dead_store_passes_candidates_through_and_recovers(settings, valkey):
    see(valkey, "u", [3])
    now = [0.0]
    stage = stage_on(settings, breaker=Breaker(clock=lambda: now[0]))
    valkey.kill()
    assert [ask(stage, [3, 4, 5, 6, 7]) for _ in range(5)] == [([3, 4, 5, 6, 7], 2)] * 5
    valkey.start()
    assert ask(stage, [3, 4, 5, 6, 7])[1] == 2  # not asked yet
    now[0] = 1.0
    assert ask(stage, [3, 4, 5, 6, 7]) == ([4, 5, 6, 7, 22], 0)


def test_a_hanging_store_is_tried_once_a_visitor_and_then_spared(tmp_path):
    with SilentServer() as server:
        stage = stage_on(Settings(home=tmp_path, valkey_port=server.port, store_timeout_ms=20))
        tried = server.connections  # by the poll
        assert [Degraded(ask(stage, [3, 4, 5, 6, 7])[1]) for _ in range(6)] == [
            Degraded.SEEN_FILTER | Degraded.AVAILABILITY
        ] * 6
        assert server.connections == tried + 3


def test_a_key_of_the_wrong_type_degrades_that_visitor_only(settings, valkey):
    valkey.client(VISITOR_DATABASE).rpush(bloom.seen_key("u", bloom.day_of(NOW, UTC)), "x")
    stage = stage_on(settings)
    assert ask(stage, [3, 4, 5, 6, 7]) == ([3, 4, 5, 6, 7], 2)
    assert ask(stage, [3, 4, 5, 6, 7], "v") == ([3, 4, 5, 6, 7], 0)


@pytest.mark.parametrize("index", [-1, 0, 2, 23, 2**31 - 1, -(2**31)])
def test_an_index_outside_the_catalogue_is_refused(settings, index):
    with pytest.raises(UnknownItemIndex, match=f"union holds {index}; items have 3 to 22"):
        ask(stage_on(settings), [3, index])


def test_similarities_must_match_their_candidates(settings):
    good = {
        "visitor_id": np.array(["u"], dtype=object),
        "union": np.array([3, 4], dtype=np.int32),
        "query_embedding": QUERY,
        "union_score": np.zeros(2, np.float32),
        "union_counts": np.array([2], np.int32),
        "union_by_sources": np.zeros(1, np.int32),
    }
    stage = stage_on(settings)
    for wrong, message in (
        ({"union_score": np.zeros(1, np.float32)}, "union_score must be as many as union, got 1"),
        ({"union_counts": np.array([1], np.int32)}, "union_counts must add up to 2"),
        ({"union_counts": np.array([1, 1], np.int32)}, "one count for each of 1 visitors, got 2"),
        ({"query_embedding": np.ones((2, 64), np.float32)}, "one for each of 1 visitors, got 2"),
    ):
        with pytest.raises(StageInputInvalid, match=message):
            stage.run(good | wrong)


@pytest.mark.parametrize("popularity", [[3, 3], [2], [43], [-1]])
def test_a_popularity_list_that_is_no_ranking_of_the_catalogue_is_refused(
    settings, tmp_path, popularity
):
    (tmp_path / "item_ids.json").write_text(json.dumps(tiny_payload.ITEM_IDS))
    (tmp_path / "popularity.json").write_text(json.dumps(popularity))
    with pytest.raises(
        FileCorrupt, match=r"popularity.json must list catalogue indices, each once"
    ):
        FilterSeenItems.open(tmp_path, settings, 1)


def bar(valkey, **states: str) -> None:
    """By index: i5="hidden"."""
    set_availability(
        valkey.client(POPULARITY_DATABASE),
        {ITEMS[int(name[1:]) - 3]: state for name, state in states.items()},
    )


def test_what_is_unavailable_is_shown_nowhere(settings, valkey):
    bar(valkey, i5="hidden", i22="out_of_stock", i20="hidden")
    see(valkey, "u", [3, 5])
    stage = stage_on(settings)
    assert stage.gauges()["recsys_unavailable_items"][1] == 3
    assert (
        time.time() - 60 < stage.gauges()["recsys_availability_refreshed_seconds"][1] <= time.time()
    )
    # no candidate, no backfill
    assert ask(stage, [5, 3, 7]) == ([7, 21, 19, 4, 6], 0)
    assert fates(stage, [5, 3, 7]) == {
        5: Fate.HIDDEN,
        3: Fate.SEEN,
        7: Fate.KEPT,
        21: Fate.BACKFILLED,
        19: Fate.BACKFILLED,
        4: Fate.BACKFILLED,
        6: Fate.BACKFILLED,
    }
    # nor in the last resort
    see(valkey, "u", [*range(3, 23)])
    assert ask(stage, [22, 5, 9]) == ([9, 21, 19, 3, 4], 0)
    bar(valkey, i22="available", i9="out_of_stock")
    assert ask(stage, [22, 5, 9])[0] == [9, 21, 19, 3, 4]  # not polled since
    stage.poller.poll()
    assert ask(stage, [22, 5, 9])[0] == [22, 21, 19, 3, 4]


def test_a_shop_without_anything_to_sell_shows_nothing(settings, valkey):
    bar(valkey, **{f"i{n}": "out_of_stock" for n in range(3, 23)})
    assert ask(stage_on(settings), [5, 4]) == ([], 0)


def test_availability_changes_reach_a_stage_that_serves(settings, valkey):
    stage = stage_on(settings)
    stage.start()
    try:
        bar(valkey, i4="hidden")
        deadline = time.monotonic() + 10
        while 4 in ask(stage, [3, 4, 5, 6, 7])[0]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        stage.close()


def test_availability_that_was_never_read_degrades_and_an_outage_later_does_not(settings, valkey):
    valkey.kill()
    stage = stage_on(settings)
    assert ask(stage, [3, 4, 5, 6, 7], "-1") == ([3, 4, 5, 6, 7], Degraded.AVAILABILITY)
    valkey.start()
    bar(valkey, i4="hidden")
    assert stage.poller.poll()
    assert ask(stage, [3, 4, 5, 6, 7], "-1") == ([3, 5, 6, 7, 22], 0)
    valkey.kill()
    assert not stage.poller.poll()
    assert ask(stage, [3, 4, 5, 6, 7], "-1") == ([3, 5, 6, 7, 22], 0)


def test_what_is_beyond_topk_says_so(settings):
    assert fates(stage_on(settings, most=2, least=1), [3, 4, 5]) == {
        3: Fate.KEPT,
        4: Fate.KEPT,
        5: Fate.SURPLUS,
    }


def test_many_visitors_are_answered_as_one_by_one_and_read_at_once(settings, valkey):
    bar(valkey, i4="hidden", i6="out_of_stock")
    see(valkey, "a", [3, 5, 7])
    see(valkey, "b", [*range(3, 23)])
    valkey.client(VISITOR_DATABASE).rpush(bloom.seen_key("broken", bloom.day_of(NOW, UTC)), "x")
    stage = stage_on(settings)
    asked = {
        "a": [3, 4, 5, 6, 7, 8],
        "-1": [9, 8],
        "b": [4, 5],
        "nobody": [],
        "broken": [3, 4],
        "ü": [*range(3, 23)],
    }
    visitors = [*asked, "a"]
    candidates = [asked[visitor] for visitor in visitors]
    flat = [index for given in candidates for index in given]
    admin = valkey.client()
    admin.config_resetstat()
    together = stage_runs.run(
        stage,
        visitor_id=np.array(visitors, dtype=object),
        query_embedding=np.ones((7, 64), np.float32),
        union=np.array(flat, np.int32),
        union_counts=np.array([*map(len, candidates)], np.int32),
        union_by_sources=np.zeros(1, np.int32),
        union_score=np.array([*map(similarity, flat)], np.float32),
    )
    assert (
        admin.info("commandstats")["cmdstat_get"]["calls"] == 7 * 5
    )  # days of distinct visitors that are known
    alone = [
        run(stage, given, visitor) for visitor, given in zip(visitors, candidates, strict=True)
    ]
    for name, found in together.items():
        expected = np.concatenate([one[name] for one in alone])
        assert found.dtype == expected.dtype and found.tobytes() == expected.tobytes(), name
    assert together["filter_degraded"].tolist() == [0, 0, 0, 0, Degraded.SEEN_FILTER, 0, 0]


@pytest.fixture(scope="module")
def index():
    import faiss

    vectors = np.random.default_rng(3).normal(size=(len(MANY), 64)).astype(np.float32)
    vectors[40:60] = vectors[40]  # equal ones
    built = faiss.IndexIDMap2(faiss.IndexFlatIP(64))
    built.add_with_ids(vectors, np.arange(3, 3 + len(MANY)))
    return Searcher(built)


MANY = [f"item-{n}" for n in range(900)]


def many(settings: Settings, searcher: Searcher) -> FilterSeenItems:
    return FilterSeenItems(
        visitor_client(settings, VISITOR_DATABASE),
        Unavailable(settings),
        lambda: searcher,
        MANY,
        np.arange(902, 802, -1),
        most=30,
        least=10,
        rule=DEFAULT_RULE,
        zone=UTC,
        clock=lambda: NOW,
    )


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.97, 1.0])
def test_over_fetch_grows_to_what_one_wide_search_gives(settings, valkey, index, share):
    random = np.random.default_rng(int(share * 100))
    see(
        valkey, "u", [n + 3 for n in range(20) if random.random() < share]
    )  # 20 items for the test's own ids
    client = valkey.client(VISITOR_DATABASE)
    mark = [item for item in MANY if random.random() < share]
    for item in mark:
        for bit in bloom.positions(item, VIEW):
            client.setbit(bloom.seen_key("u", bloom.day_of(NOW, UTC)), int(bit), 1)
    set_availability(valkey.client(POPULARITY_DATABASE), {item: "hidden" for item in MANY[::9]})
    stage = many(settings, index)
    stage.poller.poll()
    for _ in range(20):
        query = random.normal(size=(1, 64)).astype(np.float32)
        lists = []
        for width in (40, len(MANY)):
            items, near = index.search(query[0], width)
            lists.append(
                stage_runs.run(
                    stage,
                    visitor_id=np.array(["u"], object),
                    query_embedding=query,
                    union=items,
                    union_score=near,
                    union_counts=np.array([len(items)], np.int32),
                    union_by_sources=np.zeros(1, np.int32),
                )
            )
        for name in ("kept", "kept_similarity", "kept_counts"):
            assert lists[0][name].tobytes() == lists[1][name].tobytes()
        kept = lists[0]["kept"].tolist()
        assert len(set(kept)) == len(kept) and not {MANY[row - 3] for row in kept} & set(MANY[::9])
        if share < 1:
            assert not {MANY[row - 3] for row in kept} & set(mark)
        # no wider than it must be
        looked_at = lists[0]["considered_counts"][0]
        assert looked_at == 40 if share == 0 else looked_at in (40, 80, 160, 320, 640, 900)
    assert len(kept) == 30 if share != 0.97 else 10 <= len(kept) <= 30


def test_a_query_that_is_no_number_finds_what_is_popular(settings, index):
    stage = many(settings, index)
    none = np.empty(0, np.int32)
    for wrong in (np.nan, np.inf, -np.inf):
        found = stage_runs.run(
            stage,
            visitor_id=np.array(["u"], object),
            query_embedding=np.full((1, 64), wrong, np.float32),
            union=none,
            union_score=none.astype(np.float32),
            union_counts=np.zeros(1, np.int32),
            union_by_sources=np.zeros(1, np.int32),
        )
        assert (
            found["kept"].tolist() == list(range(902, 892, -1))
            and found["kept_similarity"].tolist() == [0.0] * 10
        )


def test_what_is_looked_at_has_a_limit(settings, valkey, index, monkeypatch):
    """A filter that takes everything for seen costs no search of a whole catalogue, and the list is
    full all the same.
    """
    monkeypatch.setattr(seen_items, "MOST_FETCHED", 100)
    monkeypatch.setattr(seen_items, "MOST_POPULAR", 300)
    valkey.client(VISITOR_DATABASE).set(
        bloom.seen_key("u", bloom.day_of(NOW, UTC)), b"\xff" * (bloom.BITS // 8)
    )
    items, near = index.search(np.ones(64, np.float32), 40)
    found = stage_runs.run(
        many(settings, index),
        visitor_id=np.array(["u"], object),
        query_embedding=QUERY,
        union=items,
        union_score=near,
        union_counts=np.array([40], np.int32),
        union_by_sources=np.zeros(1, np.int32),
    )
    assert (
        found["considered_counts"].tolist() == [100]
        and found["kept"].tolist() == found["considered"][:30].tolist()
    )


def test_an_index_of_another_catalogue_is_refused(settings, index):
    with pytest.raises(UnknownItemIndex, match=r"index\.faiss holds"):
        run(stage_on(settings, searcher=index), [3, 4])
