"""Look up visitors in Feast's online store.

Without the store, a visitor gets the values that training used for an unknown one.
"""

from __future__ import annotations

import logging
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.columns import (
    AGE,
    GENDER,
    MISSING,
    RECENT_CATEGORIES,
    RECENT_ITEMS,
    RECENT_TIMESTAMPS,
    SECONDS_PER_HOUR,
    USER_ID,
)
from recsys_assets.files import FileCorrupt, read_json
from recsys_assets.lib.feature_store.recent_clicks import FEATURES as RECENT_CLICKS
from recsys_assets.lib.feature_store.recent_clicks import Click, stored_clicks
from recsys_assets.lib.features.activity import visitor_activity
from recsys_assets.lib.features.look_back import look_back_of
from recsys_assets.release_files import MODEL_FILES, USER_DEFAULTS
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.answer import Degraded
from recsys_assets.serving.stages.context import known_visitors
from recsys_assets.serving.stages.stage import Tensors, TwoPartStage
from recsys_assets.serving.stores.connections import Asked, Replies, StoreUnavailable
from recsys_assets.serving.stores.online_features import OnlineFeatures, Row
from recsys_assets.settings import Settings

LOG = logging.getLogger(__name__)

FEATURES = (f"user_features:{AGE}", f"user_features:{GENDER}", *RECENT_CLICKS)


class FeastUserLookup(TwoPartStage[Asked]):
    """Turns visitors' ids into raw user features; a failed store does not raise.

    A visitor with neither age nor gender stored is unknown: user_id and gender become "-1", and the
    age is the mean of the training users. Their clicks of the look-back days, at the
    request's time, are kept nevertheless.

    Args:
        features: of the online store; ``close`` closes it.
        mean_age: of the training users.
        look_back_days: of the features that the release was trained on.
    """

    name = "feast_user_lookup"
    inputs = (t.VISITOR_ID, t.CONTEXT_TIMESTAMP)
    outputs = (
        t.USER_RAW,
        t.USER_NUMBERS,
        t.USER_HISTORY_RAW,
        t.USER_ITEMS_RAW,
        t.USER_AGES_RAW,
        t.USER_DEGRADED,
    )
    files = MODEL_FILES[name]
    begins_with = (t.VISITOR_ID,)

    def __init__(self, features: OnlineFeatures, mean_age: float, look_back_days: int) -> None:
        self._features, self._mean_age = features, mean_age
        self._look_back_days = look_back_days

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> FeastUserLookup:
        """Read the defaults and open the online store.

        Raises:
            FileCorrupt: the defaults have no mean age.
        """
        defaults = read_json(directory / USER_DEFAULTS)
        if not isinstance(defaults.get("mean_age"), (int, float)):
            raise FileCorrupt(
                f"{directory / USER_DEFAULTS} must hold a number mean_age, got {defaults}"
            )
        stage = cls(
            OnlineFeatures.open(settings, settings.store_timeout_ms),
            float(defaults["mean_age"]),
            look_back_of(defaults),
        )
        stage._warm()
        return stage

    def _warm(self) -> None:
        """Connect, and find the features in the registry, before the first request."""
        try:
            self._features.read(FEATURES, USER_ID, [MISSING])
        except StoreUnavailable as error:
            LOG.warning(
                "online store not reachable at start; visitors get defaults until it is: %s", error
            )

    def begin(self, inputs: Tensors) -> Asked:
        """Ask for the features of the known visitors."""
        visitors = known_visitors(inputs[t.VISITOR_ID.name].tolist())
        return Asked(visitors, self._ask(visitors) if visitors else None)

    def finish(self, inputs: Tensors, begun: Asked) -> Tensors:
        """Return the raw features of each visitor."""
        visitors, moments = (
            inputs[t.VISITOR_ID.name].tolist(),
            inputs[t.CONTEXT_TIMESTAMP.name].tolist(),
        )
        if begun.visitors != known_visitors(visitors):
            begun.drop()
            return self.run(inputs)
        stored = self._stored(begun)
        raw, numbers, degraded = [], [], []
        clicked: list[str] = []
        items: list[str] = []
        ages: list[float] = []
        for visitor, now in zip(visitors, moments, strict=True):
            row = stored.get(visitor)
            degraded.append(
                int(Degraded.USER_FEATURES) if row is None and visitor != MISSING else 0
            )
            row = row or {}
            age, gender = _typed(row, AGE, float), _typed(row, GENDER, str)
            age = age if age is None or isfinite(age) else None
            # the last ``clicks`` categories are of 24 hours
            recent = _recent_clicks(row)
            top, clicks, hours, categories = visitor_activity(
                [click.category for click in recent],
                [click.at for click in recent],
                now,
                self._look_back_days,
            )
            raw.append(
                (
                    visitor if age is not None or gender is not None else MISSING,
                    MISSING if gender is None else gender,
                    top,
                )
            )
            numbers.append((self._mean_age if age is None else age, clicks, hours, len(categories)))
            clicked += categories
            # the clicks that count are the last ones before now
            counted = [click for click in recent if click.at < now][-len(categories) :]
            if categories:
                items += [click.item for click in counted]
                ages += [(now - click.at) / SECONDS_PER_HOUR for click in counted]
        return {
            t.USER_RAW.name: np.array(raw, np.object_),
            t.USER_NUMBERS.name: np.array(numbers, np.float32),
            t.USER_HISTORY_RAW.name: np.array(clicked, np.object_),
            t.USER_ITEMS_RAW.name: np.array(items, np.object_),
            t.USER_AGES_RAW.name: np.array(ages, np.float32),
            t.USER_DEGRADED.name: np.array(degraded, np.int32),
        }

    def close(self) -> None:
        """Close the connections."""
        self._features.close()

    def _ask(self, visitors: list[str]) -> Replies | None:
        """Ask for the rows of all visitors at once; None if that is not possible."""
        try:
            return self._features.begin(FEATURES, USER_ID, visitors)
        except StoreUnavailable as error:
            LOG.debug("user features: %s", error)
            return None

    def _stored(self, asked: Asked) -> dict[str, Row | None]:
        """Return the row of each visitor; a visitor without a readable row is absent."""
        if asked.replies is None:
            return {}
        try:
            return dict(
                zip(
                    asked.visitors,
                    self._features.finish(FEATURES, USER_ID, asked.replies),
                    strict=True,
                )
            )
        except StoreUnavailable as error:
            LOG.debug("user features: %s", error)
            return {}


def _typed(stored: Row, name: str, kind: type) -> Any:
    """Return the value; None if it has another type than the view declares."""
    value = stored.get(name)
    return value if isinstance(value, kind) else None


def _recent_clicks(stored: Row) -> list[Click]:
    """Return the stored clicks, oldest first; none if the stored lists do not match."""
    return stored_clicks(
        *(stored.get(name) for name in (RECENT_CATEGORIES, RECENT_ITEMS, RECENT_TIMESTAMPS))
    )
