"""Click rankings and their copy in a real Valkey."""

import polars as pl
import pytest

from recsys_assets.lib.feature_store.popularity import write_popularity
from recsys_assets.lib.features.popularity import count_clicks, rankings

ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "category_l1": ["tools", "tools", "books", "books"],
        "category_l2": ["saw", "axe", "travel", "travel"],
    }
)


def _events(*views: str) -> pl.DataFrame:
    rows = [(item, "View") for item in views] + [
        ("d", "Impression"),
        ("d", "Purchase"),
        ("gone", "View"),
    ]
    return pl.DataFrame(rows, schema=["item_id", "event_type"], orient="row")


def test_counts_views_only_and_keeps_items_without_any():
    counts = count_clicks(_events("b", "c", "b", "a", "c", "b"), ITEMS)
    assert counts.select("item_id", "clicks").rows() == [("b", 3), ("c", 2), ("a", 1), ("d", 0)]
    assert counts.equals(count_clicks(_events("b", "c", "b", "a", "c", "b").lazy(), ITEMS))


def test_rankings_golden():
    ranked = rankings(count_clicks(_events("b", "c", "b", "a", "c", "b"), ITEMS))
    assert ranked.rows() == [
        ("category_l1:books", "c", 2, 1),
        ("category_l1:books", "d", 0, 2),
        ("category_l1:tools", "b", 3, 1),
        ("category_l1:tools", "a", 1, 2),
        ("category_l2:axe", "b", 3, 1),
        ("category_l2:saw", "a", 1, 1),
        ("category_l2:travel", "c", 2, 1),
        ("category_l2:travel", "d", 0, 2),
        ("global", "b", 3, 1),
        ("global", "c", 2, 2),
        ("global", "a", 1, 3),
        ("global", "d", 0, 4),
    ]


def test_equal_counts_are_ordered_by_id():
    assert count_clicks(_events("c", "b"), ITEMS)["item_id"].to_list() == ["b", "c", "a", "d"]


@pytest.mark.services
def test_write_replaces_everything_and_leaves_no_temporary_key(valkey):
    client = valkey.client(3)
    client.zadd("popularity:category_l1:vanished", {"x": 1})
    client.zadd("popularity:global", {"x": 99})
    client.set("another", "key")
    counts = count_clicks(_events("b", "c", "b"), ITEMS)
    assert write_popularity(client, counts) == 6
    assert client.zrevrange("popularity:global", 0, 1, withscores=True) == [
        (b"b", 2.0),
        (b"c", 1.0),
    ]
    assert client.zrange("popularity:category_l1:books", 0, -1, withscores=True) == [
        (b"d", 0.0),
        (b"c", 1.0),
    ]
    scopes = (
        "category_l1:books",
        "category_l1:tools",
        "category_l2:axe",
        "category_l2:saw",
        "category_l2:travel",
        "global",
    )
    assert sorted(client.keys()) == [
        b"another",
        *(f"popularity:{scope}".encode() for scope in scopes),
    ]
    assert client.ttl("popularity:global") == -1  # the temporary key's expiry must not follow it
    assert valkey.client(0).dbsize() == 0


@pytest.mark.services
def test_write_works_with_a_decoding_client_and_many_items(valkey):
    many = pl.DataFrame(
        {
            "item_id": [str(n) for n in range(12_001)],
            "category_l1": "tools",
            "category_l2": "saw",
            "clicks": range(12_001),
        }
    )
    client = valkey.client(3, decode_responses=True)
    assert write_popularity(client, many) == 3
    assert client.zcard("popularity:global") == 12_001
    assert write_popularity(client, many.head(2)) == 3
    assert client.zrange("popularity:category_l2:saw", 0, -1) == ["0", "1"]


@pytest.mark.services
def test_an_empty_ranking_deletes_nothing(valkey):
    client = valkey.client(3)
    client.zadd("popularity:global", {"x": 1})
    with pytest.raises(ValueError, match="popularity ranking is empty"):
        write_popularity(client, count_clicks(_events("a"), ITEMS).clear())
    assert client.zcard("popularity:global") == 1
