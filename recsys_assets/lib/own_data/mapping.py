"""Map a source's columns to ours, and a log's values to RAW_INTERACTIONS.

A row is accepted whole, or rejected for the first reason that applies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa

from recsys_assets.columns import (
    ARRIVED,
    ARRIVED_INTERACTIONS,
    CLICK,
    DEVICE_TYPE,
    DEVICES,
    EVENT_ID,
    EVENT_TYPE,
    EVENT_TYPES,
    IMPRESSION,
    INTEREST_EVENTS,
    ITEM_ID,
    MISSING,
    TIMESTAMP,
    USER_ID,
    VIEW,
)
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.batch import TextForm
from recsys_assets.lib.own_data.headers import resolve
from recsys_assets.lib.own_data.sources import as_text, check_id_type, first_rows
from recsys_assets.lib.own_data.times import EARLIEST, Times, check_format, microseconds
from recsys_assets.lib.own_data.words import EVENT_WORDS, NO_VALUE, plain_word
from recsys_assets.local_time import UTC

ID_LENGTH = 128  # the gateway's limit
#: Characters that are not ``str.isprintable``. The gateway refuses ids that contain them.
_UNPRINTABLE = r"\p{C}|\p{Zl}|\p{Zp}|[\p{Zs}&&[^ ]]"

ARRIVAL = "arrival micros"

MALFORMED = "malformed line"
NOT_IN_CATALOGUE = "item is not in the catalogue"
DUPLICATE = "duplicate event"
UNREADABLE_TIME = "timestamp cannot be read"
FUTURE = "timestamp is in the future"
UNREADABLE_ARRIVAL, FUTURE_ARRIVAL = "arrived cannot be read", "arrived is in the future"
UNKNOWN_EVENT, UNKNOWN_DEVICE = "event_type is unknown", "device_type is unknown"


def parse_pairs(option: str, pairs: Sequence[str]) -> dict[str, str]:
    """Return the ``name=value`` pairs of a command's option as a dictionary.

    Raises:
        IngestError: a pair has another form, or a name has two values. The message names the
            option.
    """
    read: dict[str, str] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not (name and sign and value):
            raise IngestError(f"{option} {pair!r} must have the form name=value")
        if read.get(name, value) != value:
            raise IngestError(
                f"{option} names {name!r} twice: {read[name]!r} and {value!r}; keep one of them"
            )
        read[name] = value
    return read


def _vocabulary(option: str, given: Mapping[str, str], accepted: Sequence[str]) -> dict[str, str]:
    for source, target in given.items():
        if target not in accepted:
            raise IngestError(
                f"{option} {source}={target}: {target!r} is not one of {', '.join(accepted)}"
            )
    return dict(given)


@dataclass(frozen=True)
class LogRules:
    """Holds the rules by which a log is read.

    Args:
        mapping: our column → the log's.
        events: the log's event type → ours. A word that differs only in case or punctuation needs
            no entry.
        devices: the log's device → ours, by the same rule.
        first_day_start: unix seconds; earlier rows are rejected. None: accept every row.
        time_zone: of the shop; decides the days, and reads times that name no zone.
        columns: names of the columns, in order, of files without a header.
        encoding: of text files; None: detect it.
        time_format: of strptime, for the times; None: detect it.

    Raises:
        IngestError: an event type or a device is mapped to an unknown word.
    """

    mapping: Mapping[str, str] = field(default_factory=dict)
    events: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    first_day_start: int | None = None
    time_zone: str = UTC
    columns: tuple[str, ...] = ()
    encoding: str | None = None
    time_format: str | None = None

    @property
    def form(self) -> TextForm:
        """Return how to read text files: the given columns and charset."""
        return TextForm(tuple(self.columns), self.encoding)

    def __post_init__(self) -> None:
        _vocabulary("--event-type", self.events, EVENT_TYPES)
        _vocabulary("--device", self.devices, (*DEVICES, MISSING))
        if self.time_format is not None:
            check_format(self.time_format)

    def resolved(self, path: Path, present: Mapping[str, pa.DataType]) -> dict[str, str]:
        """Return our column → this file's.

        Raises:
            IngestError: a column is missing, or an id column has a type that loses digits.
        """
        resolved = resolve(
            path,
            present,
            self.mapping,
            "--map",
            tuple(ARRIVED_INTERACTIONS),
            (USER_ID, ITEM_ID, TIMESTAMP),
            form=self.form,
            first_rows=first_rows(path, self.form),
        )
        for name in (EVENT_ID, USER_ID, ITEM_ID):
            if name in resolved:
                check_id_type(path, resolved[name], present[resolved[name]])
        return resolved


def id_problem(name: str, text: pl.Expr) -> list[tuple[str, pl.Expr]]:
    """Return the reasons to reject an id (text), as (reason, condition) pairs."""
    problems = [
        (f"{name} is null or empty", text.is_null() | (text.str.strip_chars() == "")),
        (
            f"{name} is longer than {ID_LENGTH} characters or not printable",
            (text.str.len_chars() > ID_LENGTH) | text.str.contains(_UNPRINTABLE),
        ),
    ]
    what = "visitors" if name == USER_ID else "items"
    problems[1:1] = [
        (f"{name} is {MISSING!r}, which stands for unknown {what}", text == MISSING),
        (f"{name} is a word for no value", text.str.to_lowercase().is_in(NO_VALUE)),
    ]
    return problems


_DEVICE_WORDS = {plain_word(device): device for device in DEVICES}


def _mapped(text: pl.Expr, given: Mapping[str, str], plain: Mapping[str, str]) -> pl.Expr:
    """Return the log's words as ours; null for an unknown word.

    Args:
        text: the log's words.
        given: the log's word → ours; goes before ``plain``.
        plain: word without case and punctuation → ours.
    """
    simple = text.str.to_lowercase().str.replace_all("[^a-z0-9]", "")
    own = simple.replace_strict(
        list(plain), list(plain.values()), default=None, return_dtype=pl.String
    )
    if not given:
        return own
    return pl.coalesce(
        text.replace_strict(
            list(given), list(given.values()), default=None, return_dtype=pl.String
        ),
        own,
    )


def canonical(
    frame: pl.DataFrame,
    columns: Mapping[str, str],
    rules: LogRules,
    times: Times,
    now: int,
    catalogue: pl.Series | None,
    arrivals: Times | None = None,
) -> pl.DataFrame:
    """Return a batch of the log in our columns, with the reason to reject each row.

    Args:
        frame: the batch.
        columns: our column → the frame's.
        rules: how the log's values are read.
        times: how the times are read.
        now: unix seconds; later rows are rejected.
        catalogue: item ids that a row may name; None: any.
        arrivals: how the arrivals are read; None: the log has none.

    Returns:
        One row per row of the frame: ARRIVED_INTERACTIONS (``event_id`` is null if the log has
        none, ``arrived`` if the row has none),
        ``micros`` Int64 (the time in microseconds), ``device_given`` Boolean, and ``reason``
        String, null for an accepted row.
    """
    text = {
        name: as_text(frame, source).alias(name)
        for name, source in columns.items()
        if name != TIMESTAMP
    }
    read = frame.select(
        *text.values(), microseconds(frame, columns[TIMESTAMP], times).alias("micros")
    )
    arrived = pl.lit(None, pl.Int64)
    if arrivals is not None:
        moments = frame.select(microseconds(frame, columns[ARRIVED], arrivals).alias(ARRIVAL))
        read, arrived = read.hstack(moments), pl.col(ARRIVAL).floordiv(1_000_000)
    user, item, micros = pl.col(USER_ID), pl.col(ITEM_ID), pl.col("micros")
    time = micros.floordiv(1_000_000)
    event, click, problems = _behaviour(columns, rules)
    device, given, device_problems = _device(columns, rules)
    reasons = [
        *id_problem(USER_ID, user),
        *id_problem(ITEM_ID, item),
        (UNREADABLE_TIME, micros.is_null()),
        ("timestamp is before 1990", time < EARLIEST),
        (FUTURE, time > now),
    ]
    if rules.first_day_start is not None:
        reasons.append(("timestamp is before --first-day", time < rules.first_day_start))
    if arrivals is not None:
        given_text = pl.col(ARRIVED).str.strip_chars().str.to_lowercase()
        filled = given_text.is_not_null() & ~given_text.is_in(["", *NO_VALUE])
        reasons += [
            (UNREADABLE_ARRIVAL, filled & arrived.is_null()),
            (FUTURE_ARRIVAL, arrived > now),
        ]
    reasons += [*problems, *device_problems]
    if catalogue is not None:
        reasons.append((NOT_IN_CATALOGUE, ~item.is_in(catalogue.implode())))
    own_id = pl.col(EVENT_ID) if EVENT_ID in columns else pl.lit(None, pl.String)
    return read.select(
        own_id.replace("", None).alias(EVENT_ID),
        user,
        item,
        time.alias(TIMESTAMP),
        device.alias(DEVICE_TYPE),
        event.alias(EVENT_TYPE),
        click.cast(pl.Int8).alias(CLICK),
        arrived.alias(ARRIVED),
        micros,
        given.alias("device_given"),
        pl.coalesce(pl.when(applies).then(pl.lit(reason)) for reason, applies in reasons).alias(
            "reason"
        ),
    )


def _device(
    columns: Mapping[str, str], rules: LogRules
) -> tuple[pl.Expr, pl.Expr, list[tuple[str, pl.Expr]]]:
    """Return (device, whether the log has it, reasons to reject)."""
    if DEVICE_TYPE not in columns:
        return pl.lit(MISSING), pl.lit(False), []
    given = pl.col(DEVICE_TYPE)
    filled = given.is_not_null() & (given != MISSING) & ~given.str.to_lowercase().is_in(NO_VALUE)
    mapped = _mapped(pl.col(DEVICE_TYPE), rules.devices, _DEVICE_WORDS)
    device = pl.when(filled).then(mapped).otherwise(pl.lit(MISSING))
    return device, filled, [(UNKNOWN_DEVICE, filled & mapped.is_null())]


def _behaviour(
    columns: Mapping[str, str], rules: LogRules
) -> tuple[pl.Expr, pl.Expr, list[tuple[str, pl.Expr]]]:
    """Return (event type, click, reasons to reject), from event_type, click or both.

    Without both columns, every row is a click.
    """
    flag = (
        pl.col(CLICK)
        .str.to_lowercase()
        .replace_strict(
            ["0", "1", "0.0", "1.0", "false", "true"],
            [0, 1, 0, 1, 0, 1],
            default=None,
            return_dtype=pl.Int8,
        )
    )
    kind = _mapped(pl.col(EVENT_TYPE), rules.events, EVENT_WORDS)
    clicked = kind.is_in(INTEREST_EVENTS).cast(pl.Int8)
    bad_click, bad_kind = ("click is not 0 or 1", flag.is_null()), (UNKNOWN_EVENT, kind.is_null())
    if CLICK in columns and EVENT_TYPE in columns:
        return kind, flag, [bad_kind, bad_click, ("click contradicts event_type", flag != clicked)]
    if EVENT_TYPE in columns:
        return kind, clicked, [bad_kind]
    if CLICK in columns:
        return (
            pl.when(flag == 1).then(pl.lit(VIEW)).otherwise(pl.lit(IMPRESSION)),
            flag,
            [bad_click],
        )
    return pl.lit(VIEW), pl.lit(1), []
