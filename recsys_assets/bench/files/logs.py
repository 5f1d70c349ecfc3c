"""Cases of logs: times, ids, events and the order within a second."""

from __future__ import annotations

from recsys_assets.bench.files.case import (
    FileCase,
    Reading,
    Refusal,
    events,
    log_text,
    parquet,
    text,
)


def _times(*times: str, quote: bool = False) -> bytes:
    """Return a log of one row per time, of items i1, i2, … ."""
    rows = (f'u,i{n},"{time}"' if quote else f"u,i{n},{time}" for n, time in enumerate(times, 1))
    return log_text(*rows)


def _read(*times: str, rejected: int = 0, says: tuple[str, ...] = ()) -> Reading:
    rows = [("u", f"i{n}", time) for n, time in enumerate(times, 1)]
    return events(*rows, rejected=rejected, says=says)


_A, _B = "2026-01-13T10:15:30", "2026-01-14T22:05:00"

TIMES = (
    FileCase(
        "iso",
        "ISO text with zones",
        {"a.csv": _times("2026-01-13T10:15:30Z", "2026-01-15 00:05:00+02:00")},
        _read(_A, _B),
    ),
    FileCase(
        "rees46",
        "times that end in UTC, read in any zone",
        {"a.csv": _times("2026-01-13 10:15:30 UTC", "2026-01-14 22:05:00 UTC")},
        _read(_A, _B),
        options={"time_zone": "Asia/Tokyo"},
    ),
    FileCase(
        "rounded_times",
        "milliseconds that a spreadsheet rounded",
        {"a.csv": _times("1.7683E+12", "1.76843E+12")},
        Refusal(("timestamp", "1.7683E+12", "as text")),
    ),
    FileCase(
        "unix_seconds", "unix seconds", {"a.csv": _times("1768299330", "1768428300")}, _read(_A, _B)
    ),
    FileCase(
        "unix_microseconds",
        "unix microseconds",
        {"a.csv": _times("1768299330000000", "1768428300000000")},
        _read(_A, _B),
    ),
    FileCase(
        "month_first",
        "month first, told by a day above 12",
        {"a.csv": _times("01/13/2026 10:15:30", "01/14/2026 22:05:00")},
        _read(_A, _B),
    ),
    FileCase(
        "month_first_am_pm",
        "month first with AM and PM",
        {"a.csv": _times("1/13/2026 10:15:30 AM", "1/14/2026 10:05:00 PM")},
        _read(_A, _B),
    ),
    FileCase(
        "day_first",
        "day first with dots",
        {"a.csv": _times("13.01.2026 10:15:30", "14.01.2026 22:05:00")},
        _read(_A, _B),
    ),
    FileCase(
        "day_first_slash",
        "day first with slashes and without seconds",
        {"a.csv": _times("13/01/2026 10:15", "14/01/2026 22:05")},
        _read("2026-01-13T10:15:00", _B),
    ),
    FileCase(
        "day_or_month",
        "days up to 12: day or month first?",
        {"a.csv": _times("01/02/2026 10:00", "01/03/2026 11:00")},
        Refusal(("--time-format", "%d/%m/%Y", "%m/%d/%Y")),
    ),
    FileCase(
        "day_or_month_given",
        "the same with --time-format",
        {"a.csv": _times("01/02/2026 10:00", "01/03/2026 11:00")},
        _read("2026-01-02T10:00:00", "2026-01-03T11:00:00"),
        options={"time_format": "%m/%d/%Y %H:%M"},
    ),
    FileCase(
        "day_or_month_told_late",
        "what the order is, only row 250,000 says",
        {"a.csv": _times(*["02/01/2026 10:00"] * 250_000, "13/01/2026 10:00")},
        Reading(
            ("time",),
            (("2026-01-02T10:00:00",), ("2026-01-13T10:00:00",)),
            places=(249_999, 250_000),
        ),
    ),
    FileCase(
        "day_and_month",
        "both orders in one file",
        {"a.csv": _times("13/01/2026 10:00", "01/14/2026 11:00")},
        Refusal(("--time-format",)),
    ),
    FileCase(
        "two_digit_years",
        "years of two digits",
        {"a.csv": _times("13/01/26 10:15", "14/01/26 22:05")},
        _read("2026-01-13T10:15:00", _B),
    ),
    FileCase(
        "compact_day",
        "YYYYMMDD",
        {"a.csv": _times("20260113", "20260114")},
        _read("2026-01-13T00:00:00", "2026-01-14T00:00:00"),
    ),
    FileCase(
        "compact_time",
        "YYYYMMDDhhmmss",
        {"a.csv": _times("20260113101530", "20260114220500")},
        _read(_A, _B),
    ),
    FileCase(
        "compact_iso",
        "20260113T101530Z",
        {"a.csv": _times("20260113T101530Z", "20260114T220500Z")},
        _read(_A, _B),
    ),
    FileCase(
        "year_first_slash",
        "2026/01/13",
        {"a.csv": _times("2026/01/13 10:15:30", "2026/01/14 22:05:00")},
        _read(_A, _B),
    ),
    FileCase(
        "month_names",
        "names of months",
        {"a.csv": _times("Jan 13, 2026 10:15:30", "Jan 14, 2026 22:05:00", quote=True)},
        _read(_A, _B),
    ),
    FileCase(
        "day_month_name",
        "13 Jan 2026",
        {"a.csv": _times("13 Jan 2026 10:15:30", "14-Jan-2026 22:05:00")},
        _read(_A, _B),
    ),
    FileCase(
        "web_server",
        "the time of a web server's log",
        {"a.csv": _times("13/Jan/2026:10:15:30 +0000", "15/Jan/2026:00:05:00 +0200")},
        _read(_A, _B),
    ),
    FileCase(
        "rfc_2822",
        "Tue, 13 Jan 2026 10:15:30 +0000",
        {
            "a.csv": _times(
                "Tue, 13 Jan 2026 10:15:30 +0000", "Wed, 14 Jan 2026 22:05:00 GMT", quote=True
            )
        },
        _read(_A, _B),
    ),
    FileCase(
        "javascript",
        "the text of JavaScript's Date, in a zone of its own",
        {
            "a.csv": _times(
                "Tue Jan 13 2026 11:15:30 GMT+0100 (CET)", "Wed Jan 14 2026 22:05:00 GMT+0000 (UTC)"
            )
        },
        _read(_A, _B),
    ),
    FileCase(
        "excel_days",
        "serial days of Excel",
        {"a.csv": _times("46035.427431", "46036.5")},
        _read("2026-01-13T10:15:30", "2026-01-14T12:00:00"),
    ),
    FileCase(
        "time_format_given",
        "a format of the shop's own",
        {"a.csv": _times("2026.13.01 at 10h15", "2026.14.01 at 22h05", "yesterday")},
        _read("2026-01-13T10:15:00", _B, rejected=1),
        options={"time_format": "%Y.%d.%m at %Hh%M"},
    ),
    FileCase(
        "time_of_day_alone",
        "hours without a day",
        {"a.csv": _times("10:15:30", "22:05:00")},
        Refusal(("timestamp cannot be read", "--time-format")),
    ),
    FileCase(
        "local_times",
        "local times of a zone ahead: the newest lie in the future",
        {"a.csv": _times("2026-01-30 10:00:00", "2026-01-31 01:00:00")},
        _read("2026-01-30T10:00:00", rejected=1, says=("future", "--time-zone")),
    ),
    FileCase(
        "local_times_with_zone",
        "the same with --time-zone",
        {"a.csv": _times("2026-01-30 10:00:00", "2026-01-31 01:00:00")},
        _read("2026-01-30T01:00:00", "2026-01-30T16:00:00"),
        options={"time_zone": "Asia/Tokyo"},
    ),
    FileCase(
        "milliseconds",
        "the order within a second",
        {"a.csv": _times("1768299330900", "1768299330100", "1768299330500", "1768299330000")},
        events(*(("u", item, _A) for item in ("i4", "i2", "i3", "i1"))),
    ),
    FileCase(
        "milliseconds_beside_ids",
        "the order within a second, of a log with event ids",
        {
            "a.csv": text(
                "event_id,user_id,item_id,timestamp",
                "a,u,late,2026-01-13T10:15:30.700Z",
                "z,u,soon,2026-01-13T10:15:30.2Z",
                "z,u,again,2026-01-13T10:15:30.4Z",
                "m,u,first,2026-01-13T10:15:30Z",
            )
        },
        events(("u", "first", _A), ("u", "soon", _A), ("u", "late", _A), rejected=1),
    ),
)

_T = "2026-01-13 10:15:30"

IDS = (
    FileCase(
        "leading_zeros",
        "ids with leading zeros",
        {"a.csv": log_text(f"007,00012,{_T}")},
        events(("007", "00012", _A)),
    ),
    FileCase(
        "long_ids",
        "ids of 18 digits",
        {"a.csv": log_text(f"900719925474099312,1,{_T}")},
        events(("900719925474099312", "1", _A)),
    ),
    FileCase(
        "float_ids",
        "ids as 12345.0",
        {"a.csv": log_text(f"12345.0,88.0,{_T}", f"12346.0,89.0,{_T}", f",90.0,{_T}")},
        Refusal(("user_id", "12345.0", "as text")),
    ),
    FileCase(
        "scientific_ids",
        "ids as 4.00639E+12",
        {"a.csv": log_text(f"u1,4.00639E+12,{_T}", f"u2,4006381333931,{_T}")},
        Refusal(("item_id", "4.00639E+12", "as text")),
    ),
    FileCase(
        "scientific_comma_ids",
        "ids as 4,00639E+12",
        {"a.csv": text("user_id;item_id;timestamp", f"u1;4,00639E+12;{_T}")},
        Refusal(("item_id", "4,00639E+12", "as text")),
    ),
    FileCase(
        "float_ids_of_parquet",
        "a float column of Parquet",
        {"a.parquet": parquet({"user_id": ["u"], "item_id": [12345.0], "timestamp": [1768299330]})},
        Refusal(("item_id", "cannot hold an id exactly", "string")),
    ),
    FileCase(
        "float_texts_of_parquet",
        "12345.0 as text, in Parquet",
        {
            "a.parquet": parquet(
                {"user_id": ["u"], "item_id": ["12345.0"], "timestamp": [1768299330]}
            )
        },
        Refusal(("item_id", "12345.0", "as text")),
    ),
    FileCase(
        "variant_ids",
        "ids with variants: 100.0, 100.1",
        {"a.csv": log_text("u,100.0,2026-01-13T10:15:29", f"v,100.1,{_T}")},
        events(("u", "100.0", "2026-01-13T10:15:29"), ("v", "100.1", _A)),
    ),
    FileCase(
        "minus_one_item",
        "-1 as an item id",
        {"a.csv": log_text(f"u,-1,{_T}", f"-1,i,{_T}", f"u,i,{_T}")},
        events(("u", "i", _A), rejected=2),
    ),
    FileCase(
        "words_for_nothing",
        "nan, NULL, \\N and undefined as ids",
        {
            "a.csv": log_text(
                f"nan,i,{_T}", f"NULL,i,{_T}", f"\\N,i,{_T}", f"u,undefined,{_T}", f"u,i,{_T}"
            )
        },
        events(("u", "i", _A), rejected=4),
    ),
    FileCase(
        "ids_of_another_form",
        "ids of a log that the catalogue has in another form",
        {
            "a.csv": log_text(f"u,sku-1 ,{_T}", f"v,sku-2,{_T}"),
            "catalogue.csv": text("item_id,name", "SKU-1,Bag", "sku-2,Shoe"),
        },
        events(("v", "sku-2", _A), rejected=1, says=("case", "catalogue has")),
        options={"catalogue": "catalogue.csv"},
    ),
)


def _words(*words: str) -> bytes:
    return text(
        "user_id,item_id,timestamp,event_type",
        *(f"u,i{n:02},2026-01-13 10:15:{n:02},{word}" for n, word in enumerate(words)),
    )


def _kinds(*kinds: str, rejected: int = 0, says: tuple[str, ...] = ()) -> Reading:
    return Reading(
        ("item_id", "event_type"),
        tuple((f"i{n:02}", kind) for n, kind in enumerate(kinds)),
        rejected,
        says,
    )


EVENTS = (
    FileCase(
        "retailrocket_words",
        "view, addtocart, transaction",
        {"a.csv": _words("view", "addtocart", "transaction")},
        _kinds("View", "AddToCart", "Purchase"),
    ),
    FileCase(
        "taobao_words",
        "pv, fav, cart, buy",
        {"a.csv": _words("pv", "fav", "cart", "buy")},
        _kinds("View", "AddToCart", "AddToCart", "Purchase"),
    ),
    FileCase(
        "analytics_words",
        "the words of Google Analytics 4",
        {
            "a.csv": _words(
                "view_item",
                "select_item",
                "view_item_list",
                "add_to_cart",
                "view_cart",
                "begin_checkout",
                "purchase",
            )
        },
        _kinds("View", "View", "Impression", "AddToCart", "ViewCart", "StartCheckout", "Purchase"),
    ),
    FileCase(
        "plain_words",
        "click, impression, order, purchase, basket",
        {"a.csv": _words("Click", "impression", "ORDER", "purchase", "basket")},
        _kinds("View", "Impression", "Purchase", "Purchase", "AddToCart", says=("ORDER",)),
    ),
    FileCase(
        "mapped_words",
        "a known word that the shop maps to another one",
        {"a.csv": _words("order")},
        _kinds("StartCheckout"),
        options={"events": {"order": "StartCheckout"}},
    ),
    FileCase(
        "unknown_words",
        "a word that nobody knows",
        {"a.csv": _words("view", "zoomed")},
        _kinds("View", rejected=1, says=("zoomed", "--event-type")),
    ),
)

CASES = (*TIMES, *IDS, *EVENTS)
