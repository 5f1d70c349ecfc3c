"""Test profiles against counts made by hand, and newcomers against sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.quality import profiles

DAY_START = 1_767_225_600  # 2026-01-01, midnight UTC


def rows_of(table: pl.DataFrame, feature: str) -> dict[str, int]:
    return {
        value: rows
        for value, rows in table.filter(pl.col("feature") == feature)
        .select("value", "rows")
        .iter_rows()
        if rows
    }


def test_every_row_counts_in_its_bin():
    frame = pl.DataFrame(
        {
            c.AGE: [None, 18.0, 20, 24.5, 25, 99, None],
            c.CLICKS_24H: [0, 1, 1, 6, 7, 100, 1000],
            c.PRICE: [0.5, 1, 9.99, 10, 24_999.99, 1e6, 2],
            c.HOURS_SINCE_CLICK: [0, 0.1, 1.99, 2, 23.9, 24, 24],
            c.TIMESTAMP: [DAY_START + 3600 * h for h in (0, 0, 1, 22, 23, 23, 23)],
            c.DEVICE_TYPE: ["tablet", "mobile", "mobile", None, "desktop", "mobile", "desktop"],
        },
        strict=False,
    )
    table = profiles.profile(
        frame, [c.AGE, c.CLICKS_24H, c.PRICE, c.HOURS_SINCE_CLICK, profiles.HOUR, c.DEVICE_TYPE]
    )
    assert rows_of(table, c.AGE) == {
        "(null)": 2,
        "0 to 20": 1,
        "20 to 25": 2,
        "25 to 30": 1,
        "90+": 1,
    }
    assert rows_of(table, c.CLICKS_24H) == {"0": 1, "1": 2, "5 to 7": 1, "7 to 10": 1, "100+": 2}
    assert rows_of(table, c.PRICE) == {
        "0 to 1": 1,
        "1 to 2": 1,
        "2 to 3": 1,
        "5 to 10": 1,
        "10 to 20": 1,
        "20000 to 30000": 1,
        "50000+": 1,
    }
    assert rows_of(table, c.HOURS_SINCE_CLICK) == {
        "0 to 2": 3,
        "2 to 4": 1,
        "22 to 24": 1,
        "24+": 2,
    }
    assert rows_of(table, profiles.HOUR) == {"0": 2, "1": 1, "22": 1, "23": 3}
    assert list(rows_of(table, c.DEVICE_TYPE).items()) == [
        ("mobile", 3),
        ("desktop", 2),
        ("(null)", 1),
        ("tablet", 1),
    ]
    assert all(part["rows"].sum() == frame.height for _, part in table.group_by("feature"))


@pytest.mark.parametrize("feature", profiles.EDGES)
def test_bins_hold_what_a_histogram_of_numpy_holds(feature):
    edges = profiles.EDGES[feature]
    assert list(edges) == sorted(set(edges))
    values = np.random.default_rng(3).choice([*edges, *(np.add(edges, 0.5))], 500)
    name = c.TIMESTAMP if feature == profiles.HOUR else feature
    series = pl.Series(
        name, DAY_START + values.astype(np.int64) * 3600 if feature == profiles.HOUR else values
    )
    table = profiles.profile(series.to_frame(), [feature])
    expected, _ = np.histogram(
        values.astype(np.int64) if feature == profiles.HOUR else values, [*edges, np.inf]
    )
    assert table["rows"].to_list() == expected.tolist()
    assert table["value"].n_unique() == table.height


def test_prices_that_nobody_gave_are_counted_as_null():
    frame = pl.DataFrame({c.PRICE: [None, None]}, schema={c.PRICE: pl.Float64})
    assert rows_of(profiles.profile(frame, [c.PRICE]), c.PRICE) == {"(null)": 2}


def test_a_value_below_the_first_edge_is_not_lost():
    assert rows_of(profiles.profile(pl.DataFrame({c.PRICE: [-5.0, 5.0]}), [c.PRICE]), c.PRICE) == {
        "below 0": 1,
        "5 to 10": 1,
    }


def test_rare_values_of_a_large_catalogue_are_counted_together(monkeypatch):
    monkeypatch.setattr(profiles, "MOST_VALUES", 2)
    table = profiles.profile(
        pl.DataFrame({c.ITEM_ID: ["a"] * 3 + ["b"] * 2 + ["c", "d"]}), [c.ITEM_ID]
    )
    assert rows_of(table, c.ITEM_ID) == {"a": 3, "b": 2, "(other)": 2}


def test_profiles_of_equal_rows_are_equal_whatever_their_order(tmp_path):
    frame = pl.DataFrame({c.GENDER: ["F", "M", "-1"] * 5, c.AGE: [20.0, 30.0, None] * 5})
    for name, rows in (("a", frame), ("b", frame.reverse())):
        (tmp_path / name).mkdir()
        profiles.write(rows, tmp_path / name, profiles.USER_FEATURES)
    for file in (profiles.PROFILE_FILE, profiles.DISTRIBUTIONS_FIGURE):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_table_without_rows_has_a_profile_but_needs_none_drawn():
    empty = pl.DataFrame(schema={c.AGE: pl.Float32, c.GENDER: pl.String})
    assert profiles.profile(empty, profiles.USER_FEATURES)["rows"].sum() == 0


def test_top_categories():
    frame = pl.DataFrame(
        {
            c.CATEGORY_L1: ["tools", "books", "books", "art", "books", "tools"],
            c.CLICK: [1, 0, 1, 0, 0, 1],
        },
        schema_overrides={c.CLICK: pl.Int8},
    )
    assert profiles.top_categories(frame).rows() == [
        ("books", 3, 0.5, 1, pytest.approx(1 / 3)),
        ("tools", 2, pytest.approx(1 / 3), 2, 1.0),
        ("art", 1, pytest.approx(1 / 6), 0, 0.0),
    ]


def _days(tmp_path: Path, *days: list[tuple[str, str]], ids: bool = True) -> list[Artifact]:
    store, found = ArtifactStore(tmp_path), []
    for number, pairs in enumerate(days, 1):
        frame = pl.DataFrame(
            pairs, schema={c.USER_ID: pl.String, c.ITEM_ID: pl.String}, orient="row"
        )
        with store.stage("raw/interactions", f"2026-01-{number:02}") as staged:
            frame.write_parquet(staged.path / "interactions.parquet")
            if ids or number == len(days):
                profiles.write_ids(frame, staged.path)
            found.append(staged.publish())
    return found


@pytest.mark.parametrize(
    "ids", [True, False]
)  # False: days ingested before there were files of ids
def test_newcomers_are_on_no_earlier_day(tmp_path, ids):
    *earlier, today = _days(
        tmp_path,
        [("a", "1"), ("b", "2")],
        [("c", "1"), ("a", "3")],
        [("a", "1"), ("c", "3"), ("d", "4"), ("e", "4"), ("d", "2")],
        ids=ids,
    )
    assert profiles.newcomers(today, earlier) == {"new_users": 2, "new_items": 1}
    assert profiles.newcomers(today, []) == {"new_users": 4, "new_items": 4}
