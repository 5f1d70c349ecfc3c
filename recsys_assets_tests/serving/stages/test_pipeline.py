"""The 15 stages in one process, against a computation by hand and what an answer must and must not
hold.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from recsys_assets.artifacts import ArtifactCorrupt, ArtifactStore
from recsys_assets.serving.stages.answer import (
    ANSWER,
    COUNT,
    DEGRADED,
    QUERY_RELEASE,
    RANKER_RELEASE,
)
from recsys_assets.serving.stages.pipeline import Pipeline, trace_layout
from recsys_assets.serving.stages.registry import STAGES, stage_class
from recsys_assets.serving.stages.stage import StageInputInvalid
from recsys_assets.settings import VISITOR_DATABASE
from recsys_assets_tests.support import tiny_payload, tiny_store
from recsys_assets_tests.support.seen import mark_seen
from recsys_assets_tests.support.tiny_payload import ITEM_IDS, TOPK
from recsys_assets_tests.support.tiny_store import AS_OF

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def shop(tmp_path_factory, valkey_process):
    return tiny_store.shop(tmp_path_factory.mktemp("home"), valkey_process)


@pytest.fixture
def pipeline(shop, valkey):
    tiny_store.write_users(shop.store)
    opened = Pipeline.load(shop.payload, shop.settings, {"query_tower": 5, "dlrm_ranking": 6})
    yield opened
    opened.close()


def request(
    user_id: str, device: str | None = None, timestamp: int | None = AS_OF
) -> dict[str, np.ndarray]:
    given = {"user_id": np.array([user_id], object)}
    if device is not None:
        given["device_type"] = np.array([device], object)
    if timestamp is not None:
        given["timestamp"] = np.array([timestamp])
    return given


def ids(answer) -> list[str]:
    return answer["ordered_ids"].tolist()


def info(answer, column: int) -> list[int]:
    return answer["answer_info"][:, column].tolist()


def by_hand(
    user: list[int],
    age: float,
    device: int,
    clock: list[float],
    seen: set[int] = frozenset(),
    week: tuple[str, ...] = (),
    day: tuple[str, ...] = (),
    hours: float = 24.0,
):
    """Ordered ids and scores out of the weights and tables alone; week and day: the categories of
    the clicks.
    """
    weights, table = tiny_payload.weights(), tiny_payload.embedding_table()
    cont = [(age - 40.25) / 12.5, np.log1p(len(day)), hours / 24, np.log1p(len(week)), *clock]
    history = [
        clicks.count(name)
        for clicks in (week, day)
        for name in (None, None, None, *tiny_payload.CATEGORIES)
    ]
    query = np.array([*user, device, *cont, *history]) @ weights["query_tower"]
    products = tiny_payload.item_vectors() @ (query / np.linalg.norm(query))
    candidates = [n for n in np.argsort(-products) if n not in seen][:30]
    vocabulary = {
        name: {v: 3 + n for n, v in enumerate(values)}
        for name, values in tiny_payload.transforms()["vocabulary"].items()
    }
    scores = []
    for n in candidates:
        item = tiny_payload.items()[ITEM_IDS[n]]
        codes = [
            vocabulary[name][item[name]] for name in ("category_l1", "category_l2", "item_gender")
        ]
        price = (np.log(item["price"]) - 3.5) / 1.25
        c_long, c24 = (clicks.count(item["category_l1"]) for clicks in (week, day))
        affinity = [c_long / (len(week) + 2), c24 / (len(day) + 1), np.log1p(c_long), np.log1p(c24)]
        row = [
            *user,
            device,
            3 + n,
            *codes,
            *cont,
            price,
            np.log1p(item["item_clicks"]),
            *affinity,
            *table[3 + n],
        ]
        logit = (np.array(row) @ weights["dlrm_ranking"])[0]
        logit += tiny_payload.RETRIEVAL_WEIGHT * (products[n] - products[candidates[0]])
        scores.append(1 / (1 + np.exp(-logit)))
    best = np.argsort(-np.array(scores), kind="stable")[:TOPK]
    return [ITEM_IDS[candidates[b]] for b in best], [scores[b] for b in best]


CLOCK = [
    float(np.sin(2 * np.pi * 8 / 24)),
    float(np.cos(2 * np.pi * 8 / 24)),
    float(np.sin(2 * np.pi * 3 / 7)),
    float(np.cos(2 * np.pi * 3 / 7)),
]  # AS_OF: Thursday, 8 o'clock


def test_known_visitor_by_hand(pipeline):
    answer = pipeline.run(request("user-1", "desktop"))
    expected_ids, expected_scores = by_hand([4, 3, 2, 4], 29.0, 4, CLOCK)
    assert ids(answer) == expected_ids
    np.testing.assert_allclose(answer["ordered_scores"], expected_scores, atol=1e-5)
    assert set(answer) == {spec.name for spec in ANSWER}
    assert answer["answer_info"].tolist() == [[TOPK, 5, 6, 0]]


def test_cold_visitor_by_hand_with_seen_items_and_a_live_category(pipeline, shop, valkey):
    mark_seen(
        valkey.client(VISITOR_DATABASE), "new", ["item-03", "item-11"], valkey.client().time()[0]
    )
    tiny_store.write_clicks(
        shop.store,
        "new",
        ("beauty", "item-03", AS_OF - 7 * 86_400),
        ("books", "item-01", AS_OF - 1),
        ("tools", "item-02", AS_OF),
        ("tools", "gone", AS_OF + 79_200),
    )
    answer = pipeline.run(request("new", "mobile", AS_OF + 86_400))
    friday = [*CLOCK[:2], float(np.sin(2 * np.pi * 4 / 7)), float(np.cos(2 * np.pi * 4 / 7))]
    expected_ids, expected_scores = by_hand(
        [2, 2, 5, 5],
        40.25,
        3,
        friday,
        seen={3, 11},
        hours=2.0,
        week=("books", "tools", "tools"),
        day=("tools", "tools"),
    )
    assert ids(answer) == expected_ids
    np.testing.assert_allclose(answer["ordered_scores"], expected_scores, atol=1e-5)


def test_the_list_follows_the_category_clicked_last_week(pipeline, shop):
    """Clicks of before the 24 hours: they change the answer, and no longer so when seven days have
    passed.
    """
    answers = {}
    for user_id, category in (("books-reader", "books"), ("smith", "tools")):
        tiny_store.write_clicks(
            shop.store, user_id, *[(category, "item-01", AS_OF - 2 * 86_400 + n) for n in range(9)]
        )
        answers[user_id] = pipeline.run(request(user_id, "mobile"))["ordered_scores"].tobytes()
    answers["nobody"] = pipeline.run(request("nobody", "mobile"))["ordered_scores"].tobytes()
    assert len(set(answers.values())) == 3
    later = AS_OF + 7 * 86_400
    assert ids(pipeline.run(request("smith", "mobile", later))) == ids(
        pipeline.run(request("nobody", "mobile", later))
    )


def test_a_cold_visitors_list_changes_with_device_and_hour(pipeline):
    scores = {
        (device, hour): pipeline.run(request("nobody", device, AS_OF + 3_600 * hour))[
            "ordered_scores"
        ].tobytes()
        for device in ("mobile", "desktop", None)
        for hour in (0, 6)
    }
    assert len(set(scores.values())) == len(scores)


def test_the_same_request_gives_the_same_bytes(pipeline):
    first, second = (pipeline.run(request("user-3", "mobile")) for _ in range(2))
    assert all(
        first[name].tobytes() == second[name].tobytes()
        for name in ("ordered_scores", "answer_info")
    )
    assert ids(first) == ids(second)


@pytest.mark.parametrize("user_id", ["user-0", "nobody", "-1", "", "ü:*\n"])
def test_always_a_full_list_of_catalogue_items_each_once(pipeline, user_id):
    answer = pipeline.run(request(user_id, None, None))
    assert len(ids(answer)) == TOPK == len(set(ids(answer))) and set(ids(answer)) <= set(ITEM_IDS)
    assert (
        np.isfinite(answer["ordered_scores"]).all()
        and (np.diff(answer["ordered_scores"]) <= 0).all()
    )


def test_without_the_store_a_known_visitor_gets_the_cold_list_marked_degraded(pipeline, valkey):
    cold = pipeline.run(request("nobody"))
    valkey.kill()
    answer = pipeline.run(request("user-1"))
    assert ids(answer) == ids(cold)
    assert info(answer, DEGRADED) == [1 | 2]


def test_a_release_with_places_shows_its_new_items(pipeline, shop, valkey, tmp_path):
    """The tenth place of ten is that of the best of the young items, which are the last three."""
    payload = tiny_payload.write_release(
        tmp_path, shop.settings, by_sources=True, new_item_places=10
    )
    plain = tiny_payload.write_release(tmp_path / "plain", shop.settings, by_sources=True)
    young = set(ITEM_IDS[-3:])
    given, without = (Pipeline.load(one, shop.settings) for one in (payload, plain))
    try:
        for user in ("user-0", "user-1", "user-2", "nobody", "-1"):
            answer, before = (one.run(request(user)) for one in (given, without))
            assert len(ids(answer)) == TOPK == len(set(ids(answer)))
            assert young & set(ids(answer))
            assert ids(answer)[:9] == ids(before)[:9] or young & set(ids(before)[:9])
            trace = given.explained(given.trace(request(user)))
            first = [ITEM_IDS[item - 3] for item in trace["union"][:3].tolist()]
            assert set(first) == young, "they are candidates of every visitor"
    finally:
        given.close()
        without.close()


def batch(*requests: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Requests of the same tensors as one."""
    return {name: np.concatenate([one[name] for one in requests]) for name in requests[0]}


def test_a_batch_is_answered_as_one_by_one_to_the_bit(pipeline, shop, valkey):
    mark_seen(valkey.client(VISITOR_DATABASE), "seen", ITEM_IDS[:30], valkey.client().time()[0])
    tiny_store.write_clicks(
        shop.store,
        "clicker",
        *[("tools", f"item-{n:02d}", AS_OF - 60 * n) for n in range(9, 0, -1)],
    )
    users = [
        "user-1",
        "nobody",
        "seen",
        "clicker",
        "-1",
        "ü:*\n",
        "user-1",
        *(f"user-{n % 9}" for n in range(40)),
    ]
    asked = [
        {
            **request(user, ("mobile", "desktop", "")[n % 3], AS_OF + 977 * n),
            "top_k": np.array([(-1, 1, 7, 500)[n % 4]], np.int32),
            "seed": np.array([n]),
        }
        for n, user in enumerate(users)
    ]
    together, alone = pipeline.run(batch(*asked)), [pipeline.run(one) for one in asked]
    assert ids(together) == [item for one in alone for item in ids(one)]
    for name in ("ordered_scores", "answer_info"):
        assert together[name].tobytes() == np.concatenate([one[name] for one in alone]).tobytes()
    assert info(together, COUNT)[:4] == [TOPK, 1, 7, TOPK]
    assert (set(info(together, QUERY_RELEASE)), set(info(together, RANKER_RELEASE))) == ({5}, {6})
    assert len({one["ordered_scores"].tobytes() for one in alone}) > 30


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_tiny_catalogue_without_prices_is_answered_whole(
    shop, valkey, tmp_path, monkeypatch, count
):
    monkeypatch.setattr(tiny_payload, "ITEM_IDS", ITEM_IDS[:count])
    with ArtifactStore(tmp_path).stage("serving/release", "000001") as staged:
        tiny_payload.write_models(staged.path, shop.settings)
        unpriced = {item: {**row, "price": None} for item, row in tiny_payload.items().items()}
        path = staged.path / "models" / "feast_item_lookup" / "items.json"
        path.write_text(json.dumps(unpriced))
        payload = staged.publish().local
    mark_seen(valkey.client(VISITOR_DATABASE), "sated", ITEM_IDS[:count], valkey.client().time()[0])
    opened = Pipeline.load(payload, shop.settings, {"query_tower": 1, "dlrm_ranking": 1})
    try:
        for user in ("nobody", "sated"):
            answer = opened.run(request(user))
            assert sorted(ids(answer)) == ITEM_IDS[:count] and info(answer, DEGRADED) == [0]
            assert np.isfinite(answer["ordered_scores"]).all()
        assert (opened.trace(request("nobody"))["item_cont"][:, 0] == 0).all()
    finally:
        opened.close()


def test_a_trace_packs_and_unpacks(pipeline):
    tensors = pipeline.trace(batch(request("user-1"), request("nobody")))
    found = trace_layout().unpack(pipeline.packed_trace(tensors))
    assert found["kept_counts"].tolist() == tensors["kept_counts"].tolist()
    assert all(found[name].shape == tensors[name].shape for name in found if name in tensors)
    # a recommendation does not compute what only a trace has
    assert set(found) - set(tensors) == {"union_found_by", "union_mostly", "union_after"}
    for name in set(found) - set(tensors):
        assert found[name].shape == tensors["union"].shape, name


def test_the_time_of_each_stage_is_known(pipeline):
    answer, seconds = pipeline.timed(request("user-1"))
    assert list(seconds) == list(STAGES) and all(spent > 0 for spent in seconds.values())
    assert pipeline.answers == 1 and len(ids(answer)) == TOPK


def test_every_tensor_is_of_its_declared_form(pipeline):
    tensors = pipeline.trace(batch(request("user-1", "desktop"), request("nobody", "")))
    for model in STAGES:
        for spec in stage_class(model).outputs:
            spec.check(tensors[spec.name])


def test_a_request_without_a_user_or_of_a_wrong_type_is_refused(pipeline):
    with pytest.raises(StageInputInvalid, match="the request needs the tensor user_id"):
        pipeline.run({"timestamp": np.array([AS_OF])})
    with pytest.raises(
        StageInputInvalid, match=r"timestamp must be INT64\[-1\], got float64 \[1\]"
    ):
        pipeline.run({**request("u"), "timestamp": np.array([float("nan")])})


def test_stages_must_follow_one_another():
    decoder = stage_class("item_id_decoder")(ITEM_IDS)
    with pytest.raises(
        ValueError,
        match=r"item_id_decoder needs sampled_items, sampled_scores, .* which no stage before it "
        r"gives",
    ):
        Pipeline([decoder])


def test_a_changed_byte_of_a_release_is_refused(shop, tmp_path, valkey):
    settings = shop.settings
    payload = tiny_payload.write_release(tmp_path, settings)
    path = payload / "models" / "filter_seen_items" / "popularity.json"
    path.write_text(path.read_text().replace("42", "41", 1))
    with pytest.raises(ArtifactCorrupt, match=r"popularity\.json differs from its manifest"):
        Pipeline.load(payload, settings)
