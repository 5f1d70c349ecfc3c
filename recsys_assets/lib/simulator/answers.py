"""Simulate a day of served answers and of the clicks on them, in the forms of the landing zone.

A model scores candidates for visitors of the day, the best are shown, and the truth decides on the
clicks. The model is a truth of its own: ``taste_model`` knows what visitors liked up to a day, and
draws the intent of each day at random, as no model can know it.
"""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.lib.landing.served_answers import SCHEMA
from recsys_assets.lib.simulator.exposures import HOUR_PERCENT
from recsys_assets.lib.simulator.truth import FROM_THE_START, NEVER, Truth, examination
from recsys_assets.local_time import UTC
from recsys_assets.partitions import day_bounds

SHOWN, CANDIDATES = 10, 80
#: Seconds that a visitor takes per item.
SECONDS_PER_ITEM = 6
_LAST = 600  # seconds before midnight after which no answer is given, so that clicks are of the day


def steady(truth: Truth) -> Truth:
    """Return the truth without shifts of interests and without new items."""
    return dataclasses.replace(
        truth,
        shift_day=np.full_like(truth.shift_day, NEVER),
        launch_day=np.full_like(truth.launch_day, FROM_THE_START),
    )


def shifted(truth: Truth, day: str) -> Truth:
    """Return the truth in which every visitor's interests change at the start of a day (UTC)."""
    number = (date.fromisoformat(day) - date(1970, 1, 1)).days
    return dataclasses.replace(truth, shift_day=np.full_like(truth.shift_day, number))


def taste_model(truth: Truth, day: str) -> Truth:
    """Return a model of what visitors liked on a day (ISO), with the intents of other days."""
    every = np.arange(len(truth.user_ids))
    return dataclasses.replace(
        truth,
        seed=truth.seed + 1_000_003,
        persona=truth.persona_at(every, day_bounds(day)[0]),
        shift_day=np.full_like(truth.shift_day, NEVER),
    )


def simulate_answers(
    truth: Truth, model: Truth, day: str, answers: int, release: int, zone: str = UTC
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the log of answers of a day, and the clicks on them.

    Args:
        truth: decides on the clicks.
        model: scores; its scores are probabilities of a click at the first position.
        day: ISO, of the zone.
        answers: their number.
        release: its number in the log.
        zone: the shop's time zone.

    Returns:
        The columns of ``landing.served_answers.SCHEMA``, and RAW_INTERACTIONS with REQUEST_ID.
    """
    rng = np.random.default_rng([truth.seed, date.fromisoformat(day).toordinal(), 6])
    start, end = day_bounds(day, zone)
    cumulated = np.cumsum(truth.activity.astype(np.float64))
    user = np.searchsorted(cumulated, rng.random(answers) * cumulated[-1], side="right")
    device = (rng.random((answers, 1)) > np.cumsum(truth.device_share[user], axis=1)[:, :-1]).sum(1)
    hour = rng.choice(24, answers, p=HOUR_PERCENT / HOUR_PERCENT.sum())
    at = np.sort(np.minimum(start + hour * 3_600 + rng.integers(3_600, size=answers), end - _LAST))
    live = np.flatnonzero(truth.launched(np.arange(len(truth.item_ids)), start))
    number = min(CANDIDATES, len(live))
    drawn = live[rng.random((answers, len(live))).argpartition(number - 1, axis=1)[:, :number]]
    arguments = user[:, None], drawn, device[:, None], at[:, None]
    scores = model.click_probability(*arguments)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :SHOWN]
    item, score = np.take_along_axis(drawn, order, 1), np.take_along_axis(scores, order, 1)
    position = np.arange(1, item.shape[1] + 1)
    likes = truth.click_probability(user[:, None], item, device[:, None], at[:, None])
    clicked = rng.random(item.shape) < examination(position) * likes
    ids = pl.Series([f"{day}-{n:06d}" for n in range(answers)])
    users, devices = truth.user_ids[user], np.array(c.DEVICES)[device]
    log = pl.DataFrame(
        {
            "answer_id": ids,
            c.REQUEST_ID: "r-" + ids,
            c.USER_ID: users,
            "at": at,
            c.DEVICE_TYPE: devices,
            "context_at": None,
            "top_k": SHOWN,
            "item_ids": truth.item_ids[item].tolist(),
            "scores": score.tolist(),
            "propensities": None,
            "query_release": release,
            "release": release,
            "reasons": [[]] * answers,
            c.ARRIVED: at + 1,
            "features": None,
            "arm": None,
        },
        schema=SCHEMA,
    )
    row, place = np.nonzero(clicked)
    events = pl.DataFrame(
        {
            c.EVENT_ID: [f"c{day}-{n:06d}" for n in range(len(row))],
            c.USER_ID: users[row],
            c.ITEM_ID: truth.item_ids[item[row, place]],
            c.TIMESTAMP: at[row] + SECONDS_PER_ITEM * (place + 1),
            c.DEVICE_TYPE: devices[row],
            c.EVENT_TYPE: c.VIEW,
            c.CLICK: 1,
            c.REQUEST_ID: log[c.REQUEST_ID].gather(row),
        },
        schema={
            **{name: getattr(pl, kind) for name, kind in c.RAW_INTERACTIONS.items()},
            c.REQUEST_ID: pl.String,
        },
    )
    return log, events
