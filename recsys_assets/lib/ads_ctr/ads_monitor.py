"""Show the state of the watch in the store, for the gateway's metrics."""

from __future__ import annotations

import json
from typing import TypedDict

import redis

from recsys_assets.lib.ads_ctr.ads_watch import AdsWatch
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.settings import VISITOR_DATABASE, Settings

#: Key in VISITOR_DATABASE.
MONITOR_KEY = "ads:monitor"
_TIMEOUT_MS = 1_000


class MonitorState(TypedDict):
    """Holds what ``ads:monitor`` says about the release in service."""

    release: int
    rolling_auc: float | None
    loss: float | None  # mean log loss of ADWIN's window, scaled to 0 to 1
    labelled: int  # predictions of the release
    waiting: int  # predictions without a settled label
    alarms: int  # of all releases
    threshold: float | None
    at: float  # unix seconds


def monitor_state(watch: AdsWatch, waiting: int, now: float) -> MonitorState:
    """Return the state of a watch."""
    return {
        "release": watch.release,
        "rolling_auc": watch.rolling_auc,
        "loss": watch.loss,
        "labelled": watch.labelled,
        "waiting": waiting,
        "alarms": watch.alarms,
        "threshold": watch.rules.threshold,
        "at": now,
    }


def publish(settings: Settings, state: MonitorState) -> str | None:
    """Write the state to the store; return why it could not be written, or None."""
    try:
        with visitor_client(settings, VISITOR_DATABASE, timeout_ms=_TIMEOUT_MS) as client:
            client.set(MONITOR_KEY, json.dumps(state))
    except redis.RedisError as error:
        return f"{MONITOR_KEY} was not written, the store does not answer: {error}"
    return None
