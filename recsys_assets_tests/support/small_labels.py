"""Held-out clicks over lists of chance, where the clicked item follows from given weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.sources.list_net import OF_VISITOR
from recsys_assets.lib.sources.union import logs
from recsys_assets.source_names import FOLLOW_UPS, IALS, RETRIEVAL

NAMES = (RETRIEVAL, FOLLOW_UPS, IALS)


def labels(
    clicks: int, weights: Sequence[float], items: int = 12, seed: int = 3, users: int = 0
) -> ClickLabels:
    """Every list has all items in an order of its own; the click is drawn by the softmax of the
    weighted ranks.
    """
    rng = np.random.default_rng(seed)
    places = np.stack(
        [np.concatenate([rng.permutation(items) for _ in range(clicks)]) for _ in NAMES], axis=1
    )
    scores = (logs(places) @ np.asarray(weights)).reshape(clicks, items)
    chance = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    true = np.array([rng.choice(items, p=row) for row in chance])
    hit = (np.arange(items) == true[:, None]).ravel()
    user = rng.integers(0, users, clicks) if users else np.arange(clicks)
    return ClickLabels(
        NAMES,
        np.arange(0, clicks * items + 1, items),
        np.tile(np.arange(items), clicks),
        logs(places),
        np.ones(places.shape, bool),
        hit,
        user,
        user % 2,
        items,
        np.zeros((len(hit), len(OF_VISITOR)), np.float32),
    )


def together(clicks: int, items: int = 12, seed: int = 4) -> ClickLabels:
    """The clicked item has near places in both lists: each alone says little."""
    found = labels(clicks=clicks, weights=(0.0, 0.0, 0.0), items=items, seed=seed)
    both = np.minimum(found.logs[:, 1], found.logs[:, 2]).reshape(clicks, items)
    chance = np.exp(6 * both) / np.exp(6 * both).sum(axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    true = np.array([rng.choice(items, p=row) for row in chance])
    return replace(found, hit=(np.arange(items) == true[:, None]).ravel())
