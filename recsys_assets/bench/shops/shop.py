"""Define a shop: the files that it writes, and what its owner types to ingest them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TypeAlias

import polars as pl


class ShopSkipped(RuntimeError):
    """The files of a shop cannot be had on this machine; the message says why."""


@dataclass(frozen=True)
class Written:
    """Describes the files of a shop.

    Attributes:
        rows: of the log.
        items: ids of the catalogue, or of the log where the shop has no catalogue.
        visitor: the visitor with the most rows on the log's last day.
    """

    rows: int
    items: frozenset[str]
    visitor: str

    @classmethod
    def of(
        cls, log: pl.DataFrame, user: str, item: str, day: pl.Expr, items: pl.Series | None = None
    ) -> Written:
        """Describe a log.

        Args:
            log: all rows.
            user: column of the visitors.
            item: column of the items.
            day: the day of a row.
            items: ids of the catalogue; None: those of the log.
        """
        last = log.filter(day == day.max())
        counts = last.group_by(user).len().sort(["len", user], descending=[True, False])
        ids = log[item] if items is None else items
        return cls(log.height, frozenset(ids.cast(pl.String).to_list()), str(counts[user][0]))


#: Writes the files of a shop into a folder; gets the folder, one for downloads, and the draw.
Writer: TypeAlias = Callable[[Path, Path, int], Written]


def of_draw(seed: int, draw: int) -> int:
    """Return the seed of an invented log: draw 0 is that of the tests, which no other one shows.

    >>> of_draw(31, 0), of_draw(31, 2)
    (31, 2031)
    """
    return seed + 1_000 * draw


def window_end(first: date, last: date, days: int, draw: int) -> date:
    """Return the last day that a draw of a real log has: draw 0 all of it, others less.

    Each draw ends ``days`` before the one below it, so that no two are judged by the same clicks.

    Args:
        first: day of the log.
        last: day of the log.
        days: of the window that a draw needs.
        draw: its number.

    Raises:
        ShopSkipped: the log has too few days before.

    >>> window_end(date(2026, 1, 1), date(2026, 2, 1), 12, 1)
    datetime.date(2026, 1, 20)
    """
    end = last - timedelta(days=days * draw)
    if end < first + timedelta(days=days - 1):
        most = ((last - first).days + 1) // days - 1
        raise ShopSkipped(f"the log has {most + 1} windows of {days} days: draws 0 to {most}")
    return end


@dataclass(frozen=True)
class Shop:
    """Defines one shop of the bench.

    Attributes:
        name: key in shops.json.
        form: whose form the files have, and what is special, for the table.
        write: writes the files; raises ShopSkipped.
        arguments: of ``recsys ingest``, which runs in the folder of the files.
        zone: IANA time zone of the shop; None: UTC.
        rejected: reasons for which ``recsys ingest`` rejects rows of this form.
    """

    name: str
    form: str
    write: Writer
    arguments: tuple[str, ...]
    zone: str | None = None
    rejected: frozenset[str] = frozenset()

    @property
    def ingest(self) -> list[str]:
        """Return the arguments of ``recsys``, the time zone included."""
        zone = [] if self.zone is None else ["--time-zone", self.zone]
        return ["ingest", *self.arguments, *zone]
