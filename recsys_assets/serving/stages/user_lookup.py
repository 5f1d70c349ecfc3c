"""What is known of a visitor, out of Feast's online store; without it, what training used for an unknown one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.columns import AGE, GENDER, MISSING, RECENT_CATEGORIES, RECENT_TIMESTAMPS, USER_ID
from recsys_assets.lib.activity import activity_features, history
from recsys_assets.serving.online_features import Feature, OnlineFeatures
from recsys_assets.serving.stage import Stage, StageFileCorrupt, Tensors, TensorSpec, read_json
from recsys_assets.serving.stages.tabular import USER_HISTORY_RAW, USER_NUMBERS, USER_RAW
from recsys_assets.serving.stores import StoreUnavailable
from recsys_assets.settings import Settings

LOG = logging.getLogger(__name__)

DEFAULTS = "user_defaults.json"
FEATURES = (f"user_features:{AGE}", f"user_features:{GENDER}", f"user_activity:{RECENT_CATEGORIES}",
            f"user_activity:{RECENT_TIMESTAMPS}")


class FeastUserLookup(Stage):
    """user_id → raw user features; never fails for want of the store.

    A visitor with neither age nor gender stored is unknown: user_id and gender become "-1", the age the mean of the
    training users; what the clicks of the last seven days say at the request's time is kept all the same.
    """

    name = "feast_user_lookup"
    inputs = (TensorSpec("user_id", "STRING", (1,)), TensorSpec("context_timestamp", "INT64", (1,)))
    outputs = (USER_RAW, USER_NUMBERS, USER_HISTORY_RAW, TensorSpec("user_degraded", "INT32", (1,)))
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
        """Connect and fill Feast's registry cache before the first visitor waits for it."""
        try:
            self._features.read(FEATURES, USER_ID, [MISSING])
        except StoreUnavailable as error:
            LOG.warning("online store not reachable at start, visitors get defaults until it is: %s", error)

    def run(self, inputs: Tensors) -> Tensors:
        user_id, now = inputs["user_id"][0], int(inputs["context_timestamp"][0])
        stored: dict[str, Feature] = {}
        degraded = 0
        if user_id != MISSING:
            try:
                stored = self._features.read(FEATURES, USER_ID, [user_id])[0]
            except StoreUnavailable as error:
                LOG.debug("user features: %s", error)
                degraded = 1
        age, gender = _typed(stored, AGE, float), _typed(stored, GENDER, str)
        known = age is not None or gender is not None
        recent = _recent_clicks(stored)
        top, clicks, hours = activity_features(*recent, now)
        categories, _ = history(*recent, now)  # its last clicks_24h are those of the 24 hours
        raw = (user_id if known else MISSING, MISSING if gender is None else gender, top)
        numbers = (self._mean_age if age is None else age, clicks, hours, len(categories))
        return {"user_raw": np.array(raw, dtype=np.object_), "user_numbers": np.array(numbers, dtype=np.float32),
                "user_history_raw": np.array(categories, dtype=np.object_),
                "user_degraded": np.array([degraded], dtype=np.int32)}


def _typed(stored: Mapping[str, Feature], name: str, kind: type) -> Any:
    """The value, or None where another type is stored than the view declares: as good as nothing stored."""
    value = stored[name].value if name in stored else None
    return value if isinstance(value, kind) else None


def _recent_clicks(stored: Mapping[str, Feature]) -> tuple[list[str], list[int]]:
    """Categories and times of the stored clicks, oldest first; none where the two lists do not belong together."""
    categories, timestamps = _typed(stored, RECENT_CATEGORIES, list), _typed(stored, RECENT_TIMESTAMPS, list)
    if (not categories or not timestamps or len(categories) != len(timestamps)
            or not isinstance(categories[0], str) or not isinstance(timestamps[0], int)):
        return [], []
    return categories, timestamps
