"""Test prices: what is read, and that nothing is invented."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.prices import UNCLEAR, UNREAD, check_decimal, read_prices


def amounts(*texts: str | None, decimal: str | None = None) -> list[float | None]:
    return read_prices(pl.Series("price", texts, dtype=pl.String), decimal)[0].to_list()


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("12.50", 12.5), ("12,5", 12.5), (".99", 0.99), ("7", 7.0), (" 7 ", 7.0),
        ("1,234.50", 1234.5), ("1.234,50", 1234.5), ("1 234,50 zł", 1234.5),
        ("12.345.678", 12345678.0), ("1'234.50 CHF", 1234.5), ("₹1,23,456.00", 123456.0),
        ("€ 0,99", 0.99), ("0.125", 0.125), ("1.2345", 1.2345), ("12,-", 12.0), ("1.299,-", 1299.0),
        ("$12.50 USD", 12.5), ("Rs. 99", 99.0), ("99 kr.", 99.0), ("3 руб.", 3.0), ("1200円", 1200.0),
    ],
)  # fmt: skip
def test_a_price_that_can_be_read_in_one_way(text: str, amount: float):
    assert amounts(text) == [amount]


@pytest.mark.parametrize(
    "text",
    [
        "10 - 20", "from 10", "2 for 5", "-5", "free", "10 kg", "5 pcs", "12.5 %", "1.5.2", "1,2,3",
        "12,34.5", "1,23.456,7", "€12 €10", "12.50/kg", "1e3", "nan", "inf", "0", "0,00 €", "--",
        "12 500.00.1", "1 23", "01.02.2026", "1:30",
    ],
)  # fmt: skip
def test_what_is_no_price_is_null_and_counted(text: str):
    price, counts = read_prices(pl.Series("price", [text]), None)
    assert price.to_list() == [None] and counts == {UNREAD: 1}


def test_the_column_tells_thousands_from_decimals():
    assert amounts("1.234", "9,99") == [1234.0, 9.99]
    assert amounts("1.234", "9.99") == [1.234, 9.99]
    assert amounts("1,234", "9.99") == [1234.0, 9.99]
    assert amounts("1.234", decimal=",") == [1234.0]
    assert amounts("1.234", decimal=".") == [1.234]
    price, counts = read_prices(pl.Series(["1.234", "5", None, "", "x"]), None)
    assert price.to_list() == [None, 5.0, None, None, None]
    assert counts == {UNCLEAR: 1, UNREAD: 1}
    assert amounts("1.234", "9.99", "9,99") == [None, 9.99, 9.99]  # the column contradicts itself


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.text(st.sampled_from("0123456789.,' -€$kr%x"), min_size=1, max_size=9))
def test_digits_are_never_invented(text: str):
    (price,) = amounts(text)
    if price is not None:
        digits = "".join(filter(str.isdigit, text))
        assert f"{price:.9f}".replace(".", "").strip("0") == digits.strip("0")


def test_there_are_two_decimal_signs():
    check_decimal(None)
    with pytest.raises(IngestError, match="--decimal ';' must be"):
        check_decimal(";")
