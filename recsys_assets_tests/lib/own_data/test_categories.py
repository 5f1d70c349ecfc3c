"""Test categories: the first counts, all are tags, and one spelling stays."""

from __future__ import annotations

import polars as pl
import pytest

from recsys_assets.lib.own_data.categories import one_spelling, read_categories, split


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Home > Kitchen > Pots", ["Home", "Kitchen", "Pots"]),
        ("Action|Comedy", ["Action", "Comedy"]),
        ("A > B, A > C", ["A", "B", "A", "C"]),
        ("Pots, Pans & Lids", ["Pots, Pans & Lids"]),
        ("TV/Video", ["TV/Video"]),
        ('["Shoes", null, "Sale"]', ["Shoes", "Sale"]),
        ("('a', 'b')", ["a", "b"]),
        ("[not a list", ["[not a list"]),
        ("[__import__('os')]", ["[__import__('os')]"]),
        (" -1 | ", []),
        ("", []),
    ],
)
def test_a_field_is_split(text: str, found: list[str]):
    assert split(text) == found


def test_the_first_category_counts_and_all_are_tags():
    items = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "category_l1": ["Home > Pots", "Home", None],
            "category_l2": [None, "Steel|Home", "Steel"],
        }
    )
    found, tags = read_categories(items)
    assert found.rows() == [
        ("a", "Home", "Pots"),
        ("b", "Home", "Steel"),
        ("c", "unknown", "Steel"),
    ]
    assert tags.rows() == [
        ("a", "Home"),
        ("a", "Pots"),
        ("b", "Home"),
        ("b", "Steel"),
        ("c", "Steel"),
    ]


def test_the_most_frequent_spelling_counts_and_that_of_the_landing_zone_first():
    given = pl.Series("category_l1", ["shoes", "Shoes", "Shoes ", "Shoes", "Bags"])
    folded, changed = one_spelling(given)
    assert folded.to_list() == ["Shoes"] * 4 + ["Bags"] and changed == 2
    folded, changed = one_spelling(given, pl.Series(["SHOES"]))
    assert folded.to_list() == ["SHOES"] * 4 + ["Bags"] and changed == 4
