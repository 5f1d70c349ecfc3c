"""Count what happens to the rows of a log, and what the report needs to name remedies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from recsys_assets.columns import DEVICE_TYPE, EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID
from recsys_assets.lib.landing.quarantine import REASON
from recsys_assets.lib.own_data.ids import difference_in_form
from recsys_assets.lib.own_data.mapping import (
    FUTURE,
    NOT_IN_CATALOGUE,
    UNKNOWN_DEVICE,
    UNKNOWN_EVENT,
)
from recsys_assets.lib.own_data.words import plain_word

_WIDEST_ZONE = 15 * 3_600  # seconds that a wall clock may lie ahead of UTC
_STRANGE_ITEMS = 10_000  # distinct ids that the catalogue lacks, compared with its own
_UNKNOWN_VALUES = 200  # most distinct unknown words that are counted


def _no_ids(name: str) -> pl.Series:
    return pl.Series(name, dtype=pl.String)


@dataclass
class LogSummary:
    """Counts what happened to a log's rows; read = accepted + sum of rejected."""

    read: int = 0
    accepted: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    days: dict[str, int] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    # distinct ids, sorted
    users: pl.Series = field(default_factory=lambda: _no_ids(USER_ID))
    items: pl.Series = field(default_factory=lambda: _no_ids(ITEM_ID))
    mapping: dict[str, str] = field(default_factory=dict)
    not_taken: list[str] = field(default_factory=list)
    empty_files: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    unknown: dict[str, Counter[str]] = field(default_factory=dict)
    strange_items: pl.Series = field(default_factory=lambda: _no_ids(ITEM_ID))
    form_of_ids: str | None = None  # how they differ from the catalogue's ids, as a sentence
    words: dict[str, str] = field(default_factory=dict)  # the log's word → our event type
    notes: dict[str, None] = field(default_factory=dict)  # what was detected, as sentences
    literal: int = 0  # rows whose stray quotes were taken as text
    ahead: int = 0  # rows that lie in the future by hours
    most_ahead: int = 0  # seconds
    without_device: int = 0
    time_of_day: bool = False

    def note(self, rows: pl.DataFrame, columns: Mapping[str, str], prefix: str, now: int) -> None:
        """Note a batch, for the remedies in the report.

        Args:
            rows: of ``mapping.canonical``, with the source's columns.
            columns: our column → the source's.
            prefix: of the source's columns.
            now: unix seconds.
        """
        rejected = rows.filter(pl.col(REASON).is_not_null())
        for name, reason in ((EVENT_TYPE, UNKNOWN_EVENT), (DEVICE_TYPE, UNKNOWN_DEVICE)):
            words = rejected.filter(pl.col(REASON) == reason)
            if not words.is_empty():
                found = self.unknown.setdefault(name, Counter())
                given = words[prefix + columns[name]].fill_null("")
                found.update(dict(given.value_counts().iter_rows()))
                self.unknown[name] = Counter(dict(found.most_common(_UNKNOWN_VALUES)))
        ahead = rejected.filter(pl.col(REASON) == FUTURE)[TIMESTAMP] - now
        ahead = ahead.filter(ahead <= _WIDEST_ZONE)
        self.ahead += len(ahead)
        self.most_ahead = max([self.most_ahead, *ahead.top_k(1)])
        if len(self.strange_items) < _STRANGE_ITEMS:
            strange = rejected.filter(pl.col(REASON) == NOT_IN_CATALOGUE)[ITEM_ID]
            self.strange_items = pl.concat([self.strange_items, strange]).unique()
        if EVENT_TYPE in columns:
            accepted = rows.filter(pl.col(REASON).is_null())
            words = accepted.select(prefix + columns[EVENT_TYPE], EVENT_TYPE).unique()
            self.words |= {
                word: kind
                for word, kind in words.iter_rows()
                if plain_word(word) != plain_word(kind)
            }

    def close(self, rejected: Mapping[str, int], catalogue: pl.Series | None) -> None:
        """Sum up, after the last batch."""
        self.rejected = dict(rejected)
        self.accepted = sum(self.days.values())
        self.users, self.items = self.users.sort(), self.items.sort()
        self.words = dict(sorted(self.words.items()))
        if catalogue is not None and len(self.strange_items):
            self.form_of_ids = difference_in_form(self.strange_items, catalogue)
