"""Simulate a day of the shop: exposures, clicks and the steps after a click.

A session belongs to one user, device and hour, and shows about a dozen launched items: most of the
category that the user seeks that day, some popular, some random. The shop tends to place better
items first, so that position and quality are confounded, as in a real log. A click is a Bernoulli
draw with the probability of ``truth.Truth`` times the position's examination. The rarer steps of
the funnel follow a click.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl

from recsys_assets.columns import (
    CLICK,
    DEVICE_TYPE,
    DEVICES,
    EVENT_ID,
    EVENT_TYPE,
    EVENT_TYPES,
    GENDERS,
    ITEM_ID,
    RAW_INTERACTIONS,
    TIMESTAMP,
    USER_ID,
)
from recsys_assets.lib.simulator.truth import ANY_GENDER, PERSONA_WEIGHTS, Truth, examination
from recsys_assets.local_time import UTC
from recsys_assets.partitions import SIMULATED_DAYS, day_bounds, days_between

#: Position of an exposure in its session, from 1 (Int16). Only simulated logs have this column. The
#: steps after a click have the click's position.
POSITION = "position"
CLICK_RATE = 0.20
SESSION_LENGTH = 12  # mean exposures per session
SECONDS_BETWEEN_EXPOSURES = 40
#: Shares of exposures: items of the session's category, popular items, random items.
POLICY_SHARES = np.array([0.55, 0.20, 0.25])
ARRANGEMENT_NOISE = 0.8  # logits, against a spread of 0.4 in quality
OFF_INTENT_SHARE = 0.25  # sessions about a category of the persona that is not the day's
_CALIBRATION_EXPOSURES = 3_000  # per day
WEEKEND_VOLUME, WEEKDAY_VOLUME = 1.10, 0.96  # mean over a week: 1
#: Percent of sessions by hour after midnight: quiet nights, a peak at 12 to 14.
HOUR_PERCENT = np.array([1, 1, 1, 1, 1, 1, 1, 2, 4, 5, 6, 8, 11, 12, 11, 9, 5, 4, 3, 3, 4, 3, 2, 1])
#: (event type, probability after a view, seconds after it); each step implies the ones before.
FUNNEL = (
    ("AddToCart", 0.08, 20),
    ("ViewCart", 0.05, 35),
    ("StartCheckout", 0.02, 60),
    ("Purchase", 0.01, 120),
)


class LoggingPolicy:
    """Draws the items that the shop shows on a day.

    Each draw is one binary search in cumulated weights. A category without a launched item for a
    gender shows the other gender's items; a category without any launched item shows all items.
    """

    def __init__(self, truth: Truth, day: str) -> None:
        self._quality = truth.quality.astype(np.float64)
        live = truth.launched(np.arange(len(truth.item_ids)), day_bounds(day)[0])
        self._live = np.flatnonzero(live)
        self._popular = np.cumsum(np.exp(1.5 * self._quality[live]))
        members: list[np.ndarray] = []
        edges: list[np.ndarray] = []
        for category in range(len(truth.categories)):
            for gender in range(len(GENDERS)):
                inside = live & (truth.item_category == category)
                suited = inside & (
                    (truth.item_gender == gender) | (truth.item_gender == ANY_GENDER)
                )
                group = next(
                    np.flatnonzero(shelf) for shelf in (suited, inside, live) if shelf.any()
                )
                weight = np.cumsum(np.exp(self._quality[group]))
                members.append(group)
                edges.append(len(edges) + weight / weight[-1])  # group g lies in (g, g + 1]
        self._members, self._edges = np.concatenate(members), np.concatenate(edges)

    def anything(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n launched items, int64 [n]."""
        return self._live[rng.integers(len(self._live), size=n)]

    def popular(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n launched items by popularity, int64 [n]."""
        at = np.searchsorted(self._popular, rng.random(n) * self._popular[-1], side="right")
        return np.asarray(self._live[at])

    def of_category(
        self, rng: np.random.Generator, category: np.ndarray, gender: np.ndarray
    ) -> np.ndarray:
        """Draw an item per category [n] and gender [n], int64 [n]."""
        group = category.astype(np.int64) * len(GENDERS) + gender
        # below 1 - 2^-30, so that rounding cannot move a draw into the next group
        at = np.searchsorted(
            self._edges, group + rng.random(len(group)) * (1 - 2.0**-30), side="right"
        )
        members: np.ndarray = self._members[at]
        return members

    def arranged(
        self, rng: np.random.Generator, session: np.ndarray, item: np.ndarray
    ) -> np.ndarray:
        """Return the items [n] of the sessions [n] in the order in which they are shown."""
        appeal = self._quality[item] + ARRANGEMENT_NOISE * rng.standard_normal(len(item))
        return item[np.lexsort((-appeal, session))]


def draw_exposures(
    truth: Truth, n: int, day: str, rng: np.random.Generator, zone: str = UTC
) -> dict[str, np.ndarray]:
    """Draw n exposures of a day of the zone, session by session.

    Returns:
        {"user", "item", "device", "timestamp", "position"}, int64 [n] each. Positions count from 1
        within a session.
    """
    policy = LoggingPolicy(truth, day)
    start_of_day, end_of_day = day_bounds(day, zone)
    lengths = 1 + rng.poisson(SESSION_LENGTH - 1, n // (SESSION_LENGTH // 2) + 8)
    sessions = int(np.searchsorted(np.cumsum(lengths), n)) + 1
    lengths = lengths[:sessions]
    lengths[-1] -= lengths.sum() - n
    session = np.repeat(np.arange(sessions), lengths)
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])

    cumulated = np.cumsum(truth.activity.astype(np.float64))
    user = np.searchsorted(cumulated, rng.random(sessions) * cumulated[-1], side="right")
    device = (rng.random((sessions, 1)) > np.cumsum(truth.device_share[user], axis=1)[:, :-1]).sum(
        axis=1
    )
    category = truth.intent(user, start_of_day)
    other = truth.persona_at(user, start_of_day)[
        np.arange(sessions), rng.choice(len(PERSONA_WEIGHTS), sessions, p=PERSONA_WEIGHTS)
    ]
    category = np.where(rng.random(sessions) < OFF_INTENT_SHARE, other, category)

    gaps = rng.exponential(SECONDS_BETWEEN_EXPOSURES, n).astype(np.int64)
    gaps[first] = 0
    elapsed = np.cumsum(gaps)
    elapsed -= np.repeat(elapsed[first], lengths)
    hour = rng.choice(24, sessions, p=HOUR_PERCENT / HOUR_PERCENT.sum())
    begin = start_of_day + hour * 3_600 + rng.integers(3_600, size=sessions)
    last = elapsed[first + lengths - 1]
    begin = np.minimum(begin, end_of_day - 1 - last)  # a session ends on its own day

    shown_by = rng.choice(len(POLICY_SHARES), n, p=POLICY_SHARES)
    item = policy.anything(rng, n)
    by_category, by_popularity = shown_by == 0, shown_by == 1
    item[by_category] = policy.of_category(
        rng, category[session[by_category]], truth.user_gender[user[session[by_category]]]
    )
    item[by_popularity] = policy.popular(rng, int(by_popularity.sum()))
    return {
        "user": user[session],
        "item": policy.arranged(rng, session, item),
        "device": device[session],
        "timestamp": begin[session] + elapsed,
        "position": np.arange(n) - first[session] + 1,
    }


def calibrated(truth: Truth, start: str) -> Truth:
    """Return the truth with a bias for a mean click rate of CLICK_RATE, by bisection.

    Args:
        truth: the truth to calibrate.
        start: first day (ISO) of the simulated days that the truth was drawn for.
    """
    rng = np.random.default_rng([truth.seed, 3])
    first = date.fromisoformat(start)
    logits, looks = [], []
    for day in days_between(first, first + timedelta(days=SIMULATED_DAYS - 1)):
        shown = draw_exposures(truth, _CALIBRATION_EXPOSURES, day, rng)
        odds = truth.click_probability(
            shown["user"], shown["item"], shown["device"], shown["timestamp"]
        )
        logits.append(np.log(odds / (1 - odds)) - truth.bias)
        looks.append(examination(shown["position"]))
    logit, look = np.concatenate(logits), np.concatenate(looks)
    low, high = -10.0, 10.0
    for _ in range(50):
        middle = (low + high) / 2
        rate = (look / (1 + np.exp(-(logit + middle)))).mean()
        low, high = (low, middle) if rate > CLICK_RATE else (middle, high)
    return dataclasses.replace(truth, bias=low)


def simulate_day(truth: Truth, exposures_per_day: int, day: str, zone: str = UTC) -> pl.DataFrame:
    """Return all interactions of a day of the zone, RAW_INTERACTIONS and POSITION, by time.

    The result depends only on the arguments.
    """
    rng = np.random.default_rng([truth.seed, date.fromisoformat(day).toordinal(), 4])
    volume = WEEKEND_VOLUME if date.fromisoformat(day).weekday() >= 5 else WEEKDAY_VOLUME
    n = round(exposures_per_day * volume)
    shown = draw_exposures(truth, n, day, rng, zone)
    clicked = rng.random(n) < examination(shown["position"]) * truth.click_probability(
        shown["user"], shown["item"], shown["device"], shown["timestamp"]
    )
    # kind: index into EVENT_TYPES
    row, kind, at = [np.arange(n)], [clicked.astype(np.int8)], [shown["timestamp"]]
    views = np.flatnonzero(clicked)
    depth = rng.random(len(views))
    for name, probability, delay in FUNNEL:
        reached = views[depth < probability]
        row.append(reached)
        kind.append(np.full(len(reached), EVENT_TYPES.index(name), np.int8))
        at.append(np.minimum(shown["timestamp"][reached] + delay, day_bounds(day, zone)[1] - 1))
    rows, kinds, times = np.concatenate(row), np.concatenate(kind), np.concatenate(at)
    order = np.lexsort((kinds, rows, times))
    rows, kinds, times = rows[order], kinds[order], times[order]

    def names(values: Sequence[str] | np.ndarray, index: np.ndarray) -> pl.Series:
        return pl.Series(values, dtype=pl.String).gather(index)

    frame = pl.DataFrame(
        {
            USER_ID: names(truth.user_ids, shown["user"][rows]),
            ITEM_ID: names(truth.item_ids, shown["item"][rows]),
            TIMESTAMP: times,
            DEVICE_TYPE: names(DEVICES, shown["device"][rows]),
            EVENT_TYPE: names(EVENT_TYPES, kinds),
            CLICK: (kinds > 0).astype(np.int8),
            POSITION: shown["position"][rows].astype(np.int16),
        }
    )
    prefix = "s" + day.replace("-", "") + "-"
    numbered = frame.with_row_index(EVENT_ID).with_columns(
        pl.format(prefix + "{}", pl.col(EVENT_ID)).alias(EVENT_ID)
    )
    return numbered.select(*RAW_INTERACTIONS, POSITION)
