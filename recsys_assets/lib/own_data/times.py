"""Convert the times of a log (numbers, ISO text, dates) to microseconds UTC.

Times that name no zone are the wall clock of the shop's time zone.
"""

from __future__ import annotations

import polars as pl

from recsys_assets.lib.landing.local_days import from_local
from recsys_assets.local_time import UTC

#: Unit of a numeric time → microseconds per unit.
UNITS = {
    "unix seconds": 1_000_000,
    "unix milliseconds": 1_000,
    "unix microseconds": 1,
    "unix nanoseconds": 0.001,
}
#: Unix seconds of 1990 and 2200. A number outside is not a time of a log.
EARLIEST, LATEST = 631_152_000, 7_258_118_400
_ISO = (
    r"^(?<date>\d{4}-\d{2}-\d{2})(?:[T "
    r"](?<clock>\d{2}:\d{2})(?<second>:\d{2})?(?<fraction>[.,]\d+)?"
    r"\s?(?<zone>Z|z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?)?$"
)


def detect_unit(values: pl.Series) -> str | None:
    """Return the unit of numeric times, from the size of their median.

    The unit is a key of UNITS. Returns None if no value is a number.
    """
    numbers = _number(values).drop_nulls()
    median = numbers.filter(numbers.is_finite()).median()
    if median is None:
        return None
    assert isinstance(median, float)
    for unit, bound in zip(UNITS, (1e11, 1e14, 1e17, float("inf")), strict=True):
        if median < bound:
            return unit
    raise AssertionError("every finite number is below infinity")


def describe(values: pl.Series, unit: str | None, zone: str = UTC) -> str:
    """Return in words how the times are read, for the report."""
    if values.dtype == pl.Date:
        return f"dates, taken as midnight {zone}"
    if isinstance(values.dtype, pl.Datetime):
        return f"datetimes ({values.dtype.time_zone or f'without zone: {zone} assumed'})"
    return unit or f"ISO text ({zone} where no zone is given)"


def is_time(dtype: pl.DataType) -> bool:
    """Return whether a column of this type can be read as time."""
    return (
        dtype in (pl.String, pl.Date, pl.Null, pl.Categorical)
        or isinstance(dtype, pl.Datetime)
        or dtype.is_numeric()
    )


def _number(values: pl.Series) -> pl.Series:
    if values.dtype.is_numeric():
        return values.cast(pl.Float64)
    if values.dtype == pl.String:
        return values.str.strip_chars().cast(pl.Float64, strict=False)
    return pl.Series(dtype=pl.Float64)


def microseconds(frame: pl.DataFrame, column: str, unit: str | None, zone: str = UTC) -> pl.Expr:
    """Return a column's times as Int64 microseconds since 1970, UTC.

    A time without zone is read on the wall clock of ``zone``, see ``local_time.from_local``. An
    unreadable value becomes null. A number that is too large for its unit becomes LATEST or later,
    one that is too small becomes 0. The caller rejects both by its bounds.
    """
    dtype, value = frame.schema[column], pl.col(column)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return value.dt.epoch("us")
    if isinstance(dtype, pl.Datetime) or dtype == pl.Date:
        return _from_wall(value.cast(pl.Datetime("us")).dt.epoch("us"), zone)
    if dtype.is_numeric():
        return _scaled(value, dtype, unit)
    text = value.cast(pl.String).str.strip_chars()
    if unit is None:
        return _iso(text, zone)
    return pl.coalesce(
        _scaled(text.cast(pl.Int64, strict=False), pl.Int64(), unit),
        _scaled(text.cast(pl.Float64, strict=False), pl.Float64(), unit),
        _iso(text, zone),
    )


def _scaled(value: pl.Expr, dtype: pl.DataType, unit: str | None) -> pl.Expr:
    factor = UNITS[unit or "unix seconds"]
    bound = LATEST * 1_000_000 / factor
    if dtype.is_float() or dtype.is_decimal():
        number = value.cast(pl.Float64)
        return (
            (pl.when(number.is_finite()).then(number.clip(0, bound)) * factor)
            .round()
            .cast(pl.Int64)
        )
    whole = value.clip(0, min(int(bound), _most(dtype))).cast(pl.Int64)
    return whole * int(factor) if factor >= 1 else whole.floordiv(round(1 / factor))


def _most(dtype: pl.DataType) -> int:
    """Return the largest value of an integer type, at most that of Int64.

    A bound of ``clip`` must fit the column's type.
    """
    small: dict[type[pl.DataType], int] = {
        pl.Int8: 7,
        pl.UInt8: 8,
        pl.Int16: 15,
        pl.UInt16: 16,
        pl.Int32: 31,
        pl.UInt32: 32,
    }
    return (1 << small.get(type(dtype), 63)) - 1


def _from_wall(micros: pl.Expr, zone: str) -> pl.Expr:
    """Return the microseconds UTC of microseconds of a wall clock."""
    local = micros.floordiv(1_000_000)
    return micros + (from_local(local, zone) - local) * 1_000_000


def _iso(text: pl.Expr, wall: str) -> pl.Expr:
    part = text.str.extract_groups(_ISO).struct
    hour, minute = (
        part.field("clock").str.slice(at, 2).cast(pl.Int64).fill_null(0) for at in (0, 3)
    )
    second = part.field("second").str.slice(1).cast(pl.Int64).fill_null(0)
    fraction = (
        part.field("fraction").str.slice(1, 6).str.pad_end(6, "0").cast(pl.Int64).fill_null(0)
    )
    digits = (
        part.field("zone").str.extract(r"^[+-](\d.*)$").str.replace(":", "").str.pad_end(4, "0")
    )
    away = (
        digits.str.slice(0, 2).cast(pl.Int64) * 3_600 + digits.str.slice(2, 2).cast(pl.Int64) * 60
    )
    zone = pl.when(part.field("zone").str.starts_with("-")).then(-away).otherwise(away).fill_null(0)
    day = part.field("date").str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)
    seconds = day * 86_400 + hour * 3_600 + minute * 60 + second - zone
    seconds = (
        pl.when(part.field("zone").is_null()).then(from_local(seconds, wall)).otherwise(seconds)
    )
    return pl.when((hour < 24) & (minute < 60) & (second < 61)).then(seconds * 1_000_000 + fraction)
