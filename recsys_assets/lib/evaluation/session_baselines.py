"""Defines the baselines by the order of clicks: follow-ups and session-kNN.

Both are fitted on the training days and answer from a visitor's latest clicks, weighted by place.
Clicks of one visitor in one second, such as the lines of an order, share a place: their order is
unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from recsys_assets.columns import ITEM_HISTORY, SECONDS_PER_DAY, SECONDS_PER_HOUR
from recsys_assets.lib.evaluation.click_log import ClickLog, faded
from recsys_assets.lib.evaluation.popular_baselines import Popular
from recsys_assets.lib.evaluation.sparse_rows import highest_per_row
from recsys_assets.lib.evaluation.visitor_baselines import ByVisitor, above_popularity

#: The latest sessions of an item that can be neighbours. So a query costs at most ITEM_HISTORY
#: times as many products, however popular its items are.
SESSIONS_PER_ITEM = 500


@dataclass(frozen=True)
class _ByLatest(ByVisitor):
    """Scores items from a visitor's latest clicks, as many as the models read."""

    place_decay: float  # weight of a click relative to the one after it

    def clicks(self, code: np.ndarray, at: np.ndarray) -> sp.csr_matrix:
        """Return the latest clicks weighted by place, float32 [n, I]."""
        return self.log.latest(code, at, ITEM_HISTORY, self.place_decay)


@dataclass(frozen=True)
class FollowUps(_ByLatest):
    """Sums what visitors clicked after the visitor's latest items.

    A first-order Markov chain with skips (sequential rules; Kamehkhosh, Jannach and Ludewig 2017).
    Items that never followed come after all others, most popular first.
    """

    after: sp.csr_matrix  # float32 [I, I], row j: weighted clicks after a click on item j
    name: ClassVar[str] = "follow_ups"

    @classmethod
    def fit(
        cls,
        fitted: ClickLog,
        log: ClickLog,
        fallback: Popular,
        *,
        reach: int,
        half_life: float,
        normalisation: float,
        place_decay: float,
    ) -> FollowUps:
        """Count the clicks that follow; see ``follow_ups``.

        Args:
            fitted: clicks to count.
            log: clicks that queries answer from.
            fallback: answers where there is no click.
            reach: clicks that follow.
            half_life: days.
            normalisation: exponent of the row sums that rows are divided by; 0: counts, 1: shares.
            place_decay: weight of a click relative to the one after it.
        """
        after = follow_ups(fitted, reach, half_life)
        total = np.asarray(after.sum(axis=1)).ravel()
        scale = np.maximum(total, np.finfo(np.float32).tiny) ** -normalisation
        after = sp.diags(np.where(total > 0, scale, 0.0).astype(np.float32)) @ after
        return cls(log, fallback, place_decay, after.tocsr())

    def of_clicks(self, clicks: sp.csr_matrix, popular: np.ndarray) -> np.ndarray:
        """Return summed follow-ups, then popularity below them, float64 [n, I]."""
        return above_popularity((clicks @ self.after).tocsr(), popular)


def follow_ups(clicks: ClickLog, reach: int, half_life: float) -> sp.csr_matrix:
    """Return the weighted clicks on each item after a click on another, float32 [I, I].

    A click and one of the ``reach`` next clicks of the visitor count 1 / g, where the later one is
    g moments after it, halved for every ``half_life`` days before the last click of the log. There
    are at most C · reach entries.

    Args:
        clicks: C clicks of I items.
        reach: clicks that follow.
        half_life: days.
    """
    shape = (clicks.items, clicks.items)
    found = sp.csr_matrix(shape, dtype=np.float32)
    age = (clicks.time.max(initial=0) - clicks.time) / SECONDS_PER_DAY
    weight = np.exp2(-age / half_life)
    for step in range(1, reach + 1):
        gap = clicks.moment[step:] - clicks.moment[:-step]
        pair = np.flatnonzero((clicks.code[step:] == clicks.code[:-step]) & (gap > 0))
        counted = (weight[pair + step] / gap[pair]).astype(np.float32)
        found = found + sp.csr_matrix(
            (counted, (clicks.item[pair], clicks.item[pair + step])), shape=shape
        )
    return found


@dataclass(frozen=True)
class SessionKNN(_ByLatest):
    """Sums the sessions most similar to a visitor's latest clicks.

    V-SKNN (Ludewig and Jannach 2018) over an index of each item's latest sessions, as VMIS-kNN has
    it (Kersbergen, Sprangers and Schelter 2022). The similarity sums the places' weights and the
    idf of the common items, times the recency of the session. The score does not weight the place
    of the latest common item once more. Items of no neighbour come last, most popular first.
    """

    neighbours: int
    sessions: sp.csr_matrix  # float32 [S, I], ones; latest session first
    index: sp.csr_matrix  # float32 [I, S], rarity · recency of the latest sessions per item
    rarity: np.ndarray  # float64 [I], idf
    recency: np.ndarray  # float64 [S], with the length of the session
    name: ClassVar[str] = "session_knn"

    @classmethod
    def fit(
        cls,
        fitted: ClickLog,
        log: ClickLog,
        fallback: Popular,
        *,
        pause: float,
        neighbours: int,
        half_life: float,
        idf: float,
        length: float,
        place_decay: float,
    ) -> SessionKNN:
        """Index the sessions.

        Args:
            fitted: clicks of the sessions.
            log: clicks that queries answer from.
            fallback: answers where there is no click.
            pause: hours without a click that end a session.
            neighbours: sessions that are summed.
            half_life: days after which a session weighs half.
            idf: exponent of log(S / sessions with the item); 0: all items weigh the same.
            length: exponent of the items of a session that its weight is divided by.
            place_decay: weight of a click relative to the one after it.
        """
        sessions, end = sessions_of(fitted, pause)
        size = np.diff(sessions.indptr)
        age = (end.max(initial=0) - end) / SECONDS_PER_DAY
        recency = faded(age, half_life) / np.maximum(size, 1) ** length
        by_item = sessions.T.tocsr()
        # 1 added: an item of all sessions still counts
        rarity = np.log1p(sessions.shape[0] / np.maximum(np.diff(by_item.indptr), 1)) ** idf
        # all entries are 1, so the first columns are kept: the latest sessions
        by_item = highest_per_row(by_item, SESSIONS_PER_ITEM)
        weight = np.repeat(rarity, np.diff(by_item.indptr)) * recency[by_item.indices]
        by_item.data = weight.astype(np.float32)
        return cls(log, fallback, place_decay, neighbours, sessions, by_item, rarity, recency)

    def of_clicks(self, clicks: sp.csr_matrix, popular: np.ndarray) -> np.ndarray:
        """Return summed neighbours, then popularity below them, float64 [n, I]."""
        nearest = highest_per_row((clicks @ self.index).tocsr(), self.neighbours)
        return above_popularity((nearest @ self.sessions).tocsr(), popular)


def sessions_of(clicks: ClickLog, pause: float) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return the sessions of two or more items, latest first.

    Args:
        clicks: C clicks of I items.
        pause: hours without a click that end a session.

    Returns:
        ones float32 [S, I], and the time of the last click of each, unix seconds, int64 [S].
    """
    begins = (np.diff(clicks.code, prepend=-1) != 0) | (
        np.diff(clicks.time, prepend=0) > pause * SECONDS_PER_HOUR
    )
    session = np.cumsum(begins) - 1
    items = sp.csr_matrix(
        (np.ones(len(session), np.float32), (session, clicks.item)),
        shape=(int(session.max(initial=-1)) + 1, clicks.items),
    )
    items.sum_duplicates()
    items.data[:] = 1.0
    last = np.append(np.flatnonzero(begins)[1:], len(session))[: items.shape[0]] - 1
    end = clicks.time[last]
    kept = np.flatnonzero(np.diff(items.indptr) > 1)
    order = kept[np.argsort(-end[kept], kind="stable")]
    return items[order], end[order]
