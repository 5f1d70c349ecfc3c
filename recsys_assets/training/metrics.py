"""Compute the metrics that a training step reports, in plain numpy."""

from __future__ import annotations

import numpy as np


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve of [N] labels 0/1.

    This is the share of (clicked, not clicked) pairs in the right order. Ties count one half
    (Mann-Whitney U).

    >>> auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75

    Raises:
        ValueError: all labels are equal.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        raise ValueError(f"AUC needs clicked and not clicked rows, got {positives} and {negatives}")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float(
        (ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def log_loss(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Return the mean negative log likelihood of [N] labels 0/1 in nats, weighted by [N] weights.

    >>> round(log_loss(np.array([1, 0]), np.array([0.5, 0.5])), 4)
    0.6931
    """
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    losses = -np.where(labels == 1, np.log(p), np.log1p(-p))
    return float(np.mean(losses) if weights is None else np.average(losses, weights=weights))


def clicked_ranks(
    queries: np.ndarray,
    items: np.ndarray,
    item_index: np.ndarray,
    clicked: np.ndarray,
    chunk: int = 2048,
) -> np.ndarray:
    """Return the rank of each clicked item in the catalogue, by exact search.

    Rank 0 is best. Items with an equal score rank before the clicked item, so a model that gives
    all items one score gains nothing. An item outside the catalogue ranks last.

    Args:
        queries: [Q, D].
        items: [I, D].
        item_index: [I] index of each item.
        clicked: [Q] index of the clicked item.
        chunk: queries per pass, which bounds the memory.

    Returns:
        int64 [Q].
    """
    return _ranks_and_losses(queries, items, item_index, clicked, None, chunk)[0]


def clicked_ranks_and_losses(
    queries: np.ndarray,
    items: np.ndarray,
    item_index: np.ndarray,
    clicked: np.ndarray,
    temperature: float,
    chunk: int = 2048,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``clicked_ranks``, and the negative log likelihoods by a softmax over the catalogue.

    Unlike a recall, a likelihood has no list length to choose, which a small catalogue may fill,
    and it counts how far a click is from the first place.

    Args:
        queries: as in ``clicked_ranks``.
        items: as in ``clicked_ranks``.
        item_index: as in ``clicked_ranks``.
        clicked: as in ``clicked_ranks``.
        temperature: divisor of the scores.
        chunk: as in ``clicked_ranks``.

    Returns:
        Ranks int64 [Q], and losses float64 [known clicks]; a click outside the catalogue has none.

    >>> one = np.eye(2, dtype=np.float32)
    >>> ranks, losses = clicked_ranks_and_losses(one, one, np.array([3, 4]), np.array([3, 4]), 1.0)
    >>> ranks.tolist(), losses.round(4).tolist()
    ([0, 0], [0.3133, 0.3133])
    """
    return _ranks_and_losses(queries, items, item_index, clicked, temperature, chunk)


def _ranks_and_losses(
    queries: np.ndarray,
    items: np.ndarray,
    item_index: np.ndarray,
    clicked: np.ndarray,
    temperature: float | None,
    chunk: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what ``clicked_ranks_and_losses`` does; temperature None: losses of 0."""
    order = np.argsort(item_index)
    place = np.searchsorted(item_index, clicked, sorter=order).clip(max=len(order) - 1)
    position = order[place]
    known = item_index[position] == clicked
    ranks, losses = np.full(len(clicked), len(item_index), np.int64), np.zeros(len(clicked))
    for start in range(0, len(queries), chunk):
        rows = slice(start, start + chunk)
        scores = queries[rows] @ items.T
        own = np.take_along_axis(scores, position[rows, None], axis=1)
        ranks[rows] = (scores >= own).sum(axis=1) - 1
        if temperature is not None:
            away = (scores - own) / temperature
            most = away.max(axis=1, keepdims=True)
            losses[rows] = most[:, 0] + np.log(np.exp(away - most).sum(axis=1))
    ranks[~known] = len(item_index)
    return ranks, losses[known]


def recall(ranks: np.ndarray, k: int) -> float:
    """Return the share of clicks whose item is among the first k."""
    return float(np.mean(ranks < k))


def popularity_ranks(counts: np.ndarray, item_index: np.ndarray, clicked: np.ndarray) -> np.ndarray:
    """Return the ranks if every visitor gets the most clicked items first.

    Items with equal counts rank before the clicked item, as in ``clicked_ranks``.
    """
    scores = counts[item_index].astype(np.float64)[None, :]
    return clicked_ranks(np.ones((len(clicked), 1)), scores.T, item_index, clicked)
