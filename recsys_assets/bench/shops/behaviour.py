"""Draw what visitors of an invented shop do.

The truth is this bench's own and shares nothing with ``lib.simulator``: latent tastes by low-rank
factors, popularity by Zipf's law, follow-ups within a session, repeat purchases, and items that are
new during the log. Each of them can be left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LONGEST_SESSION = 12
FOLLOWERS = 5  # items that often follow an item
#: Weight of each hour of the day.
DAYTIME = (1, 1, 1, 1, 1, 1, 2, 4, 6, 8, 9, 9, 10, 9, 8, 8, 8, 9, 10, 10, 9, 7, 4, 2)
EVENING = (6, 2, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 6, 12, 20, 26, 28, 24, 14)


@dataclass(frozen=True)
class Behaviour:
    """Holds what moves the visitors of a shop.

    Attributes:
        users: number of visitors; their activity is log-normal.
        items: number of items.
        factors: length of the latent vectors.
        taste: standard deviation of the taste for items, in units of the logit; 0: no taste.
        popularity: exponent of Zipf's law; 0: all items are equally popular.
        follow: probability that a row continues from the row before in its session.
        repeat: probability that a row repeats an item of the visitor's earlier days.
        new_share: share of the items that appear during the log.
        freshness: logit that an item gains on its first day; it halves every two days.
        session: mean number of rows per session.
        hours: weight of each hour of the day.
    """

    users: int
    items: int
    factors: int = 6
    taste: float = 1.5
    popularity: float = 0.8
    follow: float = 0.25
    repeat: float = 0.0
    new_share: float = 0.0
    freshness: float = 0.0
    session: float = 3.0
    hours: Sequence[int] = DAYTIME


class Visitors:
    """Draws sessions day by day.

    Args:
        truth: of the shop.
        days: number of days, over which new items appear.
        seed: of everything that is drawn.
    """

    def __init__(self, truth: Behaviour, days: int, seed: int) -> None:
        self.truth, self.random = truth, np.random.default_rng(seed)
        users = self.random.normal(size=(truth.users, truth.factors))
        items = self.random.normal(size=(truth.items, truth.factors))
        #: N users x M items
        self.taste: Array = truth.taste * users @ items.T / np.sqrt(truth.factors)
        places = self.random.permutation(truth.items) + 1
        self.popularity: Array = -truth.popularity * np.log(places)
        near = items @ items.T
        np.fill_diagonal(near, -np.inf)
        self.followers: Ints = np.argsort(-near, axis=1)[:, :FOLLOWERS]
        new = self.random.random(truth.items) < truth.new_share
        self.born: Ints = np.where(new, self.random.integers(1, max(2, days), truth.items), 0)
        activity = self.random.lognormal(0.0, 1.0, truth.users)
        self.activity: Array = activity / activity.sum()
        self.history: dict[int, list[int]] = {}

    def day(self, number: int, rows: int) -> pl.DataFrame:
        """Draw the sessions of a day.

        Args:
            number: of the day, from 0.
            rows: wanted; a few less come back, because no visitor does the same thing twice in the
                same second.

        Returns:
            {user, item, second, session} Int64, ordered by second: the second of the day, and the
            session's number within the day.
        """
        truth, random = self.truth, self.random
        lengths: Ints = np.minimum(random.geometric(1 / truth.session, rows), LONGEST_SESSION)
        lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), rows)) + 1]
        session = np.repeat(np.arange(len(lengths)), lengths)[:rows]
        starts = np.flatnonzero(np.diff(session, prepend=-1))
        place = np.arange(rows) - starts[session]
        user = random.choice(truth.users, len(starts), p=self.activity)[session]
        item = self._items(number, user)
        for position in range(1, int(place.max(initial=0)) + 1):
            at = np.flatnonzero((place == position) & (random.random(rows) < truth.follow))
            following = self.followers[item[at - 1], random.integers(0, FOLLOWERS, len(at))]
            item[at] = np.where(self.born[following] <= number, following, item[at])
        self._repeat(user, item)
        begin, gap = self._begin(len(starts)), random.integers(15, 90, len(starts))
        second = np.minimum(begin[session] + place * gap[session], 86_399)
        drawn = pl.DataFrame({"user": user, "item": item, "second": second, "session": session})
        drawn = drawn.cast(pl.Int64).unique(["user", "item", "second"], maintain_order=True)
        for who, what in drawn.select("user", "item").iter_rows():
            self.history.setdefault(who, []).append(what)
        return drawn.sort("second", "user", "item")

    def _items(self, number: int, user: Ints) -> Ints:
        """Draw an item per row by taste, popularity and age, with Gumbel noise (B rows)."""
        truth, age = self.truth, number - self.born
        offered = np.where(age >= 0, self.popularity, -np.inf)
        offered = offered + truth.freshness * np.where(self.born > 0, 0.5 ** (age / 2), 0.0)
        noise = self.random.gumbel(size=(len(user), truth.items))
        drawn: Ints = np.argmax(self.taste[user] + offered + noise, axis=1)
        return drawn

    def _repeat(self, user: Ints, item: Ints) -> None:
        """Replace some items by one that the visitor had on an earlier day."""
        for row in np.flatnonzero(self.random.random(len(user)) < self.truth.repeat):
            if had := self.history.get(int(user[row])):
                item[row] = had[int(self.random.integers(len(had)))]

    def _begin(self, sessions: int) -> Ints:
        weights = np.array(self.truth.hours, float)
        hours: Ints = self.random.choice(24, sessions, p=weights / weights.sum())
        begin: Ints = hours * 3_600 + self.random.integers(0, 3_600, sessions)
        return begin


def draw_log(
    truth: Behaviour, first: date, volumes: Sequence[int], seed: int, zone: str = "UTC"
) -> pl.DataFrame:
    """Draw the log of a shop.

    Args:
        truth: of the shop.
        first: first day.
        volumes: rows of each day; 0: a day without rows.
        seed: the same seed gives the same log.
        zone: time zone of the shop's clock.

    Returns:
        {user, item, second, session, day Date, time Int64 unix seconds}, ordered by time.
    """
    visitors, days = Visitors(truth, len(volumes), seed), []
    for number, rows in enumerate(volumes):
        if not rows:
            continue
        day = first + timedelta(days=number)
        midnight = int(datetime.combine(day, time(), ZoneInfo(zone)).timestamp())
        drawn = visitors.day(number, rows)
        days.append(
            drawn.with_columns(day=pl.lit(day), time=midnight + pl.col("second")).with_columns(
                session=pl.col("session") + number * 1_000_000
            )
        )
    return pl.concat(days).sort("time", "user", "item")


def with_shown(log: pl.DataFrame, items: int, shown: int, seed: int) -> pl.DataFrame:
    """Add, per click, items that were shown at the same moment and not clicked.

    They are drawn uniformly, so only tastes tell clicks from them. An item is not shown before the
    day of its first click.

    Args:
        log: of ``draw_log``; each row becomes a click.
        items: number of items.
        shown: items per click.
        seed: the same seed gives the same items.

    Returns:
        The columns of the log and ``clicked``, 0 or 1; ordered by time.
    """
    random = np.random.default_rng(seed)
    first = log.group_by("item").agg(first=pl.col("day").min())
    rows = [log.with_columns(clicked=pl.lit(1, pl.Int64))]
    for _ in range(shown):
        other = pl.Series("item", random.integers(0, items, log.height))
        rows.append(log.with_columns(other, clicked=pl.lit(0, pl.Int64)))
    return (
        pl.concat(rows)
        .join(first, on="item", maintain_order="left")
        .filter(pl.col("day") >= pl.col("first"))
        .drop("first")
        .unique(["user", "item", "time"], keep="first", maintain_order=True)
        .sort("time", "user", "item")
    )


def chosen(rows: int, seed: int, words: Sequence[str], weights: Sequence[float]) -> pl.Series:
    """Draw one word per row with these weights."""
    random = np.random.default_rng(seed)
    shares = np.array(weights, float)
    return pl.Series(random.choice(list(words), rows, p=shares / shares.sum()), dtype=pl.String)


def code(column: str, form: str) -> pl.Expr:
    """Return numbers as ids, such as ``N{}`` or, with leading zeros, ``0{}``."""
    return pl.format(form, pl.col(column))
