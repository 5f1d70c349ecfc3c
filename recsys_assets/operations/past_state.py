"""Write the state of visitors and items as of past moments into the stores of an own home.

The writers are those of production: Feast's online store gets rows as a materialisation and the
event consumer write them, and the seen filters get events. So a fault in a writer is a difference.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from feature_repo import apply
from recsys_assets import columns as c
from recsys_assets.lib.feature_store.bloom import local_day
from recsys_assets.lib.feature_store.recent_clicks import RecentClicks, push_recent_clicks
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.feature_store.views import EVENT_TIMESTAMP, ITEM_POPULARITY, USER_FEATURES
from recsys_assets.lib.served_check.moments import Moments
from recsys_assets.local_time import day_bounds, day_name
from recsys_assets.serving.events.events import Event
from recsys_assets.serving.events.visitor_state import VisitorState
from recsys_assets.serving.stores.availability import Availability, set_availability
from recsys_assets.settings import POPULARITY_DATABASE, VISITOR_DATABASE, Settings

_EVENTS = 5_000  # per pipeline


class PastState:
    """Writes the state before each round of queries.

    Args:
        own: settings of an own home, whose Valkey runs.
        moments: of the queries.
        zone: time zone of the shop.
    """

    def __init__(self, own: Settings, moments: Moments, zone: str) -> None:
        self._own, self._moments, self._zone = own, moments, zone
        self._store = open_store(own)
        apply.apply_features(self._store, own)
        # raw/users has a row per visitor, with a gender of "-1" where the shop gave none
        known = moments.visitors.filter(pl.col(c.USER_ID) != c.MISSING).unique(
            c.USER_ID, keep="first"
        )
        self._write(
            USER_FEATURES,
            {
                c.USER_ID: known[c.USER_ID].to_list(),
                c.AGE: known[c.AGE].to_list(),
                c.GENDER: known[c.GENDER].to_list(),
            },
            1,
        )

    def hide(self, items: Sequence[str]) -> None:
        """Hide items, as the shop does with those that it no longer has."""
        if items:
            with visitor_client(self._own, POPULARITY_DATABASE) as client:
                hidden: dict[str, Availability] = dict.fromkeys(items, "hidden")
                set_availability(client, hidden)

    def set_items(self, day: str) -> None:
        """Write the clicks of all items on the day before a local day."""
        rows = self._moments.popularity[day]
        self._write(
            ITEM_POPULARITY,
            {name: rows[name].to_list() for name in (c.ITEM_ID, c.ITEM_CLICKS)},
            day_bounds(day, self._zone)[0],
        )

    def set_visitors(self, queries: np.ndarray) -> int:
        """Write what the visitors of distinct queries have clicked and seen.

        The seen filter reads the days up to today, whatever moment a request names. So the events
        are written as many days before today as they lie before their query.

        Returns:
            today's number; the state holds while it is today.
        """
        rows = self._moments.visitors[queries].filter(pl.col("updated_at").is_not_null())
        push_recent_clicks(
            self._store,
            [
                RecentClicks(user, categories, items, times, float(updated_at))
                for user, categories, items, times, updated_at in rows.select(
                    c.USER_ID,
                    c.RECENT_CATEGORIES,
                    c.RECENT_ITEMS,
                    c.RECENT_TIMESTAMPS,
                    "updated_at",
                ).iter_rows()
            ],
        )
        now = time.time()
        today = local_day(now, self._zone)
        acts = self._moments.acts.filter(pl.col("query").is_in(queries.tolist())).join(
            self._moments.visitors.select("query", c.USER_ID), on="query"
        )
        entries = [
            (
                f"0-{number}",
                Event(
                    event_id=str(uuid.UUID(int=number)),
                    user_id=user,
                    item_id=item,
                    event_type=event,
                    # any second of the day: the filter keeps days
                    timestamp=day_bounds(day_name(today - age), self._zone)[0],
                ),
                c.MISSING,  # the views of a past moment are in Feast
            )
            for number, (user, item, event, age) in enumerate(
                acts.select(c.USER_ID, c.ITEM_ID, c.EVENT_TYPE, "age").iter_rows(), 1
            )
        ]
        with visitor_client(self._own, VISITOR_DATABASE) as client:
            client.flushdb()
            state = VisitorState(
                client, self._own.kept_seen_days, self._zone, self._own.look_back_days
            )
            for start in range(0, len(entries), _EVENTS):
                state.apply(entries[start : start + _EVENTS], now)
        return today

    def is_today(self, today: int) -> bool:
        """Return whether a local day is the present one."""
        return local_day(time.time(), self._zone) == today

    def _write(self, view: str, rows: Mapping[str, Sequence[Any]], at: int) -> None:
        frame = pd.DataFrame(dict(rows))
        if not len(frame):
            return
        frame[EVENT_TIMESTAMP] = pd.to_datetime(at, unit="s", utc=True)
        self._store.write_to_online_store(view, frame)
