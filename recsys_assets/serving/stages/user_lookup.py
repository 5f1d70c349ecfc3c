"""What is known of a visitor, out of Feast's online store; without it, what training used for an unknown one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.columns import AGE, GENDER, MISSING, RECENT_CATEGORIES, RECENT_TIMESTAMPS, USER_ID
from recsys_assets.lib.activity import activity_features, history
from recsys_assets.serving.answer import Degraded
from recsys_assets.serving.online_features import OnlineFeatures, Row
from recsys_assets.serving.stage import Stage, StageFileCorrupt, Tensors, TensorSpec, read_json
from recsys_assets.serving.stages.context import CONTEXT_TIMESTAMP, VISITOR_ID
from recsys_assets.serving.stages.tabular import USER_HISTORY_RAW, USER_NUMBERS, USER_RAW
from recsys_assets.serving.stores import StoreUnavailable
from recsys_assets.settings import Settings

LOG = logging.getLogger(__name__)

DEFAULTS = "user_defaults.json"
FEATURES = (f"user_features:{AGE}", f"user_features:{GENDER}", f"user_activity:{RECENT_CATEGORIES}",
            f"user_activity:{RECENT_TIMESTAMPS}")


class FeastUserLookup(Stage):
    """Visitors' ids → raw user features; never fails for want of the store.

    A visitor with neither age nor gender stored is unknown: user_id and gender become "-1", the age the mean of the
    training users; what the clicks of the last seven days say at the request's time is kept all the same.
    """

    name = "feast_user_lookup"
    inputs = (VISITOR_ID, CONTEXT_TIMESTAMP)
    outputs = (USER_RAW, USER_NUMBERS, USER_HISTORY_RAW, TensorSpec("user_degraded", "INT32", (-1,)))
    files = (DEFAULTS,)

    def __init__(self, features: OnlineFeatures, mean_age: float):
        self._features, self._mean_age = features, mean_age

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> FeastUserLookup:
        defaults = read_json(directory / DEFAULTS)
        if not isinstance(defaults.get("mean_age"), (int, float)):
            raise StageFileCorrupt(f"{directory / DEFAULTS} must hold a number mean_age, got {defaults}")
        stage = cls(OnlineFeatures.open(settings, settings.store_timeout_ms), float(defaults["mean_age"]))
        stage._warm()
        return stage

    def _warm(self) -> None:
        """Connect and look the features up in Feast's registry before the first visitor waits for it."""
        try:
            self._features.read(FEATURES, USER_ID, [MISSING])
        except StoreUnavailable as error:
            LOG.warning("online store not reachable at start, visitors get defaults until it is: %s", error)

    def run(self, inputs: Tensors) -> Tensors:
        visitors, moments = inputs["visitor_id"].tolist(), inputs["context_timestamp"].tolist()
        stored = self._stored(visitors)
        raw, numbers = np.empty((len(visitors), 3), np.object_), np.empty((len(visitors), 4), np.float32)
        clicked: list[str] = []
        for place, (visitor, now) in enumerate(zip(visitors, moments, strict=True)):
            row = stored.get(visitor) or {}
            age, gender = _typed(row, AGE, float), _typed(row, GENDER, str)
            age = age if age is None or isfinite(age) else None
            recent = _recent_clicks(row)
            top, clicks, hours = activity_features(*recent, now)
            categories, _ = history(*recent, now)  # its last clicks_24h are those of the 24 hours
            raw[place] = (visitor if age is not None or gender is not None else MISSING, MISSING if gender is None else gender, top)
            numbers[place] = (self._mean_age if age is None else age, clicks, hours, len(categories))
            clicked += categories
        flat = np.empty(len(clicked), np.object_)
        flat[:] = clicked
        degraded = [int(Degraded.USER_FEATURES) if visitor != MISSING and stored.get(visitor) is None else 0 for visitor in visitors]
        return {"user_raw": raw, "user_numbers": numbers, "user_history_raw": flat, "user_degraded": np.array(degraded, np.int32)}

    def close(self) -> None:
        self._features.close()

    def _stored(self, visitors: Sequence[str]) -> dict[str, Row | None]:
        """What is online of each visitor, in one read; nothing of one that could not be read, nor of the anonymous."""
        ids = [visitor for visitor in dict.fromkeys(visitors) if visitor != MISSING]
        try:
            return dict(zip(ids, self._features.read(FEATURES, USER_ID, ids), strict=True))
        except StoreUnavailable as error:
            LOG.debug("user features: %s", error)
            return {}


def _typed(stored: Row, name: str, kind: type) -> Any:
    """The value, or None where another type is stored than the view declares: as good as nothing stored."""
    value = stored.get(name)
    return value if isinstance(value, kind) else None


def _recent_clicks(stored: Row) -> tuple[list[str], list[int]]:
    """Categories and times of the stored clicks, oldest first; none where the two lists do not belong together."""
    categories, timestamps = _typed(stored, RECENT_CATEGORIES, list), _typed(stored, RECENT_TIMESTAMPS, list)
    if (not categories or not timestamps or len(categories) != len(timestamps)
            or not isinstance(categories[0], str) or not isinstance(timestamps[0], int)):
        return [], []
    return categories, timestamps
