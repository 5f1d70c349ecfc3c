"""The gateway before a real Triton that answers as the recommender does: rankings, batches,
explanations, odd answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from recsys_assets.columns import (
    CANDIDATE_CONTINUOUS,
    ITEM_CATEGORICAL,
    QUERY_CATEGORICAL,
    QUERY_CONTINUOUS,
)
from recsys_assets.serving.events.served_log import SERVED, ServedAnswer
from recsys_assets.serving.gateway.because import AFTER, BECAUSE, because
from recsys_assets.serving.gateway.explanation import IdsDiffer, explain
from recsys_assets.serving.gateway.triton_client import Ranking
from recsys_assets.serving.published.display import Display
from recsys_assets.serving.stages.answer import Degraded, Fate, Placing
from recsys_assets.serving.stages.pipeline import trace_layout
from recsys_assets.serving.stages.stage import DTYPES
from recsys_assets.settings import Settings
from recsys_assets.source_names import (
    ALL_SOURCES,
    EASE,
    FOLLOW_UPS,
    ITEM_KNN,
    ITEM_TO_ITEM,
    OWN_ITEMS,
    POPULAR_NOW,
    YOUNG_ITEMS,
)
from recsys_assets_tests.support.answering_triton import RELEASE, answering, write_answering
from recsys_assets_tests.support.gateway_calls import error, promote_similar, serve
from recsys_assets_tests.support.small_shop import ITEMS, promote
from recsys_assets_tests.support.small_triton import settings_for
from recsys_assets_tests.support.stack import eventually

ANSWERED = ["d/4", "a", "c"]  # of the shop a, b, c, d/4: indices 3, 4, 5, 6
SCORES = np.array([0.9, 0.2, 0.6, 0.4], np.float32)  # of a, b, c, d/4
SAID = {"rung": "item_to_item", "hides": "nothing", "learnt_to": "2026-11-12"}
SIMILARITY = np.array([0.1, 0.3, 0.3, 0.5], np.float32)


def trace_of_an_answer() -> np.ndarray:
    """Retrieval brought 3 to 6 and 9 was no item's; b is ranked below, the rest was shown as
    ANSWERED.
    """
    weight = 4.0
    blended = 1 / (1 + (1 - SCORES) / SCORES * np.exp(weight * (SIMILARITY.max() - SIMILARITY)))
    values: dict[str, Any] = {
        "visitor_id": ["ann"],
        "context_device": ["mobile"],
        "context_timestamp": [1_790_000_000],
        "user_raw": [["ann", "F", "books"]],
        "user_numbers": [[math.nan, 2, 5, 2]],
        "user_history_raw": ["books", "toys"],
        "query_embedding": np.ones((1, 64)),
        "candidates": [6, 4, 5, 3, 7],
        "candidate_similarity": [0.5, 0.3, 0.3, 0.1, math.nan],
        # 6 by retrieval and follow-ups, after 4; 3 by iALS alone
        "union": [6, 3],
        "union_score": [-1.0, -2.5],
        "union_found_by": [0b11, 0b10000],
        "union_mostly": [1, 4],
        "union_after": [4, 0],
        "considered": [6, 4, 5, 3, 7],
        "considered_fate": [Fate.KEPT, Fate.KEPT, Fate.BACKFILLED, Fate.KEPT, Fate.SEEN],
        "kept": [3, 4, 5, 6],
        "kept_similarity": SIMILARITY,
        "kept_counts": [4],
        "scores": SCORES,
        "item_cat": np.arange(4 * len(ITEM_CATEGORICAL)).reshape(4, -1),
        "sampled_items": [6, 3, 5],
        "candidate_cont": np.zeros((4, len(CANDIDATE_CONTINUOUS))),
        "sampled_scores": blended[[3, 0, 2]],
        "sampled_counts": [3],
        "blended_scores": blended,
        "placing": [Placing.LISTED, Placing.RANKED_BELOW, Placing.LISTED, Placing.LISTED],
    }
    tensors = {}
    for spec in trace_layout().specs:
        shape = tuple(1 if size == -1 else size for size in spec.shape)
        empty = np.full(shape, "", object) if spec.dtype == "STRING" else np.zeros(shape)
        tensors[spec.name] = np.array(values.get(spec.name, empty), DTYPES[spec.dtype])
    return trace_layout().pack(tensors)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, valkey_process: Any) -> Iterator[Settings]:
    home = tmp_path_factory.mktemp("gateway-ranking")
    made = settings_for(home, valkey_port=valkey_process.port, token="secret")
    write_answering(made.model_repository, ANSWERED, trace_of_an_answer())
    promote(made, release=RELEASE, **SAID)
    promote_similar(made, home, [[4, 5], [3, -1], [6, 3], [-1, -1]])
    with answering(made):
        yield made


@pytest.fixture
def client(settings: Settings, valkey: Any) -> Iterator[TestClient]:
    yield from serve(settings)


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_ranking_is_answered_with_its_release(client: TestClient) -> None:
    body = client.post("/recommend", json={"user_id": 'ann\u00e9 "q"', "top_k": 2}).json()
    assert ids(body) == ["d/4", "a"]
    assert body["items"][1] == {
        "item_id": "a",
        "score": 0.5,
        "title": "Product a",
        "category_l1": "books",
        "category_l2": "books-2",
        "price": 9.5,
        "image": "/images/a",
    }
    assert (body["user_id"], body["release"], body["degraded"], body["reasons"]) == (
        'ann\u00e9 "q"',
        {
            "query": 2,
            "ranker": 3,
            "rung": "item_to_item",
            "hides": "nothing",
            "learnt_to": "2026-11-12",
        },
        False,
        [],
    )
    assert client.get("/readyz").json() == {
        "ready": True,
        "triton": True,
        "release": 3,
        "rung": "item_to_item",
        "learnt_to": "2026-11-12",
        "valkey": True,
    }
    metrics = client.get("/metrics").text
    assert (
        'gateway_release{part="ranker"} 3.0' in metrics
        and 'gateway_release{part="query"} 2.0' in metrics
    )
    for phase in ("waiting", "triton", "assembling"):
        assert f'gateway_phase_seconds_count{{phase="{phase}"}} 1.0' in metrics
    assert "gateway_in_flight 0.0" in metrics and "gateway_waiting 0.0" in metrics


def test_what_is_not_said_is_not_sent(client: TestClient) -> None:
    assert ids(client.post("/recommend", json={"user_id": "echo"}).json()) == [
        "device_type=None",
        "timestamp=None",
        "seed=None",
    ]
    given = {
        "user_id": "echo",
        "device_type": "tablet",
        "timestamp": 1_790_000_000,
        "seed": 2**63 - 1,
    }
    body = client.post("/recommend", json=given).json()
    assert ids(body) == ["device_type=b'tablet'", "timestamp=1790000000", f"seed={2**63 - 1}"]
    assert (
        body["items"][0]["title"] is None
    )  # no item of the catalogue: shown without what is not known


def test_a_batch_is_answered_as_one_by_one(client: TestClient) -> None:
    requests = [
        {"user_id": "a"},
        {"user_id": "echo", "device_type": "mobile"},
        {"user_id": "bits:7", "top_k": 1},
        {"user_id": "echo"},
    ]
    body = client.post("/recommend/batch", json={"requests": requests}).json()
    assert set(body) == {"answers", "request_id"}
    alone = [client.post("/recommend", json=request).json() for request in requests[:3]]
    assert [
        {**answer, "request_id": one["request_id"]}
        for answer, one in zip(body["answers"], alone, strict=False)
    ] == alone
    # where others say it, absence is said too: "" and -1
    assert ids(body["answers"][3]) == ["device_type=b''", "timestamp=None", "seed=None"]
    assert (
        len(client.post("/recommend/batch", json={"requests": requests * 16}).json()["answers"])
        == 64
    )


def test_degraded_rankings_say_why(client: TestClient) -> None:
    body = client.post("/recommend", json={"user_id": "bits:7"}).json()
    assert body["degraded"] and body["reasons"] == Degraded(7).reasons and ids(body) == ANSWERED
    assert client.post("/recommend", json={"user_id": "bits:2"}).json()["reasons"] == [
        "seen_filter_unavailable"
    ]
    assert (
        'gateway_degraded_total{reason="seen_filter_unavailable"} 2.0'
        in client.get("/metrics").text
    )


@pytest.mark.parametrize("user", ["nan", "short", "error"])
def test_an_answer_that_is_none_is_not_passed_on(client: TestClient, user: str) -> None:
    answer = client.post("/recommend", json={"user_id": user})
    assert answer.status_code == 200 and answer.json()["reasons"][0] == "ranking_unavailable"
    assert ids(answer.json()) == ["c", "a", "b", "d/4"]
    assert ids(client.post("/recommend", json={"user_id": "ann"}).json()) == ANSWERED


def test_an_explanation_tells_every_stage(client: TestClient) -> None:
    bearer = {"authorization": "Bearer secret"}
    answer = client.post(
        "/explain", json={"user_id": "ann", "device_type": "mobile"}, headers=bearer
    )
    body = answer.json()
    assert (answer.status_code, body["user_id"], body["release"], body["degraded"]) == (
        200,
        "ann",
        {
            "query": 2,
            "ranker": 3,
            "rung": "item_to_item",
            "hides": "nothing",
            "learnt_to": "2026-11-12",
        },
        False,
    )
    assert body["visitor"]["raw"] == {
        "user_id": "ann",
        "gender": "F",
        "top_category": "books",
        "age": None,
        "clicks_24h": 2.0,
        "hours_since_click": 5.0,
        "clicks_look_back": 2.0,
        "device_type": "mobile",
        "timestamp": 1_790_000_000,
    }
    assert (
        body["visitor"]["clicked_categories"] == ["books", "toys"]
        and "hour_sin" in body["visitor"]["transformed"]
    )
    candidates = body["retrieval"]["candidates"]
    assert [one["item_id"] for one in candidates] == ["d/4", "b", "c", "a", "[7]"]
    assert candidates[0]["similarity"] == 0.5 and candidates[4]["similarity"] is None
    found = [(one["item_id"], one["sources"], one["after"]) for one in body["sources"]]
    assert found == [("d/4", ["retrieval", "follow_ups"], "b"), ("a", ["ials"], None)]
    assert [one["because"] for one in body["sources"]] == [
        "often clicked after Product b",
        "clicked by visitors with a similar taste",
    ]
    assert body["filter"] == {
        "fates": {"kept": 3, "backfilled": 1, "seen": 1},
        "dropped": [{"item_id": "[7]", "why": "seen"}],
    }
    ranked = {one["item_id"]: one for one in body["ranking"]}
    assert list(ranked) == ["a", "c", "d/4", "b"]  # by the ranker's score
    assert {item: (one["because"], one["after"]) for item, one in ranked.items()} == {
        "a": ("clicked by visitors with a similar taste", None),
        "b": (None, None),  # no source lists it
        "c": (None, None),
        "d/4": ("often clicked after Product b", "b"),
    }
    assert [(ranked[item]["position"], ranked[item]["why_not"]) for item in "abc"] == [
        (2, None),
        (None, "ranked below"),
        (3, None),
    ]
    assert ranked["c"]["why_kept"] == "backfilled"
    listed = {one["item_id"]: one["score"] for one in body["answer"]}
    assert ranked["d/4"]["blended"] == pytest.approx(
        ranked["d/4"]["score"]
    )  # the nearest keeps its score
    assert ranked["b"]["blended"] < ranked["b"]["score"] and set(listed) == {"a", "c", "d/4"}
    assert set(ranked["a"]["features"]) == {
        *ITEM_CATEGORICAL[1:],
        "price_log_norm",
        "item_popularity",
        "category_share_look_back",
        "category_share_24h",
        "category_frequency_look_back",
        "category_frequency_24h",
    }
    assert [one["item_id"] for one in body["answer"]] == ANSWERED
    assert body["request_id"] == answer.headers["x-request-id"]


def test_an_explanation_needs_a_ranking_and_the_catalogue_of_its_release(
    client: TestClient, settings: Settings
) -> None:
    bearer = {"authorization": "Bearer secret"}
    status, field, message = error(
        client.post("/explain", json={"user_id": "error"}, headers=bearer)
    )
    assert (status, field) == (503, None) and "no ranking to explain" in message
    assert (
        error(client.post("/explain", json={"user_id": "ann", "top_k": 2}, headers=bearer))[0]
        == 503
    )  # not the trace's list
    for other in serve(settings.model_copy(update={"triton_models": "ensemble"})):
        assert (
            "RECSYS_TRITON_MODELS"
            in error(other.post("/explain", json={"user_id": "ann"}, headers=bearer))[2]
        )
        assert other.get("/readyz").json()["triton"] is False  # ensemble_model is not loaded


def logged(client: TestClient, valkey: Any, user: str) -> ServedAnswer:
    """The entry of a visitor's first answer in the log."""
    with valkey.client(1) as store:

        def found() -> list[ServedAnswer]:
            entries = store.xrange(SERVED.name)
            return [
                one for _, fields in entries for one in SERVED.unpack(fields) if one.user_id == user
            ]

        eventually(lambda: len(found()) > 0, "the answer is written")
        return found()[0]


def test_a_logged_answer_has_what_the_models_read(settings: Settings, valkey: Any) -> None:
    logs = settings.model_copy(update={"served_log": "on", "served_features_share": 1.0})
    for client in serve(logs):
        body = client.post("/recommend", json={"user_id": "ann"}).json()
        one = logged(client, valkey, "ann")
        assert ids(body) == one.item_ids == ANSWERED and one.release == RELEASE
        assert one.propensities == [0.25] * 3, "as without features"
        read = one.features
        assert read is not None and read.at == one.at == 1_790_000_000
        assert set(read.visitor) == {*QUERY_CATEGORICAL, *QUERY_CONTINUOUS}
        assert set(read.items) == {*ITEM_CATEGORICAL, *CANDIDATE_CONTINUOUS}
        # d/4, a and c are rows 3, 0 and 2 of the kept items, with four categorical features each
        assert [read.items[name] for name in ITEM_CATEGORICAL] == [
            [12 + n, 0 + n, 8 + n] for n in range(4)
        ]
        assert read.sources == [[ALL_SOURCES[0], ALL_SOURCES[1]], [ALL_SOURCES[4]], []]
        # a trace is asked of one visitor alone
        client.post("/recommend/batch", json={"requests": [{"user_id": "b"}, {"user_id": "c"}]})
        assert logged(client, valkey, "b").features is None


@pytest.mark.parametrize(
    "changed",
    [{"served_features_share": 0.0}, {"triton_models": "ensemble"}, {"served_log": "off"}],
)
def test_no_trace_is_asked_where_no_features_are_logged(
    settings: Settings, valkey: Any, changed: dict[str, Any]
) -> None:
    logs = {"served_log": "on", "served_features_share": 1.0, **changed}
    for client in serve(settings.model_copy(update=logs)):
        assert client.post("/recommend", json={"user_id": "ann"}).status_code == 200
        if logs["served_log"] == "off":
            assert not valkey.client(1).exists(SERVED.name)
        else:
            assert logged(client, valkey, "ann").features is None


def test_an_answer_does_not_fail_for_want_of_its_trace(settings: Settings, valkey: Any) -> None:
    """The published release may not be loaded any more, or not yet."""
    logs = settings.model_copy(update={"served_log": "on", "served_features_share": 1.0})
    promote(settings, release=RELEASE + 1)
    try:
        for client in serve(logs):
            assert ids(client.post("/recommend", json={"user_id": "ann"}).json()) == ANSWERED
            one = logged(client, valkey, "ann")
            assert one.features is None and one.release == RELEASE
    finally:
        promote(settings, release=RELEASE, **SAID)


def test_a_better_item_that_is_not_listed_was_left_out_for_variety() -> None:
    trace = trace_layout().unpack(trace_of_an_answer())
    listed = [0, 2]  # d/4 and c
    trace["placing"] = np.array(
        [Placing.DIVERSITY, Placing.RANKED_BELOW, Placing.LISTED, Placing.LISTED], np.int32
    )
    trace["sampled_items"], trace["sampled_scores"] = (
        trace["sampled_items"][listed],
        trace["sampled_scores"][listed],
    )
    ranking = Ranking(["d/4", "c"], trace["sampled_scores"].tolist(), 2, 3, [])
    ranked = {
        one.item_id: (one.position, one.why_not)
        for one in explain("ann", ranking, trace, list(ITEMS), "id", Display()).ranking
    }
    assert ranked == {
        "a": (None, "category cap or diversity"),
        "c": (2, None),
        "d/4": (1, None),
        "b": (None, "ranked below"),
    }
    trace["placing"][0] = Placing.NEW_ITEM
    reasons = {
        one.item_id: one.why_not
        for one in explain("ann", ranking, trace, list(ITEMS), "id", Display()).ranking
    }
    assert reasons["a"] == "a new item has its place"
    nobody = Ranking([], [], 2, 3, [])
    trace["sampled_items"], trace["sampled_scores"] = (
        trace["sampled_items"][:0],
        trace["sampled_scores"][:0],
    )
    trace["placing"] = np.zeros(4, np.int32)
    unlisted = explain("ann", nobody, trace, list(ITEMS), "id", Display()).ranking
    assert {one.why_not for one in unlisted} == {"ranked below"}
    with pytest.raises(IdsDiffer):
        explain("ann", ranking, trace, list(ITEMS), "id", Display())


def test_every_item_of_the_shop_has_a_card(client: TestClient) -> None:
    assert set(ANSWERED) < set(ITEMS)
    for item in client.post("/recommend", json={"user_id": "ann"}).json()["items"]:
        assert item["title"] == f"Product {item['item_id']}"


def test_every_source_says_why_an_item_is_listed():
    assert set(BECAUSE) == set(ALL_SOURCES) and len(set(BECAUSE.values())) == len(BECAUSE)
    assert BECAUSE[POPULAR_NOW] == "popular now"
    assert set(AFTER) < set(BECAUSE)


def test_a_source_names_the_title_of_the_visitors_item():
    assert [because(source, "b", "a", "Red {shoes}") for source in AFTER] == [
        "often clicked after Red {shoes}",
        "clicked by the same visitors as Red {shoes}",
        "clicked together with Red {shoes}",
        "new, and like Red {shoes} by content",
        "clicked by visitors like those of Red {shoes}",
    ]
    assert list(AFTER) == [FOLLOW_UPS, ITEM_KNN, EASE, YOUNG_ITEMS, ITEM_TO_ITEM]
    for source in ALL_SOURCES:
        assert because(source, "b", None, None) == BECAUSE[source]
        for title in (None, ""):
            assert because(source, "b", "a", title) == BECAUSE[source]
    for source in (OWN_ITEMS, YOUNG_ITEMS):
        assert because(source, "a", "a", "Red shoes") == "clicked by the visitor before"


def test_an_item_without_a_display_is_named_by_its_id_alone() -> None:
    trace = trace_layout().unpack(trace_of_an_answer())
    ranking = Ranking(ANSWERED, trace["sampled_scores"].tolist(), 2, 3, [])
    found = explain("ann", ranking, trace, list(ITEMS), "id", Display()).sources[0]
    assert (found.after, found.because) == ("b", "often clicked after the visitor's latest items")
