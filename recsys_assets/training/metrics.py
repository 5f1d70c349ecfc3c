"""Compute the metrics that a training step reports, in plain numpy."""

from __future__ import annotations

from collections.abc import Iterator

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


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean negative log likelihood of [N] labels 0/1 in nats.

    >>> round(log_loss(np.array([1, 0]), np.array([0.5, 0.5])), 4)
    0.6931
    """
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(labels == 1, np.log(p), np.log1p(-p))))


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
    position, known = _positions(item_index, clicked)
    ranks = np.full(len(clicked), len(item_index), dtype=np.int64)
    for rows, scores, own in _scores(queries, items, position, chunk):
        ranks[rows] = (scores >= own).sum(axis=1) - 1
    ranks[~known] = len(item_index)
    return ranks


def clicked_losses(
    queries: np.ndarray,
    items: np.ndarray,
    item_index: np.ndarray,
    clicked: np.ndarray,
    temperature: float,
    chunk: int = 2048,
) -> np.ndarray:
    """Return the negative log likelihood of each clicked item, by a softmax over the catalogue.

    Unlike a recall it has no list length to choose, which a small catalogue may fill, and it counts
    how far a click is from the first place.

    Args:
        queries: as in ``clicked_ranks``.
        items: as in ``clicked_ranks``.
        item_index: as in ``clicked_ranks``.
        clicked: as in ``clicked_ranks``.
        temperature: divisor of the scores.
        chunk: as in ``clicked_ranks``.

    Returns:
        float64 [known clicks]; a click outside the catalogue has none.

    >>> one = np.eye(2, dtype=np.float32)
    >>> clicked_losses(one, one, np.array([3, 4]), np.array([3, 4]), 1.0).round(4).tolist()
    [0.3133, 0.3133]
    """
    position, known = _positions(item_index, clicked)
    losses = np.zeros(len(clicked))
    for rows, scores, own in _scores(queries, items, position, chunk):
        away = (scores - own) / temperature
        most = away.max(axis=1, keepdims=True)
        losses[rows] = most[:, 0] + np.log(np.exp(away - most).sum(axis=1))
    of_known: np.ndarray = losses[known]
    return of_known


def _positions(item_index: np.ndarray, clicked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of each clicked item in the catalogue, and whether it has one, [Q]."""
    order = np.argsort(item_index)
    place = np.searchsorted(item_index, clicked, sorter=order).clip(max=len(order) - 1)
    position = order[place]
    return position, item_index[position] == clicked


def _scores(
    queries: np.ndarray, items: np.ndarray, position: np.ndarray, chunk: int
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield queries, their scores [n, I] and those of the items at ``position``, [n, 1]."""
    for start in range(0, len(queries), chunk):
        rows = slice(start, start + chunk)
        scores = queries[rows] @ items.T
        yield rows, scores, np.take_along_axis(scores, position[rows, None], axis=1)


def recall(ranks: np.ndarray, k: int) -> float:
    """Return the share of clicks whose item is among the first k."""
    return float(np.mean(ranks < k))


def popularity_ranks(counts: np.ndarray, item_index: np.ndarray, clicked: np.ndarray) -> np.ndarray:
    """Return the ranks if every visitor gets the most clicked items first.

    Items with equal counts rank before the clicked item, as in ``clicked_ranks``.
    """
    scores = counts[item_index].astype(np.float64)[None, :]
    return clicked_ranks(np.ones((len(clicked), 1)), scores.T, item_index, clicked)
