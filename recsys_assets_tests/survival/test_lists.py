"""Whoever asks for whatever gets a full list of distinct items of the catalogue; what is seen or
not available is not in it.
"""

from __future__ import annotations

import pytest

from recsys_assets_tests.support.stack import INDEXED, WANTED, Stack, eventually, faults, lasting
from recsys_assets_tests.support.tiny_payload import ITEM_IDS, items

pytestmark = pytest.mark.services


@pytest.mark.parametrize(
    "user_id", ["user-1", "nobody", "0", "-1", "ünbekannt/../x y", "item-03", "x" * 128]
)
def test_known_and_unknown_visitors(stack: Stack, user_id: str) -> None:
    assert faults([stack.ask(user_id)]) == []


@pytest.mark.parametrize("top_k", [1, INDEXED, INDEXED + 1, len(ITEM_IDS)])
def test_fewer_candidates_than_wanted_are_filled_up(stack: Stack, top_k: int) -> None:
    assert faults([stack.ask("user-2", top_k)], top_k) == []


def test_more_than_the_catalogue_is_the_whole_catalogue(stack: Stack) -> None:
    assert sorted(stack.ids("user-2", top_k=100)) == sorted(ITEM_IDS)
    answers = stack.http.post(
        "/recommend/batch",
        json={"requests": [{"user_id": f"user-{n}", "top_k": 100} for n in range(3)]},
    ).json()
    assert [
        sorted(item["item_id"] for item in answer["items"]) for answer in answers["answers"]
    ] == [sorted(ITEM_IDS)] * 3


def test_items_that_the_online_store_lacks_are_ranked_by_the_release_s_own_features(
    stack: Stack,
) -> None:
    """Ten of the forty are not in the store; price and category come from the release then."""
    trace = stack.trace("user-2", timestamp=1_760_000_000)
    assert sorted(trace["kept"] - 3) == list(range(40)) and trace["item_numbers"].min() >= 0
    prices = {
        ITEM_IDS[index - 3]: float(price)
        for index, price in zip(trace["kept"].tolist(), trace["item_numbers"][:, 0], strict=True)
    }
    assert prices == pytest.approx({item_id: row["price"] for item_id, row in items().items()})


def test_unknown_items_are_refused_by_name(stack: Stack) -> None:
    for answer, status in (
        (stack.http.get("/similar/no-such-item"), 404),
        (stack.http.post("/events", json={"user_id": "u", "item_id": "no-such-item"}), 422),
    ):
        assert (answer.status_code, answer.json()["error"]["field"]) == (status, "item_id")
    alike = stack.http.get(f"/similar/{ITEM_IDS[5]}", params={"top_k": 30}).json()["items"]
    names = [item["item_id"] for item in alike]
    assert len(set(names)) == len(names) == INDEXED - 1 and set(names) <= set(
        ITEM_IDS[:INDEXED]
    ) - {ITEM_IDS[5]}
    assert (
        stack.http.get(f"/similar/{ITEM_IDS[INDEXED]}").json()["items"] == []
    )  # -1, as an item without a vector has, is no item


def test_all_candidates_seen_is_filled_up_with_popular_unseen_items(stack: Stack) -> None:
    stack.see("reader", ITEM_IDS[:INDEXED])
    found = stack.ids("reader")
    assert len(set(found)) == WANTED and set(found) <= set(ITEM_IDS[INDEXED:])
    told = explained(stack, "reader")
    assert {one["why"] for one in told["filter"]["dropped"]} == {"seen"} and len(
        told["filter"]["dropped"]
    ) == INDEXED
    assert {one["why_kept"] for one in told["ranking"]} == {"backfilled"}
    assert sorted(one["item_id"] for one in told["ranking"]) == sorted(ITEM_IDS[INDEXED:])


def test_nearly_everything_seen(stack: Stack) -> None:
    left = ITEM_IDS[
        INDEXED - 2 : INDEXED + 3
    ]  # two candidates, and three that only backfilling brings
    stack.see("hasty", [item for item in ITEM_IDS if item not in left])
    assert sorted(stack.ids("hasty", top_k=len(left))) == sorted(left)
    assert set(left) <= set(stack.ids("hasty", top_k=10))


def test_who_has_seen_everything_is_still_shown_a_full_list(stack: Stack) -> None:
    stack.see("veteran", ITEM_IDS)
    assert faults([stack.normal("veteran")]) == []
    assert {one["why_kept"] for one in explained(stack, "veteran")["ranking"]} == {"shown_again"}


def explained(stack: Stack, user_id: str) -> dict:
    """Of an answer that is not degraded."""

    def told() -> dict | None:
        answer = stack.http.post("/explain", json={"user_id": user_id, "top_k": 10})
        assert answer.status_code == 200, answer.text
        return None if answer.json()["degraded"] else answer.json()

    return eventually(told, "an explanation that is not degraded")


# --- availability


def shown(stack: Stack, user_id: str) -> dict[str, list[str]]:
    """What each of the ways to an item holds."""
    return {
        "recommend": stack.ids(user_id, top_k=100),
        "popular": [
            item["item_id"]
            for item in stack.http.get("/popular", params={"top_k": 100}).json()["items"]
        ],
        "similar": [
            item["item_id"]
            for item in stack.http.get(f"/similar/{ITEM_IDS[0]}", params={"top_k": 30}).json()[
                "items"
            ]
        ],
    }


@pytest.mark.parametrize("user_id", ["user-1", "nobody", "everything"])
@pytest.mark.parametrize("status", ["out_of_stock", "hidden"])
def test_what_is_not_available_is_nowhere_and_comes_back(
    stack: Stack, user_id: str, status: str
) -> None:
    if user_id == "everything":
        stack.see(user_id, ITEM_IDS)
    gone = ITEM_IDS[7], ITEM_IDS[INDEXED - 1]
    before = shown(stack, user_id)
    assert all(set(gone) <= set(ids) for ids in before.values()), before

    def change(to: str) -> None:
        answer = stack.http.post(
            "/availability",
            json={"changes": [{"item_id": item_id, "status": to} for item_id in gone]},
        )
        assert answer.status_code == 200, answer.text

    try:
        change(status)
        lasting(
            lambda: not any(set(gone) & set(ids) for ids in shown(stack, user_id).values()),
            "the items vanish",
        )
        found = shown(stack, user_id)
        assert {way: len(ids) for way, ids in found.items()} == {
            way: len(ids) - 2 for way, ids in before.items()
        }
        assert not any(
            set(gone) & set(ids) for ids in found.values()
        )  # nor do they come back by themselves
    finally:
        change("available")
    lasting(
        lambda: (
            {way: set(ids) for way, ids in shown(stack, user_id).items()}
            == {way: set(ids) for way, ids in before.items()}
        ),
        "the items come back",
    )
