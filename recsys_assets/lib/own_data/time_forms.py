"""Read times as people and programs write them: month or day first, names of months, AM and PM.

Each form is a regular expression over a whole column. Libraries that guess the form of each value
(dateutil, dateparser) read 01/02/2026 in one order and 13/02/2026 in the other, fill in today for
what is missing, and take 30 µs and more per value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from recsys_assets.columns import SECONDS_PER_DAY, SECONDS_PER_HOUR
from recsys_assets.lib.landing.local_days import from_local

_MONTHS = {
    name: n for n, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)
}
_MONTH = r"(?<name>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))[a-zA-Z]*\.?"
_WEEKDAY = r"(?:(?i:mon|tue|wed|thu|fri|sat|sun)[a-zA-Z]*\.?,?\s+)?"
_CLOCK = (
    r"(?:(?:T|t|\s*,\s*|\s+|:|\s+at\s+)(?<hour>\d{1,2}):(?<minute>\d{2})"
    r"(?::(?<second>\d{2})(?:[.,](?<fraction>\d+))?)?\s*(?<half>[aApP]\.?[mM]\.?)?"
)
_COMPACT_CLOCK = (
    r"(?:[Tt\s]?(?<hour>\d{2})(?<minute>\d{2})(?<second>\d{2})?"
    r"(?:[.,](?<fraction>\d+))?(?<half>[ap])?"
)
_ZONE = r"\s?(?<zone>Z|z|(?:UTC|GMT)?[+-]\d{2}:?\d{2}|[+-]\d{2}|UTC|GMT)?(?:\s*\([^)]*\))?)?$"

YEAR_FIRST, COMPACT, NUMBERS = "year first", "compact", "numbers"
#: Form → regular expression with the groups year, month or name, day, and those of the clock.
_DATES = {
    YEAR_FIRST: r"(?<year>\d{4})[-/.](?<month>\d{1,2})[-/.](?<day>\d{1,2})",
    COMPACT: r"(?<year>\d{4})(?<month>\d{2})(?<day>\d{2})",
    NUMBERS: r"(?<first>\d{1,2})[-/.](?<other>\d{1,2})[-/.](?<year>\d{4}|\d{2})",
    "day and name of the month": r"(?<day>\d{1,2})(?:st|nd|rd|th)?[-/\s.]+"
    + _MONTH
    + r"[-/\s,]+(?<year>\d{4})",
    "name of the month and day": _MONTH
    + r"[-/\s]+(?<day>\d{1,2})(?:st|nd|rd|th)?[,/\s]+(?<year>\d{4})",
}
_RULES = {
    form: "^" + _WEEKDAY + date + (_COMPACT_CLOCK if form == COMPACT else _CLOCK) + _ZONE
    for form, date in _DATES.items()
}
#: Forms with the name of a month.
NAMED = tuple(form for form, date in _DATES.items() if "name" in date)
DAY_FIRST, MONTH_FIRST = "day first", "month first"


@dataclass(frozen=True)
class OrderEvidence:
    """Says which order of day and month the values of a column need."""

    day_first: bool = False  # a first number above 12
    month_first: bool = False  # a second number above 12
    dots: bool = False  # every date has dots, which are written day first
    example: str = ""

    def __or__(self, other: OrderEvidence) -> OrderEvidence:
        return OrderEvidence(
            self.day_first or other.day_first,
            self.month_first or other.month_first,
            self.dots and other.dots,
            self.example or other.example,
        )

    @property
    def order(self) -> str | None:
        """Return DAY_FIRST or MONTH_FIRST; None where the values do not show it or contradict."""
        if self.day_first != self.month_first:
            return DAY_FIRST if self.day_first else MONTH_FIRST
        return DAY_FIRST if self.dots and not self.day_first else None

    def formats(self) -> tuple[str, str]:
        """Return the formats of the example, day first and month first."""
        rest = self.example[self.example.rfind("/" if "/" in self.example else "-") :]
        sign = next((sign for sign in "/-." if sign in self.example), "/")
        year = "%Y" if len(self.example.split(sign)[-1].split(" ")[0]) == 4 else "%y"
        clock = {0: "", 1: " %H:%M", 2: " %H:%M:%S"}.get(rest.count(":"), " %H:%M:%S")
        if self.example.lower().rstrip(".").endswith("m"):
            clock = clock.replace("%H", "%I") + " %p"
        return f"%d{sign}%m{sign}{year}{clock}", f"%m{sign}%d{sign}{year}{clock}"


def detect_form(text: pl.Series) -> str | None:
    """Return the form that most values have; None: no value has a known form."""
    counts = {form: int(text.str.contains(rule).sum()) for form, rule in _RULES.items()}
    form = max(counts, key=lambda form: counts[form])
    return form if counts[form] else None


def evidence_of(text: pl.Series) -> OrderEvidence:
    """Return what values of the form NUMBERS say of their order."""
    read = pl.DataFrame({"text": text}).select(
        "text", pl.col("text").str.extract_groups(_RULES[NUMBERS]).alias("part")
    )
    part = pl.col("part").struct
    first, other = (part.field(name).cast(pl.Int64) for name in ("first", "other"))
    read = read.filter(first.is_not_null())
    if read.is_empty():
        return OrderEvidence(dots=True)
    said = read.select(
        (first > 12).any().alias("day"),
        (other > 12).any().alias("month"),
        pl.col("text").str.contains(r"^\D*\d{1,2}\.").all().alias("dots"),
        (first == other).all().alias("same"),
        pl.col("text").first().alias("example"),
    ).row(0, named=True)
    return OrderEvidence(said["day"] or said["same"], said["month"], said["dots"], said["example"])


def usual_formats(form: str | None, order: str | None) -> list[str]:
    """Return the formats of strptime that most values of a form have; form None is ISO."""
    if form is None:
        days = ["%Y-%m-%dT", "%Y-%m-%d "]
    elif form == NUMBERS:
        days = [
            f"%d{sign}%m{sign}%Y " if order == DAY_FIRST else f"%m{sign}%d{sign}%Y "
            for sign in "/.-"
        ]
    else:
        return []
    clocks = ["%H:%M:%S", "%H:%M", "%H:%M:%S%.f"]
    if form is None:
        clocks += [clock + zone for clock in clocks for zone in ("Z", " UTC", "%z")]
    return [day + clock for day in days for clock in clocks]


def microseconds_of(text: pl.Expr, form: str, order: str | None, zone: str) -> pl.Expr:
    """Return Int64 microseconds since 1970, UTC, of text; null where it is of another form.

    Args:
        text: without blanks at its ends.
        form: one of ``detect_form``.
        order: of day and month, for the form NUMBERS.
        zone: of the wall clock that times without a zone are of.
    """
    part = text.str.extract_groups(_RULES[form]).struct
    number = {
        name: part.field(name).cast(pl.Int64, strict=False)
        for name in ("year", "hour", "minute", "second")
    }
    hour, minute, second = (number[name].fill_null(0) for name in ("hour", "minute", "second"))
    half = part.field("half").str.to_lowercase().str.slice(0, 1)
    hour = (
        pl.when(half.is_null())
        .then(hour)
        .when(hour.is_between(1, 12))
        .then(hour % 12 + pl.when(half == "p").then(12).otherwise(0))
        .otherwise(24)
    )
    year = number["year"]
    year = pl.when(year < 70).then(year + 2000).when(year < 100).then(year + 1900).otherwise(year)
    day = _day(part.field, form, order, year)
    fraction, given = part.field("fraction"), part.field("zone")
    return utc_microseconds((day, hour, minute, second), fraction, given, zone)


def utc_microseconds(
    clock: tuple[pl.Expr, pl.Expr, pl.Expr, pl.Expr], fraction: pl.Expr, given: pl.Expr, zone: str
) -> pl.Expr:
    """Return Int64 microseconds since 1970, UTC; null where the clock has no such time.

    Args:
        clock: days since 1970, hour, minute and second, Int64.
        fraction: digits of the second's fraction as text; null: none.
        given: offset from UTC such as +02:00, or a word for UTC; null: none.
        zone: of the wall clock that times without an offset are of.
    """
    day, hour, minute, second = clock
    seconds = day * SECONDS_PER_DAY + hour * SECONDS_PER_HOUR + minute * 60 + second
    digits = given.str.extract(r"[+-](\d.*)$").str.replace(":", "").str.pad_end(4, "0")
    hours, minutes = (digits.str.slice(at, 2).cast(pl.Int64) for at in (0, 2))
    away = hours * SECONDS_PER_HOUR + minutes * 60
    away = pl.when(given.str.contains("-")).then(-away).otherwise(away).fill_null(0)
    seconds = pl.when(given.is_null()).then(from_local(seconds, zone)).otherwise(seconds - away)
    micros = fraction.str.slice(0, 6).str.pad_end(6, "0").cast(pl.Int64).fill_null(0)
    return pl.when((hour < 24) & (minute < 60) & (second < 61)).then(seconds * 1_000_000 + micros)


def _day(field: Callable[[str], pl.Expr], form: str, order: str | None, year: pl.Expr) -> pl.Expr:
    """Return the days since 1970."""
    if form == NUMBERS:
        names = ("first", "other") if order == DAY_FIRST else ("other", "first")
        day, month = (field(name).cast(pl.Int64, strict=False) for name in names)
    else:
        day = field("day").cast(pl.Int64, strict=False)
        month = (
            field("month").cast(pl.Int64, strict=False)
            if form in (YEAR_FIRST, COMPACT)
            else field("name")
            .str.to_lowercase()
            .replace_strict(
                list(_MONTHS), list(_MONTHS.values()), default=None, return_dtype=pl.Int64
            )
        )
    iso = pl.concat_str(
        year.cast(pl.String).str.zfill(4),
        month.cast(pl.String).str.zfill(2),
        day.cast(pl.String).str.zfill(2),
        separator="-",
    )
    return iso.str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)
