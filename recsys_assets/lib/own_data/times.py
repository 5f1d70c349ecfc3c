"""Convert the times of a log (numbers, text, dates) to microseconds UTC.

Times that name no zone are the wall clock of the shop's time zone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

import polars as pl

from recsys_assets.lib.landing.local_days import from_local
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data import time_forms
from recsys_assets.local_time import UTC

#: Unit of a numeric time → microseconds per unit.
UNITS = {
    "unix seconds": 1_000_000,
    "unix milliseconds": 1_000,
    "unix microseconds": 1,
    "unix nanoseconds": 0.001,
}
#: Compact form → (digits, format).
COMPACT = {
    "compact dates": (8, "%Y%m%d"),
    "compact times to the minute": (12, "%Y%m%d%H%M"),
    "compact times": (14, "%Y%m%d%H%M%S"),
}
#: Days since 1899-12-30, and those of 1970, 1990 and 2200.
EXCEL_DAYS = "Excel's days"
_EXCEL_1970, _EXCEL_1990, _EXCEL_2200 = 25_569, 32_874, 109_575
#: Forms that any value may have beside those of its column, because they are read in one way only.
_WITHOUT_ORDER = (time_forms.YEAR_FIRST, *time_forms.NAMED)
_YEAR_1900 = -2_208_988_800_000_000  # microseconds
#: A number in scientific notation without the digits of its seconds.
_ROUNDED = r"^\s*\d(?:[.,]\d{1,8})?[eE]\+?\d+\s*$"
_SAMPLE = 2_000  # values that tell the form
#: Unix seconds of 1990 and 2200. A number outside is not a time of a log.
EARLIEST, LATEST = 631_152_000, 7_258_118_400
_ISO = (
    r"^(?<date>\d{4}-\d{2}-\d{2})(?:[T "
    r"](?<clock>\d{2}:\d{2})(?<second>:\d{2})?(?<fraction>[.,]\d+)?"
    r"\s?(?<zone>Z|z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?)?$"
)


@dataclass(frozen=True)
class Times:
    """Says how the times of a file are read.

    Attributes:
        zone: of the wall clock that times without a zone are of.
        unit: of numbers, a key of UNITS or a compact form; None: text.
        form: of text, see ``time_forms.detect_form``; None: ISO.
        order: of day and month.
        strptime: the format that was given.
        evidence: of the order, while it is not known.
    """

    zone: str = UTC
    unit: str | None = None
    form: str | None = None
    order: str | None = None
    strptime: str | None = None
    evidence: time_forms.OrderEvidence | None = None


def detect_unit(values: pl.Series) -> str | None:
    """Return the unit of numeric times, from the size of their median.

    20260113 is no plausible number of seconds (of 1970), and 46035 is none either: such numbers are
    compact dates and Excel's days. Returns None if no value is a number.
    """
    numbers = _number(values).drop_nulls()
    median = numbers.filter(numbers.is_finite()).median()
    if median is None:
        return None
    assert isinstance(median, float)
    for unit, (digits, _) in COMPACT.items():
        if 1990 <= median / 10 ** (digits - 4) < 2200:
            return unit
    if _EXCEL_1990 <= median < _EXCEL_2200:
        return EXCEL_DAYS
    for unit, bound in zip(UNITS, (1e11, 1e14, 1e17, float("inf")), strict=True):
        if median < bound:
            return unit
    raise AssertionError("every finite number is below infinity")


def detect(values: pl.Series, zone: str, strptime: str | None = None) -> Times:
    """Return how times are read, from some of them.

    The order of day and month may stay open: ``order`` is then None, and ``evidence`` is not.
    """
    if strptime is not None and values.dtype == pl.String:
        return Times(zone, strptime=strptime)
    _refuse_rounded(values)
    unit = detect_unit(values)
    if unit is not None or values.dtype not in (pl.String, pl.Categorical):
        return Times(zone, unit)
    text = values.cast(pl.String).drop_nulls().str.strip_chars()
    sample = text.head(_SAMPLE)
    if sample.is_empty() or sample.str.contains(_ISO).sum() * 2 >= len(sample):
        return Times(zone)
    form = time_forms.detect_form(sample)
    if form != time_forms.NUMBERS:
        return Times(zone, form=form)
    evidence = time_forms.evidence_of(text)
    return Times(zone, form=form, order=evidence.order, evidence=evidence)


def _refuse_rounded(values: pl.Series) -> None:
    """Refuse numbers that a spreadsheet rounded, such as 1.7683E+12.

    Raises:
        IngestError: names a value and the remedy.
    """
    if values.dtype != pl.String:
        return
    rounded = values.filter(values.str.contains(_ROUNDED).fill_null(False))
    if len(rounded):
        raise IngestError(
            f"timestamp: times as {rounded[0]!r} were rounded by a spreadsheet, to minutes or "
            "hours; export the column again as text"
        )


def describe(values: pl.Series, times: Times) -> str:
    """Return in words how the times are read, for the report."""
    zone = times.zone
    if values.dtype == pl.Date:
        return f"dates, taken as midnight {zone}"
    if isinstance(values.dtype, pl.Datetime):
        return f"datetimes ({values.dtype.time_zone or f'without zone: {zone} assumed'})"
    if times.unit is not None:
        return f"{times.unit} ({zone})" if times.unit in (*COMPACT, EXCEL_DAYS) else times.unit
    what = times.strptime or (times.form and f"text, {times.order or times.form}") or "ISO text"
    return f"{what} ({zone} where no zone is given)"


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


def microseconds(frame: pl.DataFrame, column: str, times: Times) -> pl.Series:
    """Return a column's times as Int64 microseconds since 1970, UTC.

    A time without zone is read on the wall clock of the zone, see ``local_time.from_local``. An
    unreadable value becomes null. A number that is too large for its unit becomes LATEST or later,
    one that is too small becomes 0. The caller rejects both by its bounds.
    """
    dtype = frame.schema[column]
    if times.strptime or times.unit or dtype not in (pl.String, pl.Categorical):
        return frame.select(_read(dtype, column, times)).to_series()
    text = frame[column].cast(pl.String).str.strip_chars()
    read = _usual(text, times)
    if times.form is None:
        return _fill(read, text, lambda values: _iso(values, times.zone))
    for form in dict.fromkeys((times.form, *_WITHOUT_ORDER)):
        read = _fill(
            read,
            text,
            lambda values, form=form: time_forms.microseconds_of(  # type: ignore[misc]
                values, form, times.order, times.zone
            ),
        )
    return read


def _usual(text: pl.Series, times: Times) -> pl.Series:
    """Return the microseconds of values of the usual format; null for all others.

    strptime is ten times faster than the regular expressions that read every format.
    """
    first = text.drop_nulls().head(1)
    for format_ in time_forms.usual_formats(times.form, times.order):
        if first.str.to_datetime(format_, time_unit="us", strict=False).count():
            zone = UTC if format_.endswith(("Z", "UTC")) else times.zone
            micros = pl.DataFrame({"": text}).select(_strptime(pl.col(""), format_, zone))[""]
            # %Y reads a year of two digits as one of the first century.
            return micros.set(micros < _YEAR_1900, None)
    return pl.Series("", [None], dtype=pl.Int64).new_from_index(0, len(text))


def _fill(read: pl.Series, text: pl.Series, parse: Callable[[pl.Expr], pl.Expr]) -> pl.Series:
    """Return ``read`` with the values that it lacks, as parsed."""
    left = (read.is_null() & text.is_not_null()).arg_true()
    if left.is_empty():
        return read
    part = pl.DataFrame({"text": text.gather(left)})
    return read.scatter(left, part.select(parse(pl.col("text"))).to_series())


def _read(dtype: pl.DataType, column: str, times: Times) -> pl.Expr:
    value = pl.col(column)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return value.dt.epoch("us")
    if isinstance(dtype, pl.Datetime) or dtype == pl.Date:
        return _from_wall(value.cast(pl.Datetime("us")).dt.epoch("us"), times.zone)
    if times.unit in COMPACT or times.unit == EXCEL_DAYS:
        return _local_number(value, dtype, times)
    if dtype.is_numeric():
        return _scaled(value, dtype, times.unit)
    text = value.cast(pl.String).str.strip_chars()
    if times.strptime is not None:
        return _strptime(text, times.strptime, times.zone)
    return pl.coalesce(
        _scaled(text.cast(pl.Int64, strict=False), pl.Int64(), times.unit),
        _scaled(text.cast(pl.Float64, strict=False), pl.Float64(), times.unit),
        _iso(text, times.zone),
    )


def _local_number(value: pl.Expr, dtype: pl.DataType, times: Times) -> pl.Expr:
    """Return the microseconds of compact dates and of Excel's days, on the wall clock."""
    if times.unit == EXCEL_DAYS:
        days = (value.str.strip_chars() if dtype == pl.String else value).cast(
            pl.Float64, strict=False
        )
        days = pl.when(days.is_between(_EXCEL_1990, _EXCEL_2200)).then(days)
        # Excel's times are rounded: to the second they are exact.
        seconds = ((days - _EXCEL_1970) * 86_400).round().cast(pl.Int64)
        return from_local(seconds, times.zone) * 1_000_000
    digits, format_ = COMPACT[times.unit or ""]
    text = value.cast(pl.Int64, strict=False) if dtype.is_numeric() else value.str.strip_chars()
    text = text.cast(pl.String)
    clock = format_ if digits > 8 else format_ + "%H%M"
    padded = text if digits > 8 else text + "0000"
    wall = padded.str.to_datetime(clock, time_unit="us", strict=False, ambiguous="earliest")
    return _from_wall(pl.when(text.str.len_bytes() == digits).then(wall).dt.epoch("us"), times.zone)


def _strptime(text: pl.Expr, format_: str, zone: str) -> pl.Expr:
    """Return the microseconds of text of a given format."""
    if any(part in format_ for part in ("%z", "%:z", "%#z")):
        return text.str.to_datetime(
            format_, time_unit="us", time_zone="UTC", strict=False
        ).dt.epoch("us")
    wall = text.str.to_datetime(format_, time_unit="us", strict=False)
    return _from_wall(wall.dt.epoch("us"), zone)


def check_format(format_: str) -> None:
    """Refuse a format that strptime cannot read.

    Raises:
        IngestError: names the option and a right format.
    """
    moment = datetime(2026, 1, 13, 10, 15, 30, tzinfo=timezone.utc if "z" in format_ else None)
    try:
        text = pl.Series([moment]).dt.strftime(format_)
        micros = text.to_frame("").select(_strptime(pl.col(""), format_, UTC))[""][0]
    except pl.exceptions.PolarsError:
        micros = None
    day = moment.replace(tzinfo=timezone.utc).date()
    if micros is None or datetime.fromtimestamp(micros // 10**6, timezone.utc).date() != day:
        raise IngestError(
            f"--time-format {format_!r} does not give a day, month and year; write it as for "
            "strptime, for example '%d/%m/%Y %H:%M:%S'"
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
    day = part.field("date").str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)
    fraction, given = part.field("fraction").str.slice(1), part.field("zone")
    return time_forms.utc_microseconds((day, hour, minute, second), fraction, given, wall)
