"""Arranges the clicks of a window so that a visitor's clicks before a day are one range.

The unit of time is the local day: on day d, a batch system that runs nightly knows the clicks up to
the end of day d - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys_assets.columns import EVENT_TYPE, ITEM_ID, MISSING, TIMESTAMP, USER_ID, VIEW
from recsys_assets.lib.landing.local_days import local_day
from recsys_assets.local_time import UTC, local_days


def days_of(frame: pl.DataFrame, zone: str = UTC) -> np.ndarray:
    """Return the local day of each row, in days since 1970, int64 [N]."""
    days: np.ndarray = local_days(frame[TIMESTAMP].to_numpy(), zone)
    return days


@dataclass(frozen=True)
class ClickLog:
    """Holds C clicks of U known visitors on I items over D days in a row.

    Without a click, C, U and D are 0.

    They are ordered by visitor and day. Clicks without a user id (MISSING) count in ``daily`` only,
    because they are not of one person.
    """

    users: pl.DataFrame  # {user_id, code: Int64}, codes 0 to U - 1
    code: np.ndarray  # int64 [C]
    item: np.ndarray  # int64 [C], row of the catalogue
    day: np.ndarray  # int64 [C], days since ``first_day``
    daily: np.ndarray  # int64 [D, I], clicks of every item on every day
    first_day: int  # days since 1970
    zone: str = UTC  # of the days

    @classmethod
    def of(
        cls,
        interactions: pl.DataFrame | pl.LazyFrame,
        item_ids: Sequence[str] | np.ndarray,
        zone: str = UTC,
    ) -> ClickLog:
        """Arrange the clicks of a log.

        Args:
            interactions: RAW_INTERACTIONS of the window.
            item_ids: [I], the catalogue in order; clicks on other items are left out.
            zone: the shop's time zone.
        """
        rows = pl.DataFrame(
            {ITEM_ID: list(item_ids), "row": np.arange(len(item_ids))},
            schema={ITEM_ID: pl.String, "row": pl.Int64},
        )
        clicks = (
            interactions.lazy()
            .filter(pl.col(EVENT_TYPE) == VIEW)
            .select(USER_ID, ITEM_ID, day=local_day(pl.col(TIMESTAMP), zone))
            .collect()
            .join(rows, on=ITEM_ID)
        )
        first, days = 0, 0
        if not clicks.is_empty():
            first = int(clicks["day"].min())  # type: ignore[arg-type]  # Polars: of any type that a column holds
            days = int(clicks["day"].max()) - first + 1  # type: ignore[arg-type]  # as above
        cell = (clicks["day"].to_numpy() - first) * len(item_ids) + clicks["row"].to_numpy()
        daily = np.bincount(cell, minlength=days * len(item_ids)).reshape(days, len(item_ids))
        known = clicks.filter(pl.col(USER_ID) != MISSING)
        users = (
            known.select(pl.col(USER_ID).unique().sort())
            .with_row_index("code")
            .with_columns(pl.col("code").cast(pl.Int64))
        )
        known = known.join(users, on=USER_ID).sort("code", "day", "row")
        return cls(
            users,
            known["code"].to_numpy(),
            known["row"].to_numpy(),
            known["day"].to_numpy() - first,
            daily,
            first,
            zone,
        )

    @property
    def items(self) -> int:
        """Number of items of the catalogue."""
        return int(self.daily.shape[1])

    def before(self, day: int) -> ClickLog:
        """Return the clicks before ``day`` (since 1970), with the same visitors and items."""
        kept = self.day < day - self.first_day
        return ClickLog(
            self.users,
            self.code[kept],
            self.item[kept],
            self.day[kept],
            self.daily[: max(day - self.first_day, 0)],
            self.first_day,
            self.zone,
        )

    def matrix(self, most_users: int | None = None, seed: int = 0) -> sp.csr_matrix:
        """Return ones where a visitor clicked an item, float32 [U', I].

        Visitors without a click have no row. Where more than ``most_users`` have one, draw that
        many by ``seed``.
        """
        present = np.unique(self.code)
        if most_users is not None and len(present) > most_users:
            present = np.sort(np.random.default_rng(seed).permutation(present)[:most_users])
        kept = np.isin(self.code, present)
        row = np.searchsorted(present, self.code[kept])
        clicked = sp.csr_matrix(
            (np.ones(len(row), np.float32), (row, self.item[kept])),
            shape=(len(present), self.items),
        )
        clicked.sum_duplicates()
        clicked.data[:] = 1.0
        return clicked

    def recent(self, day: int, half_life: float, window: int | None = None) -> np.ndarray:
        """Return the weighted clicks of every item before ``day`` (since 1970), float64 [I].

        Args:
            day: days since 1970.
            half_life: days after which a click weighs half.
            window: count only this many days before ``day``; None: all.
        """
        end = min(max(day - self.first_day, 0), len(self.daily))
        age = (day - self.first_day - 1) - np.arange(end)
        weight = np.where(age < (window or np.inf), 0.5 ** (age / half_life), 0.0)
        clicks: np.ndarray = weight @ self.daily[:end]
        return clicks

    def codes(self, user_ids: pl.Series) -> np.ndarray:
        """Return each visitor's code, int64 [N]; -1 where MISSING or without a click."""
        asked = pl.DataFrame({USER_ID: user_ids.cast(pl.String)})
        return (
            asked.join(self.users, on=USER_ID, how="left", maintain_order="left")["code"]
            .fill_null(-1)
            .to_numpy()
        )

    def profiles(self, code: np.ndarray, days: np.ndarray, half_life: float) -> sp.csr_matrix:
        """Return the weighted clicks of each visitor before their day, float32 [N, I].

        Args:
            code: int64 [N], of ``codes``; a visitor of -1 has an empty row.
            days: int64 [N], since 1970.
            half_life: days, as in ``recent``.
        """
        span = len(self.daily) + 1
        key, asked = self.code * span + self.day, np.clip(days - self.first_day, 0, span - 1)
        start = np.searchsorted(key, code * span)
        end = np.where(code < 0, start, np.searchsorted(key, code * span + asked))
        size = end - start
        indptr = np.concatenate([[0], np.cumsum(size)])
        position = np.arange(indptr[-1]) + np.repeat(start - indptr[:-1], size)
        age = np.repeat(days - self.first_day - 1, size) - self.day[position]
        weights = sp.csr_matrix(
            ((0.5 ** (age / half_life)).astype(np.float32), self.item[position], indptr),
            shape=(len(code), self.items),
        )
        weights.sum_duplicates()
        return weights
