"""What a landing file may not be: each defect is named by file, column, check and count."""

import polars as pl
import pytest

from recsys_assets.columns import RAW_INTERACTIONS, RAW_ITEMS, RAW_USERS
from recsys_assets.lib.catalogue import synthetic_catalogue
from recsys_assets.lib.contracts import (
    ContractViolation,
    LandingMissing,
    check_table,
    read_landing_day,
)
from recsys_assets.partitions import day_bounds

DAY = "2026-11-20"
START, END = day_bounds(DAY)


def _good(n: int = 6, prefix: str = "e") -> pl.DataFrame:
    return pl.DataFrame({
        "event_id": [f"{prefix}{i}" for i in range(n)], "user_id": "1", "item_id": "2",
        "timestamp": [START + i for i in range(n)], "device_type": "mobile", "event_type": "View", "click": [1] * n,
    }, schema={name: getattr(pl, kind) for name, kind in RAW_INTERACTIONS.items()})


def _set(column: str, rows: int, value: object) -> pl.DataFrame:
    frame = _good()
    return frame.with_columns(pl.when(pl.int_range(pl.len()) < rows).then(pl.lit(value)).otherwise(pl.col(column))
                              .cast(frame.schema[column]).alias(column))


def test_a_good_table_passes():
    report = check_table(_good(), RAW_INTERACTIONS, day=DAY)
    assert report.ok
    assert report.rows == 6
    report.raise_if_failed()
    extra = _good().with_columns(new=pl.lit(1), device_type=pl.lit("-1"))
    assert check_table(extra, RAW_INTERACTIONS, day=DAY).ok  # an added column and an unknown device are no defects


@pytest.mark.parametrize(("frame", "expected"), [
    (_good().drop("click"), [("click", "column is missing", 1)]),
    (_good().with_columns(pl.col("timestamp").cast(pl.String)), [("timestamp", "type is String, not Int64", 6)]),
    (_good().with_columns(pl.col("timestamp").cast(pl.Float64)), [("timestamp", "type is Float64, not Int64", 6)]),
    (_set("user_id", 3, None), [("user_id", "null", 3)]),
    (_set("event_id", 1, None), [("event_id", "null", 1)]),
    (_set("item_id", 2, ""), [("item_id", "empty", 2)]),
    (_set("event_id", 4, "e5"), [("event_id", "duplicated", 4)]),
    (_set("device_type", 2, "fridge"), [("device_type", "unknown value, not one of mobile, desktop, tablet, -1", 2)]),
    (_set("event_type", 1, "Teleport"),
     [("event_type", "unknown value, not one of Impression, View, AddToCart, ViewCart, StartCheckout, Purchase", 1)]),
    (_set("click", 5, 2), [("click", "unknown value, not one of 0, 1", 5)]),
    (_set("timestamp", 2, END), [("timestamp", "outside the day 2026-11-20", 2)]),
    (_set("timestamp", 3, START - 1), [("timestamp", "outside the day 2026-11-20", 3)]),
    (_good().clear(), [("", "no rows", 1)]),
    (_set("user_id", 3, None).drop("click").with_columns(pl.col("timestamp") + 86_400),
     [("click", "column is missing", 1), ("user_id", "null", 3), ("timestamp", "outside the day 2026-11-20", 6)]),
])
def test_each_defect_is_named_with_its_count(frame, expected):
    report = check_table(frame, RAW_INTERACTIONS, name="day.parquet", day=DAY)
    assert [(f.column, f.check, f.count) for f in report.failures] == expected
    with pytest.raises(ContractViolation) as raised:
        report.raise_if_failed()
    for column, check, count in expected:
        assert f"day.parquet: {f'column {column!r}: ' if column else ''}{check} ({count})" in str(raised.value)


def test_users_and_items():
    users = pl.DataFrame({"user_id": ["1", "2", "2"], "age": [None, 17, 130], "gender": ["F", "-1", "robot"]},
                         schema={name: getattr(pl, kind) for name, kind in RAW_USERS.items()})
    assert [(f.column, f.check, f.count) for f in check_table(users, RAW_USERS).failures] == [
        ("age", "outside 0 to 120 years", 1), ("gender", "unknown value, not one of F, M, -1", 1),
        ("user_id", "duplicated", 1)]
    items = synthetic_catalogue(30, 7)
    assert check_table(items, RAW_ITEMS).ok
    broken = items.with_columns(price=pl.Series([float("nan"), -1.0, 0.0, None] + [5.0] * 26))
    assert [(f.column, f.check, f.count) for f in check_table(broken, RAW_ITEMS).failures] == [
        ("price", "not a number above 0", 4)]
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
    path.write_bytes({"truncated": whole[: len(whole) // 2], "no bytes": b"", "not Parquet": b"hello" * 100}[damage])
    [failure] = check_table(path, RAW_INTERACTIONS, day=DAY).failures
    assert failure.check.startswith("is not a readable Parquet file")
    with pytest.raises(ContractViolation, match=r"events-1\.parquet: is not a readable Parquet file"):
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
    assert day.rows_by_file == {"events-1.parquet": 3, "events-2.parquet": 5, "simulated.parquet": 4}
    assert day.duplicates == 3
    assert day.frame.columns == list(RAW_INTERACTIONS)
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


def test_a_missing_day_is_named_with_the_remedy(tmp_path):
    (tmp_path / "interactions" / DAY).mkdir(parents=True)
    with pytest.raises(LandingMissing, match=r"2026-11-20.*recsys simulate"):
        read_landing_day(tmp_path, DAY)
