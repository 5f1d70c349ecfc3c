"""Test times against Python's own datetime."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data import times
from recsys_assets.lib.own_data.times import check_format, detect, microseconds

FORMATS = [
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y/%m/%d %H:%M:%S",
    "%Y.%m.%d %H:%M", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y, %H:%M", "%Y%m%d", "%Y%m%d%H%M%S",
    "%Y%m%dT%H%M%S", "%d %b %Y %H:%M:%S", "%d-%B-%Y %H:%M", "%b %d, %Y %I:%M:%S %p",
    "%A, %B %d, %Y %I:%M %p", "%d/%b/%Y:%H:%M:%S", "%Y-%m-%d", "%a %b %d %Y %H:%M:%S",
]  # fmt: skip
MOMENTS = st.datetimes(datetime(1995, 1, 1), datetime(2030, 12, 31))


def read(*texts: object, zone: str = "UTC") -> list[int | None]:
    frame = pl.DataFrame({"t": texts})
    return microseconds(frame, "t", detect(frame["t"], zone)).to_list()


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(MOMENTS, st.sampled_from(FORMATS), st.sampled_from(["UTC", "Asia/Tokyo"]))
def test_a_moment_is_read_as_python_reads_it(moment: datetime, format_: str, zone: str):
    text = moment.strftime(format_)
    expected = datetime.strptime(text, format_).replace(tzinfo=ZoneInfo(zone))
    assert read(text, zone=zone) == [round(expected.timestamp() * 1_000_000)]


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(MOMENTS, st.sampled_from(["%d/%m/%Y %H:%M:%S", "%m/%d/%Y %I:%M %p", "%m-%d-%Y", "%d/%m/%y"]))
def test_the_order_of_day_and_month_is_taken_from_the_column(moment: datetime, format_: str):
    witness = datetime(2020, 10, 25)
    texts = [moment.strftime(format_), witness.strftime(format_)]
    expected = [datetime.strptime(text, format_).replace(tzinfo=UTC) for text in texts]
    assert read(*texts) == [round(one.timestamp() * 1_000_000) for one in expected]


@pytest.mark.parametrize(
    "text",
    ["10:15:30", "yesterday", "2026-13-01", "2026-01-32 10:00", "2026-01-05 25:00", "Foo 5, 2026",
     "2026-01-05 10:00 CET", "20261301", "13:00 PM"],
)  # fmt: skip
def test_what_is_no_time_is_null(text: str):
    assert read("2026-01-05 10:00:00", text)[1] is None


def test_offsets_and_names_of_utc():
    noon = 1_767_614_400_000_000
    for text in ("2026-01-05T12:00:00Z", "2026-01-05 12:00:00 UTC", "2026-01-05T14:00:00+02:00",
                 "2026-01-05T07:00:00-0500", "Mon, 05 Jan 2026 12:00:00 GMT",
                 "05/Jan/2026:13:00:00 +0100", "Mon Jan 05 2026 13:00:00 GMT+0100 (CET)"):  # fmt: skip
        assert read(text, zone="Asia/Tokyo") == [noon], text


def test_units_of_numbers():
    moment = 1_768_299_330
    assert read(str(moment)) == read(moment * 1_000) == read(moment * 10**6) == [moment * 10**6]
    assert read(20260113, 20260114)[0] == read("2026-01-13")[0]
    assert read(46035.5) == read("2026-01-13 12:00:00")
    assert read(46035.5, zone="Asia/Tokyo") == read("2026-01-13 12:00:00", zone="Asia/Tokyo")


def test_numbers_that_were_rounded_are_refused():
    with pytest.raises(IngestError, match=r"1\.7683E\+12.*as text"):
        read("1.7683E+12")
    assert read("1.768299330123e+12") == [1_768_299_330_123_000]  # all digits are there


def test_a_format_that_is_none_is_refused():
    check_format("%d/%m/%Y")
    for wrong in ("dd/mm/yyyy", "%H:%M", "%d/%m/%Q"):
        with pytest.raises(IngestError, match="--time-format"):
            check_format(wrong)


def test_a_given_format_is_the_only_one():
    frame = pl.DataFrame({"t": ["05/01/2026 10:00", "2026-01-05"]})
    found = detect(frame["t"], "UTC", "%m/%d/%Y %H:%M")
    assert microseconds(frame, "t", found).to_list() == [1_777_629_600_000_000, None]
    assert times.describe(frame["t"], found).startswith("%m/%d/%Y")
