"""Foreign logs with negative feedback, in the forms that their publishers document.

- XING, RecSys Challenge 2016, interactions.csv: tab-separated user_id, item_id, interaction_type,
  created_at (unix seconds). Types: 1 clicked, 2 bookmarked, 3 replied, 4 deleted a recommendation,
  after which it is not shown again.
- REES46, eCommerce behavior data: event_time, event_type, product_id, category_id, category_code,
  brand, price, user_id, user_session; event types view, cart, remove_from_cart, purchase.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys_assets.columns import CLICK, DISMISS, EVENT_TYPE, ITEM_ID
from recsys_assets.lib.own_data.words import EVENT_WORDS, likely_event
from recsys_assets_tests.lib.own_data.test_bring import DAY, landed, take

XING = "user_id\titem_id\tinteraction_type\tcreated_at\n" + "".join(
    f"{user}\t{item}\t{kind}\t{DAY + 3_600 * n}\n"
    for n, (user, item, kind) in enumerate(
        [(7, 100, 1), (7, 101, 1), (7, 102, 4), (8, 100, 3), (8, 101, 4), (8, 101, 2)]
    )
)
REES46 = (
    "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
    + "".join(
        f"2026-01-01 10:0{n}:00 UTC,{kind},{item},2053013555631882655,,runail,2.62,463240011,s\n"
        for n, (kind, item) in enumerate(
            [
                ("view", 5802432),
                ("cart", 5802432),
                ("remove_from_cart", 5802432),
                ("view", 5844397),
                ("purchase", 5844397),
            ]
        )
    )
)


def test_a_deleted_recommendation_of_xing_is_a_dismissal(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text(XING)
    entry = take(
        tmp_path / "landing",
        tmp_path / "interactions.csv",
        mapping={"event_type": "interaction_type", "timestamp": "created_at"},
        events={"1": "View", "2": "AddToCart", "3": "Purchase", "4": "Dismiss"},
    )
    rows = landed(tmp_path / "landing")
    assert rows.height == 6 and entry["sources"][0]["accepted"] == 6
    dismissed = rows.filter(pl.col(EVENT_TYPE) == DISMISS)
    assert dismissed[ITEM_ID].sort().to_list() == ["101", "102"]
    assert dismissed[CLICK].to_list() == [0, 0]
    assert rows.filter(pl.col(EVENT_TYPE) != DISMISS)[CLICK].to_list() == [1] * 4


def of_rees46(tmp_path: Path, **events: str) -> pl.DataFrame:
    (tmp_path / "2026-Jan.csv").write_text(REES46)
    take(
        tmp_path / "landing",
        tmp_path / "2026-Jan.csv",
        mapping={"item_id": "product_id", "timestamp": "event_time"},
        events=events,
    )
    return landed(tmp_path / "landing")


def test_what_leaves_a_cart_is_left_out_and_no_dismissal(tmp_path: Path) -> None:
    rows = of_rees46(tmp_path)
    assert sorted(rows[EVENT_TYPE].to_list()) == ["AddToCart", "Purchase", "View", "View"]


def test_a_shop_may_say_that_what_leaves_a_cart_is_one(tmp_path: Path) -> None:
    rows = of_rees46(tmp_path, remove_from_cart=DISMISS)
    assert rows.filter(pl.col(EVENT_TYPE) == DISMISS)[ITEM_ID].to_list() == ["5802432"]


@pytest.mark.parametrize(
    "word", ["Dismiss", "dismissed", "not_interested", "Not interested", "DISLIKE", "thumbs-down"]
)
def test_words_of_dismissals_need_no_mapping(tmp_path: Path, word: str) -> None:
    log = tmp_path / "log.csv"
    log.write_text(f"user_id,item_id,timestamp,event_type\nu,i,{DAY},{word}\nu,i,{DAY},view\n")
    take(tmp_path / "landing", log)
    assert sorted(landed(tmp_path / "landing")[EVENT_TYPE].to_list()) == ["Dismiss", "View"]


@pytest.mark.parametrize("word", ["skip", "delete", "remove_from_cart", "hide", "undislike"])
def test_words_that_may_mean_something_else_are_not_guessed(word: str) -> None:
    assert word.replace("_", "") not in EVENT_WORDS
    assert word == "undislike" or likely_event(word) is None
