"""Read prices as shops write them. A text that is not wholly a price stays unread.

price-parser knows the signs, codes and words of currencies. The number is read here: price-parser
takes 10 from "10 - 20", 5 from "-5" and 12345678 from "12,345.678".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

import polars as pl
from price_parser.parser import extract_currency_symbol

from recsys_assets.columns import PRICE
from recsys_assets.lib.landing.zone import IngestError

UNREAD = f"{PRICE} is not a number above 0: taken as unknown"
UNCLEAR = (
    f"{PRICE} may be thousands or decimals, such as 1.234: taken as unknown (name the decimal sign "
    "with --decimal)"
)
#: A number that can be read in one way only. With three decimals it might be a thousand.
_PLAIN = r"^(?:\d{1,12}|\d{0,12}\.(?:\d{1,2}|\d{4,}))$"
#: Blanks and apostrophes group thousands everywhere.
_GROUPS = re.compile("(?<=\\d)[ \u00a0\u202f\u2009'\u2019](?=\\d{3}(?:\\D|$))")
_NO_CENTS = re.compile(r"([.,]|:(?=-))[-\u2013\u2014]+$")  # 12,- and 12.- and 12:-
_ABBREVIATION = re.compile(r"(?<=[^\W\d])\.$")  # "kr." at the end
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_INDIAN = re.compile(r"\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?")


def check_decimal(decimal: str | None) -> None:
    """Refuse a decimal sign other than '.' and ','.

    Raises:
        IngestError: names the option.
    """
    if decimal not in (None, ".", ","):
        raise IngestError(f"--decimal {decimal!r} must be '.' or ','")


def read_prices(text: pl.Series, decimal: str | None) -> tuple[pl.Series, Mapping[str, int]]:
    """Return prices above 0 as Float64, null where there is none, and what stayed unread.

    1.234 alone may be a thousand or three decimals. The other prices of the column tell, if they
    have decimals of one sign.

    Args:
        text: prices as the shop gives them.
        decimal: the decimal sign, if known.

    Returns:
        The prices, and reason → number of values that were given and not read.
    """
    given = text.str.strip_chars()
    given = given.set(given == "", None)
    plain = given.is_null() | given.str.contains(_PLAIN)
    amounts = {value: _amount(value) for value in given.filter(~plain).unique()}
    # plain numbers have a point, where they have a sign at all
    points = bool(given.filter(plain).str.contains(".", literal=True).any())
    signs = {_sign(amount) for amount in amounts.values() if amount} - {None}
    signs |= {"."} if points else set()
    known = decimal or (next(iter(signs)) if len(signs) == 1 else None)
    read = {value: amount and _number(amount, known) for value, amount in amounts.items()}
    unclear = [
        value for value, amount in amounts.items() if amount and not known and _unclear(amount)
    ]
    numbers = pl.select(
        pl.when(plain)
        .then(given.cast(pl.Float64, strict=False))
        .otherwise(
            given.replace_strict(
                list(read), list(read.values()), default=None, return_dtype=pl.Float64
            )
        )
    ).to_series()
    price = above_zero(numbers)
    lost = given.is_not_null() & price.is_null()
    doubtful = given.is_in(unclear)
    counts = {UNREAD: int((lost & ~doubtful).sum()), UNCLEAR: int((lost & doubtful).sum())}
    return price.alias(text.name), {reason: count for reason, count in counts.items() if count}


def above_zero(numbers: pl.Series) -> pl.Series:
    """Return the finite numbers above 0; null for the others."""
    return numbers.set(~(numbers.is_finite() & (numbers > 0)).fill_null(False), None)


def _amount(value: str) -> str | None:
    """Return the digits and signs of a price; None if there is more than them and a currency.

    >>> _amount("1 234,50 zł"), _amount("10 kg"), _amount("CHF 12.-")
    ('1234,50', None, '12.00')
    """
    text: str = _ABBREVIATION.sub("", value.strip())
    while symbol := extract_currency_symbol(text, None):
        begins, ends = text.startswith(symbol), text.endswith(symbol)
        if not (begins or ends):
            break
        text = text[len(symbol) :].removeprefix(". ") if begins else text[: -len(symbol)]
        text = text.strip(" \u00a0\u202f")
    text = _NO_CENTS.sub(lambda sign: sign[1].replace(":", ",") + "00", _GROUPS.sub("", text))
    return text if _NUMBER.fullmatch(text) else None


def _unclear(amount: str) -> bool:
    """Return whether the one sign may group thousands or begin decimals."""
    return bool(re.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}", amount))


def _sign(amount: str) -> str | None:
    """Return the decimal sign of an amount that has decimals for sure."""
    if _unclear(amount):
        return None
    signs: list[str] = re.findall(r"[.,]", amount)
    if len(set(signs)) == 2 and signs.count(signs[-1]) == 1:
        return signs[-1]
    return signs[0] if len(signs) == 1 else None


def _number(amount: str, decimal: str | None) -> float | None:
    """Return an amount as a number; None if its signs are not those of one number."""
    sign = decimal if _unclear(amount) else _sign(amount)
    if _unclear(amount) and sign is None:
        return None
    group = {".": ",", ",": "."}.get(sign or "", "")
    whole, _, part = amount.rpartition(sign) if sign and sign in amount else (amount, "", "")
    if part and group in part:
        return None
    if not _grouped(whole, group or None):
        return None
    return float(Decimal(re.sub(r"[.,]", "", whole) + "." + (part or "0")))


def _grouped(whole: str, group: str | None) -> bool:
    """Return whether the signs of a whole number stand before every three digits."""
    if whole.isdigit():
        return True
    signs = set(re.findall(r"[.,]", whole))
    if len(signs) != 1 or (group and signs != {group}):
        return False
    sign = re.escape(signs.pop())
    return bool(
        re.fullmatch(rf"[1-9]\d{{0,2}}(?:{sign}\d{{3}})+", whole) or _INDIAN.fullmatch(whole)
    )
