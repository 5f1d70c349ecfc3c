"""What is known of a visitor, out of Feast's online store; without it, what training used for an unknown one."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from recsys_assets.columns import AGE, GENDER, MISSING, TOP_CATEGORY, USER_ID
from recsys_assets.serving.online_features import Feature, OnlineFeatures
from recsys_assets.serving.stage import Stage, StageFileCorrupt, Tensors, TensorSpec, read_json
from recsys_assets.serving.stores import StoreUnavailable
from recsys_assets.settings import Settings

LOG = logging.getLogger(__name__)

DEFAULTS = "user_defaults.json"
FEATURES = (f"user_features:{AGE}", f"user_features:{GENDER}", f"user_activity:{TOP_CATEGORY}")
#: A live top category describes the 24 hours before its event; an older one says nothing of now.
TOP_CATEGORY_SECONDS = 24 * 3_600


class FeastUserLookup(Stage):
    """user_id → raw user features; never fails for want of the store.

    A visitor with neither age nor gender stored is unknown: user_id and gender become "-1", the age the mean of
    the training users; a fresh top_category, written by live behaviour, is kept all the same.
    """

    name = "feast_user_lookup"
    inputs = (TensorSpec("user_id", "STRING", (1,)), TensorSpec("context_timestamp", "INT64", (1,)))
    outputs = (TensorSpec("user_raw", "STRING", (3,)), TensorSpec("user_age", "FP32", (1,)),
               TensorSpec("user_degraded", "INT32", (1,)))
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
        age, gender, top = (_typed(stored.get(AGE), float), _typed(stored.get(GENDER), str),
                            _typed(stored.get(TOP_CATEGORY), str))
        known = age is not None or gender is not None
        fresh = top is not None and now - top.timestamp <= TOP_CATEGORY_SECONDS
        raw = (user_id if known else MISSING, gender.value if gender else MISSING, top.value if fresh else MISSING)
        return {"user_raw": np.array(raw, dtype=np.object_),
                "user_age": np.array([age.value if age else self._mean_age], dtype=np.float32),
                "user_degraded": np.array([degraded], dtype=np.int32)}


def _typed(feature: Feature | None, kind: type) -> Feature | None:
    """The feature, or None where another type is stored than the view declares: as good as nothing stored."""
    return feature if feature is not None and isinstance(feature.value, kind) else None
