"""Measures how far the clicks of a session move the list that is served.

A session is a visitor's held-out clicks of one local day. After some of its clicks, the list that
the visitor gets is compared with the list of the same moment without these clicks: that of a
visitor whose history ends before the session, as a nightly list has it. So the time of day, and
what is popular meanwhile, are the same in both lists.

The clicks so far lie *within* the usual taste if each is in a category that has at least
USUAL_SHARE of the visitor's clicks of the look-back before the session. They lie *outside* it if
each is in a category without such a click. All of it follows from the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.list_metrics import SHOWN, Lists, Scorer, mean_per_user
from recsys_assets.lib.evaluation.measures import PRIMARY, MoveFigures, SessionMoves
from recsys_assets.lib.evaluation.queries import SIMULATED, VISITOR, Queries
from recsys_assets.lib.evaluation.row_clicks import as_before
from recsys_assets.local_time import local_days

#: Clicks of a session after which lists are compared.
CLICKS = (1, 2, 5)
WITHIN, OUTSIDE, ALL = "within", "outside", "all"
TASTES = (WITHIN, OUTSIDE, ALL)
#: Share of a visitor's clicks that makes a category a usual one.
USUAL_SHARE = 0.2
#: Clicks before the session, below which a visitor has no usual taste. It is twice the most clicks
#: of a session, so that these never outnumber the history.
LEAST_HISTORY = 2 * CLICKS[-1]
_NO_CATEGORY = {c.UNKNOWN_CATEGORY, c.MISSING, None}
#: Below this many queries a cell has no figures.
LEAST_QUERIES = 20
#: Queries whose lists are made once more; above it, whole visitors are left out.
MOST_QUERIES = 5_000


@dataclass(frozen=True)
class SessionQueries:
    """Holds N queries that follow clicks of their session."""

    rows: np.ndarray  # int64 [N], of the queries
    first: np.ndarray  # int64 [N], the first query of the session
    clicks: np.ndarray  # int64 [N], clicks of the session before the second of the query
    within: np.ndarray  # bool [N], all of these clicks
    outside: np.ndarray  # bool [N], all of these clicks

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.rows)

    def part(self, kept: np.ndarray) -> SessionQueries:
        """Return the queries that are kept, bool [N]."""
        return SessionQueries(
            self.rows[kept],
            self.first[kept],
            self.clicks[kept],
            self.within[kept],
            self.outside[kept],
        )

    def of_taste(self, taste: str) -> np.ndarray:
        """Return the queries of a taste, bool [N]."""
        every = np.ones(len(self), bool)
        return {WITHIN: self.within, OUTSIDE: self.outside, ALL: every}[taste]


def session_queries(queries: Queries) -> SessionQueries:
    """Find the queries after CLICKS clicks of a session.

    Sessions with fewer than LEAST_HISTORY clicks before them are left out, and so are visitors
    without an id.
    """
    day = local_days(queries.frame[c.TIMESTAMP], queries.time_zone)
    asked = (
        queries.frame.with_columns(day=day)
        .with_row_index("row")
        .filter(~pl.col(SIMULATED), pl.col(c.USER_ID) != c.MISSING)
        .sort(VISITOR, c.TIMESTAMP, "row")
        .select(VISITOR, "day", "row", c.TIMESTAMP, c.CATEGORY_L1, c.HISTORY_CATEGORIES)
    )
    found: list[tuple[int, int, int, bool, bool]] = []
    for _, session in groupby(asked.iter_rows(), key=lambda one: one[:2]):
        found += _of_session([one[2:] for one in session])
    table = np.array(found, np.int64).reshape(-1, 5)
    rows, first, clicks, within, outside = table.T
    return SessionQueries(rows, first, clicks, within.astype(bool), outside.astype(bool))


def _of_session(
    session: list[tuple[int, int, str | None, list[str] | None]],
) -> list[tuple[int, int, int, bool, bool]]:
    """Return the rows of ``SessionQueries`` of one session.

    session: row, second, category and earlier categories of each click, by time.
    """
    first, _, _, history = session[0]
    if history is None or len(history) < LEAST_HISTORY:
        return []
    had: Counter[str | None] = Counter(history)
    found = []
    for row, at, *_ in session:
        before = [category for _, second, category, _ in session if second < at]
        if len(before) not in CLICKS:
            continue
        known = not _NO_CATEGORY & set(before)
        within = known and all(had[one] >= USUAL_SHARE * len(history) for one in before)
        found.append((row, first, len(before), within, known and not any(had[o] for o in before)))
    return found


def measure(queries: Queries, live: Lists, scorer: Scorer, seed: int) -> SessionMoves:
    """Compare the lists after clicks of a session with those without them.

    Args:
        queries: held-out clicks.
        live: what the system shows for them.
        scorer: the same system; what it knows of a visitor's clicks is in the rows of the queries
            (``RowClicks``).
        seed: of the bootstrap, and of the visitors that are left out.
    """
    asked = _limited(session_queries(queries), queries.users, seed)
    before = list_metrics.run(scorer, as_before(queries, asked.rows, asked.first))
    now = Lists(live.ranks[asked.rows], live.top[asked.rows])
    users = queries.users[asked.rows]
    return {
        taste: {
            str(clicks): _cell(
                now, before, users, asked.of_taste(taste) & (asked.clicks == clicks), seed
            )
            for clicks in CLICKS
        }
        for taste in TASTES
    }


def _limited(asked: SessionQueries, users: np.ndarray, seed: int) -> SessionQueries:
    """Return the queries of so many visitors that there are at most MOST_QUERIES."""
    if len(asked) <= MOST_QUERIES:
        return asked
    own = users[asked.rows]
    order = np.random.default_rng([seed, 12]).permutation(int(own.max()) + 1)
    size = np.cumsum(np.bincount(own, minlength=len(order))[order])
    return asked.part(np.isin(own, order[size <= MOST_QUERIES]))


def _cell(
    now: Lists, before: Lists, users: np.ndarray, inside: np.ndarray, seed: int
) -> MoveFigures:
    """Return the figures of the queries ``inside``, bool [N]."""
    count, who = int(inside.sum()), users[inside]
    figures: MoveFigures = {
        "queries": count,
        "visitors": len(np.unique(who)),
        "changed": None,
        "median_changed": None,
        "after": None,
        "before": None,
        "gain": None,
    }
    if count < LEAST_QUERIES:
        return figures
    changed = new_items(now.top[inside], before.top[inside])
    return {
        **figures,
        "changed": mean_per_user(changed, who, seed),
        "median_changed": float(np.median(changed)),
        "after": list_metrics.list_metrics(now.ranks[inside], who, seed)[PRIMARY],
        "before": list_metrics.list_metrics(before.ranks[inside], who, seed)[PRIMARY],
        "gain": list_metrics.paired_difference(
            now.ranks[inside], before.ranks[inside], who, PRIMARY, seed
        ),
    }


def new_items(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return how many items each list shows that the other does not, int64 [N].

    now, before: int [N, SHOWN], -1 where a list ends earlier.

    >>> new_items(np.array([[4, 2, 7]]), np.array([[2, 3, -1]])).tolist()
    [2]
    """
    same = (now[:, :, None] == before[:, None, :]).any(axis=2)
    return np.asarray(((now >= 0) & ~same).sum(axis=1))


def verdict(moves: Mapping[str, Mapping[str, MoveFigures]], items: int) -> tuple[bool, str]:
    """Return whether CLICKS[-1] clicks outside the taste move a list, but do not replace it.

    Args:
        moves: of ``measure``.
        items: of the catalogue.

    Returns:
        the verdict, and what was found, with the remedy where it is False.
    """
    most = CLICKS[-1]
    cell = moves[OUTSIDE][str(most)]
    median = cell["median_changed"]
    if median is None:
        return True, f"too few to judge: {cell['queries']} queries, {LEAST_QUERIES} are needed"
    if items < 2 * SHOWN:
        return True, f"too few items to judge: {items}, and {2 * SHOWN} are needed"
    found = f"{most} clicks outside the taste change {median:g} of {SHOWN} items of the median list"
    if gain := cell["gain"]:
        found += (
            f"; nDCG@10 of the next click changes by {gain['value']:+.4f} "
            f"[{gain['low']:+.4f}, {gain['high']:+.4f}]"
        )
    if median >= SHOWN:
        return False, (
            f"{found}. They replace the list. If the interval is above 0, visitors stay with what "
            "they clicked last, and the learned weights follow them. Otherwise look at the weights "
            "of the sources of the last clicks: leave out one of them (RECSYS_SOURCES), or search "
            "the query tower with a lower last_item_share (search_two_tower)"
        )
    if median <= 0:
        return False, (
            f"{found}. They change nothing. Look at the weights of the sources of the last clicks: "
            "allow them (RECSYS_SOURCES), or search the query tower with a higher last_item_share "
            "(search_two_tower)"
        )
    return True, found
