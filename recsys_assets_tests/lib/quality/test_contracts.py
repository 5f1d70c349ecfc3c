"""Test that each defect of a landing file is named by file, column, check and count."""

import polars as pl
import pytest

from recsys_assets.columns import (
    ARRIVED_INTERACTIONS,
    INTERACTION_FEATURES,
    RAW_INTERACTIONS,
    RAW_ITEMS,
    RAW_USERS,
)
from recsys_assets.lib.quality.contracts import ContractViolation, check_table, read_checked
from recsys_assets.lib.quality.landing_day import LandingMissing, read_landing_day
from recsys_assets.lib.simulator.catalogue import synthetic_catalogue
from recsys_assets.partitions import day_bounds

DAY = "2026-11-20"
START, END = day_bounds(DAY)


def _good(n: int = 6, prefix: str = "e") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "event_id": [f"{prefix}{i}" for i in range(n)],
            "user_id": "1",
            "item_id": "2",
            "timestamp": [START + i for i in range(n)],
            "device_type": "mobile",
            "event_type": "View",
            "click": [1] * n,
        },
        schema={name: getattr(pl, kind) for name, kind in RAW_INTERACTIONS.items()},
    )


def _set(column: str, rows: int, value: object) -> pl.DataFrame:
    frame = _good()
    return frame.with_columns(
        pl.when(pl.int_range(pl.len()) < rows)
        .then(pl.lit(value))
        .otherwise(pl.col(column))
        .cast(frame.schema[column])
        .alias(column)
    )


def test_a_good_table_passes():
    report = check_table(_good(), RAW_INTERACTIONS, day=DAY)
    assert report.ok
    assert report.rows == 6
    report.raise_if_failed()
    extra = _good().with_columns(new=pl.lit(1), device_type=pl.lit("-1"))
    assert check_table(
        extra, RAW_INTERACTIONS, day=DAY
    ).ok  # an added column and an unknown device are no defects


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (_good().drop("click"), [("click", "column is missing", 1)]),
        (
            _good().with_columns(pl.col("timestamp").cast(pl.String)),
            [("timestamp", "type is String, not Int64", 6)],
        ),
        (
            _good().with_columns(pl.col("timestamp").cast(pl.Float64)),
            [("timestamp", "type is Float64, not Int64", 6)],
        ),
        (_set("user_id", 3, None), [("user_id", "null", 3)]),
        (_set("event_id", 1, None), [("event_id", "null", 1)]),
        (_set("item_id", 2, ""), [("item_id", "empty", 2)]),
        (_set("event_id", 4, "e5"), [("event_id", "duplicated", 4)]),
        (
            _set("device_type", 2, "fridge"),
            [("device_type", "unknown value, not one of mobile, desktop, tablet, -1", 2)],
        ),
        (
            _set("event_type", 1, "Teleport"),
            [
                (
                    "event_type",
                    "unknown value, not one of Impression, View, AddToCart, ViewCart, "
                    "StartCheckout, Purchase, Dismiss",
                    1,
                )
            ],
        ),
        (_set("click", 5, 2), [("click", "unknown value, not one of 0, 1", 5)]),
        (_set("timestamp", 2, END), [("timestamp", "outside the day 2026-11-20", 2)]),
        (_set("timestamp", 3, START - 1), [("timestamp", "outside the day 2026-11-20", 3)]),
        (
            _set("user_id", 3, None).drop("click").with_columns(pl.col("timestamp") + 86_400),
            [
                ("click", "column is missing", 1),
                ("user_id", "null", 3),
                ("timestamp", "outside the day 2026-11-20", 6),
            ],
        ),
    ],
)
def test_each_defect_is_named_with_its_count(frame, expected):
    report = check_table(frame, RAW_INTERACTIONS, name="day.parquet", day=DAY)
    assert [(f.column, f.check, f.count) for f in report.failures] == expected
    with pytest.raises(ContractViolation) as raised:
        report.raise_if_failed()
    for column, check, count in expected:
        assert f"day.parquet: {f'column {column!r}: ' if column else ''}{check} ({count})" in str(
            raised.value
        )


def test_a_day_without_rows_is_a_day_and_a_catalogue_without_rows_is_none():
    assert check_table(_good().clear(), RAW_INTERACTIONS, name="day.parquet", day=DAY).ok
    report = check_table(
        pl.DataFrame(schema={"user_id": pl.String}), {"user_id": "String"}, name="u"
    )
    assert [failure.check for failure in report.failures] == ["no rows"]


def test_users_and_items():
    users = pl.DataFrame(
        {"user_id": ["1", "2", "2"], "age": [None, 17, 130], "gender": ["F", "-1", "robot"]},
        schema={name: getattr(pl, kind) for name, kind in RAW_USERS.items()},
    )
    assert [(f.column, f.check, f.count) for f in check_table(users, RAW_USERS).failures] == [
        ("age", "outside 0 to 120 years", 1),
        ("gender", "unknown value, not one of F, M, -1", 1),
        ("user_id", "duplicated", 1),
    ]
    items = synthetic_catalogue(30, 7)
    assert check_table(items, RAW_ITEMS).ok
    broken = items.with_columns(price=pl.Series([float("nan"), -1.0, 0.0, None] + [5.0] * 26))
    assert [(f.column, f.check, f.count) for f in check_table(broken, RAW_ITEMS).failures] == [
        ("price", "not a number above 0", 3)  # null: the shop gave none
    ]
    known = frozenset(items["category_l1"].unique()) - {"books"}
    [failure] = check_table(items, RAW_ITEMS, categories=known).failures
    assert failure.column == "category_l1"
    assert failure.count == (items["category_l1"] == "books").sum()


def _land(folder, name: str, frame: pl.DataFrame):
    path = folder / "interactions" / DAY / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    return path


@pytest.mark.parametrize("damage", ["truncated", "no bytes", "not Parquet"])
def test_an_unreadable_file_is_named(tmp_path, damage):
    _land(tmp_path, "simulated.parquet", _good())
    path = _land(tmp_path, "events-1.parquet", _good(prefix="f"))
    whole = path.read_bytes()
    path.write_bytes(
        {"truncated": whole[: len(whole) // 2], "no bytes": b"", "not Parquet": b"hello" * 100}[
            damage
        ]
    )
    [failure] = check_table(path, RAW_INTERACTIONS, day=DAY).failures
    assert failure.check.startswith("is not a readable Parquet file")
    with pytest.raises(
        ContractViolation, match=r"events-1\.parquet: is not a readable Parquet file"
    ):
        read_landing_day(tmp_path, DAY)


def test_a_file_that_vanished(tmp_path):
    [failure] = check_table(tmp_path / "users.parquet", RAW_USERS).failures
    assert (failure.file, failure.check) == (str(tmp_path / "users.parquet"), "file is missing")


def test_a_days_files_are_joined_and_repeated_events_dropped(tmp_path):
    _land(tmp_path, "simulated.parquet", _good(4, "s").reverse())
    _land(tmp_path, "events-1.parquet", _good(3, "a").with_columns(extra=pl.lit(1)))
    again = pl.concat([_good(3, "a").with_columns(user_id=pl.lit("other")), _good(2, "b")])
    _land(tmp_path, "events-2.parquet", again)
    day = read_landing_day(tmp_path, DAY)
    assert day.rows_by_file == {
        "events-1.parquet": 3,
        "events-2.parquet": 5,
        "simulated.parquet": 4,
    }
    assert day.duplicates == 3
    assert day.frame.columns == list(ARRIVED_INTERACTIONS)
    assert day.frame["event_id"].to_list() == ["a0", "b0", "s0", "a1", "b1", "s1", "a2", "s2", "s3"]
    assert "other" not in day.frame["user_id"]  # the first file by name keeps the event
    assert read_landing_day(f"file://{tmp_path}", DAY).frame.equals(day.frame)


def test_all_defects_of_all_files_are_told_at_once(tmp_path):
    _land(tmp_path, "events-1.parquet", _set("user_id", 3, None))
    _land(tmp_path, "events-2.parquet", _good(prefix="f").drop("click"))
    with pytest.raises(ContractViolation) as raised:
        read_landing_day(tmp_path, DAY)
    first, second = str(raised.value).splitlines()
    assert first.endswith("events-1.parquet: column 'user_id': null (3)")
    assert second.endswith("events-2.parquet: column 'click': column is missing (1)")


def test_a_landing_zone_without_events_is_named_with_the_remedy(tmp_path):
    (tmp_path / "interactions" / DAY).mkdir(parents=True)
    with pytest.raises(LandingMissing, match=r"recsys ingest.*recsys simulate"):
        read_landing_day(tmp_path, DAY)


def test_a_day_without_a_file_has_no_rows_where_other_days_have_landed(tmp_path):
    _land(tmp_path, "events-1.parquet", _good())
    empty = read_landing_day(tmp_path, "2026-11-19")
    assert empty.frame.is_empty() and list(empty.frame.columns) == list(ARRIVED_INTERACTIONS)
    assert empty.rows_by_file == {} and empty.duplicates == 0


def test_the_day_is_that_of_the_zone(tmp_path):
    late = _good(1).with_columns(pl.lit(END - 1, pl.Int64).alias("timestamp"))
    assert check_table(late, RAW_INTERACTIONS, day=DAY).ok
    next_day = "2026-11-21"
    assert not check_table(late, RAW_INTERACTIONS, day=DAY, zone="Asia/Tokyo").ok
    assert check_table(late, RAW_INTERACTIONS, day=next_day, zone="Asia/Tokyo").ok


def test_a_file_under_two_names_is_a_failure(tmp_path):
    for name in ("events-1.parquet", "simulated.parquet"):
        _land(tmp_path, name, _good(4))
    with pytest.raises(
        ContractViolation,
        match=r"simulated\.parquet: duplicated: the same bytes as events-1\.parquet \(4\)$",
    ):
        read_landing_day(tmp_path, DAY)


def test_extra_columns_are_counted_by_file(tmp_path):
    _land(tmp_path, "events-1.parquet", _good(2, "a").with_columns(campaign=pl.lit("x")))
    _land(
        tmp_path,
        "events-2.parquet",
        _good(2, "b").with_columns(campaign=pl.lit("y"), price=pl.lit(1.0)),
    )
    day = read_landing_day(tmp_path, DAY)
    assert day.extra_columns == {"campaign": 2, "price": 1} and day.frame.columns == list(
        ARRIVED_INTERACTIONS
    )
    assert (
        set(day.digests) == {"events-1.parquet", "events-2.parquet"}
        and len(set(day.digests.values())) == 2
    )


def test_an_example_says_where_to_look():
    [failure] = check_table(
        _set("device_type", 2, "fridge"), RAW_INTERACTIONS, name="f", day=DAY
    ).failures
    assert str(failure).endswith("(2), for example 'fridge'")
    [failure] = check_table(pl.concat([_good(), _good(1)]), RAW_INTERACTIONS, name="f").failures
    assert str(failure) == "f: column 'event_id': duplicated (1), for example 'e0'"


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"items": ["2"]}, []),
        ({"items": ["3", "4"]}, [("item_id", 6)]),
        ({"now": START + 5 - 300}, []),  # the newest event is at START + 5, within the tolerance
        ({"now": START + 3 - 300}, [("timestamp", 2)]),
    ],
)
def test_what_a_table_is_held_against(known, expected):
    report = check_table(_good(), RAW_INTERACTIONS, day=DAY, **known)
    assert [(f.column, f.count) for f in report.failures] == expected


def _features(n: int = 4, **changes: object) -> pl.DataFrame:
    """Return sound rows of features; ``changes``: column → value for the first row."""
    row = {
        "event_id": "e",
        "user_id": "u",
        "item_id": "i",
        "timestamp": START,
        "device_type": "mobile",
        "click": 0,
        "age": 30.0,
        "gender": "F",
        "top_category": "books",
        "category_l1": "tools",
        "category_l2": "saw",
        "item_gender": "Any",
        "price": 9.5,
        "clicks_24h": 2.0,
        "hours_since_click": 0.5,
        "item_clicks": 7.0,
        "clicks_look_back": 5.0,
        "category_clicks_look_back": 3.0,
        "category_clicks_24h": 1.0,
    }
    rows = [{**row, "event_id": f"e{i}", **(changes if i == 0 else {})} for i in range(n)]
    return pl.DataFrame(
        rows, schema={name: getattr(pl, kind) for name, kind in INTERACTION_FEATURES.items()}
    )


MASKED = {
    "user_id": "-1",
    "gender": "-1",
    "top_category": "-1",
    "age": None,
    "clicks_24h": 0.0,
    "hours_since_click": 24.0,
    "clicks_look_back": 0.0,
    "category_clicks_look_back": 0.0,
    "category_clicks_24h": 0.0,
}


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({}, None),
        ({"age": None}, None),
        ({"price": None}, None),
        (MASKED, None),
        ({"item_clicks": 0.0}, None),
        (
            {"hours_since_click": 24.0, "clicks_24h": 1.0},
            None,
        ),  # a click exactly 24 hours ago is inside the window
        ({"age": float("nan")}, "age"),
        ({"age": -1.0}, "age"),
        ({"price": float("inf")}, "price"),
        ({"price": float("nan")}, "price"),
        ({"price": 0.0}, "price"),
        ({"clicks_24h": -1.0}, "clicks_24h"),
        ({"clicks_24h": float("nan")}, "clicks_24h"),
        ({"clicks_24h": None}, "clicks_24h"),
        ({"hours_since_click": 24.5}, "hours_since_click"),
        ({"hours_since_click": -0.1}, "hours_since_click"),
        (
            {"clicks_24h": 0.0, "category_clicks_24h": 0.0},
            "hours_since_click",
        ),  # no click, yet hours since one
        ({"item_clicks": float("inf")}, "item_clicks"),
        ({"item_clicks": -2.0}, "item_clicks"),
        ({"top_category": "ghosts"}, "top_category"),
        ({"category_l1": "ghosts"}, "category_l1"),
        ({"category_l1": "-1"}, "category_l1"),
        ({"gender": None}, "gender"),
        ({"item_id": "j"}, "item_id"),
        ({"timestamp": END}, "timestamp"),
        ({"event_id": "e1"}, "event_id"),
        ({**MASKED, "age": 30.0}, "user_id"),
        ({**MASKED, "gender": "F"}, "user_id"),
        ({**MASKED, "top_category": "books"}, "user_id"),
        (
            {**MASKED, "clicks_24h": 1.0, "clicks_look_back": 1.0, "hours_since_click": 3.0},
            "user_id",
        ),
        ({**MASKED, "clicks_look_back": 1.0}, "user_id"),
        ({"clicks_look_back": 1.0, "category_clicks_look_back": 1.0}, "clicks_look_back"),
        ({"category_clicks_look_back": 6.0}, "category_clicks_look_back"),
        ({"category_clicks_24h": 3.0}, "category_clicks_24h"),
        ({"clicks_look_back": None}, "clicks_look_back"),
    ],
)
def test_the_features_contract(changes, broken):
    report = check_table(
        _features(**changes),
        INTERACTION_FEATURES,
        day=DAY,
        items=["i"],
        categories={"books", "tools"},
    )
    assert [(f.column, f.count) for f in report.failures] == (
        [] if broken is None else [(broken, 1)]
    )


def test_read_checked_gives_the_schemas_columns_or_says_what_is_wrong(tmp_path):
    path = tmp_path / "features.parquet"
    _features().with_columns(extra=pl.lit(1)).select(pl.all().reverse()).write_parquet(path)
    assert read_checked(path, INTERACTION_FEATURES).columns == list(INTERACTION_FEATURES)
    _features(price=0.0).write_parquet(path)
    with pytest.raises(
        ContractViolation,
        match=r"^features of today: column 'price': not a number above 0 \(1\), for example "
        r"'0\.0'$",
    ):
        read_checked(path, INTERACTION_FEATURES, name="features of today")
