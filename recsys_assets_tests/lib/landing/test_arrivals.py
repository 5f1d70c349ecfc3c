"""Test when events arrived: what files say, and that the first arrival is kept."""

from __future__ import annotations

import polars as pl
import pytest

from recsys_assets.lib.landing import arrivals

T = 1_793_491_200  # 2026-11-01


def rows(*events: tuple[str, int, int | None]) -> pl.DataFrame:
    """Return rows of (event id, seconds after T, seconds after T of the arrival)."""
    return pl.DataFrame(
        {
            "event_id": [name for name, _, _ in events],
            "timestamp": [T + at for _, at, _ in events],
            "arrived": [None if came is None else T + came for _, _, came in events],
        },
        schema={"event_id": pl.String, "timestamp": pl.Int64, "arrived": pl.Int64},
    )


def came(frame: pl.DataFrame) -> list[int | None]:
    """Return the arrivals in seconds after T."""
    return [None if at is None else at - T for at in frame["arrived"]]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (f"events-{T * 1000 + 7_900}-3.parquet", 7),
        ("events-1.parquet", None),  # no stream id of a year in which this system exists
        ("ingested-0123456789abcdef.parquet", None),
        (f"old-events-{T * 1000}-3.parquet", None),
    ],
)
def test_a_file_without_the_column_says_it_by_its_stream_id(file, expected):
    assert came(arrivals.stated(rows(("a", 0, None)).drop("arrived"), file)) == [expected]


def test_the_column_goes_before_the_name_and_fills_only_what_it_knows():
    name = f"events-{(T + 60) * 1000}-0.parquet"
    assert came(arrivals.stated(rows(("a", 0, 5), ("b", 0, None)), name)) == [5, 60]


def test_an_event_without_an_arrival_arrived_at_its_own_time_and_none_before_it():
    found, kept = arrivals.first_arrivals(rows(("a", 10, None), ("b", 10, 4), ("c", 10, 30)), None)
    assert came(found) == [10, 10, 30] and kept is None


def test_a_day_that_is_written_again_makes_no_event_late():
    before = rows(("a", 10, 12), ("b", 20, 500), ("c", 30, 30), ("~000500~d", 40, 41))
    stamped = rows(("a", 10, 900), ("b", 20, None), ("c", 30, 30), ("d", 40, 900), ("new", 50, 900))
    found, kept = arrivals.first_arrivals(stamped, before)
    assert came(found) == [12, 500, 30, 41, 900] and kept is not None
    # read again: the same arrivals are kept, so that nothing is built
    again, same = arrivals.first_arrivals(stamped, found)
    assert again.equals(found) and same == kept


def test_an_earlier_arrival_corrects_a_later_one():
    found, kept = arrivals.first_arrivals(rows(("a", 10, 15)), rows(("a", 10, 800)))
    assert came(found) == [15] and kept is None


@pytest.mark.parametrize(("delay", "since"), [(0, 0), (3, 0), (60, 0), (61, 60), (18_000, 17_999)])
def test_an_event_is_late_after_a_minute(delay, since):
    frame = rows(("a", 0, delay))
    assert frame.select(arrivals.since())["since"].to_list() == [T + since]
    assert arrivals.late_rows(frame) == int(delay > 60)
