"""Choose the weights of a blend by held-out clicks.

The default weighs a source by how well it does alone. A listwise fit (softmax over the items of a
list, as ListNet: Cao et al. 2007, with one relevant item) starts from the default, and an L2 term
holds it there where clicks are few. Each visitor counts once, however many clicks they have; the
clicks of one visitor weigh by their values. Where clicks have values, each nDCG@10 here is
value-weighted.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.measures import VALUE_NDCG
from recsys_assets.lib.evaluation.query_sources import FOLDS

#: Difference in nDCG@10, as a share of the best source's, at which a weight is smaller by e.
TEMPERATURE = 0.1
#: Clicks for which the figures of all sources are drawn towards one value.
PRIOR_CLICKS = 100
#: Weight of the squared distance from the default, in units of the loss of one visitor.
L2 = 10.0

#: Steps of the fit, halvings of a step, and the relative gain below which it ends.
_ITERATIONS, _HALVINGS, _ENOUGH = 20, 10, 1e-6

#: ClickLabels and the queries to learn from, bool [Q] → weights, float64 [columns].
Fit = Callable[[ClickLabels, np.ndarray], np.ndarray]
#: Weights and the queries to learn from, bool [Q] → what is added to the score of each item,
#: float32 [N].
Add = Callable[[np.ndarray, np.ndarray], np.ndarray]


def ndcg(ranks: np.ndarray, users: np.ndarray, values: np.ndarray | None = None) -> float:
    """Return nDCG@10, per visitor and then averaged; 0 without a query.

    values: float [Q], of the clicks. Given, it is VALUE_NDCG; 0 without a value above 0.
    """
    if values is None:
        return list_metrics.point(ranks, users) if len(ranks) else 0.0
    return list_metrics.point(ranks, users, VALUE_NDCG, values) if values.any() else 0.0


def ndcg_of(labels: ClickLabels, ranks: np.ndarray) -> float:
    """Return ``ndcg`` of ranks [Q] by the values of the clicks, where they have values."""
    return ndcg(ranks, labels.users, labels.value)


def alone(labels: ClickLabels, learned: np.ndarray) -> np.ndarray:
    """Return nDCG@10 of each list alone on the queries ``learned``, float64 [K]."""
    values = None if labels.value is None else labels.value[learned]
    users = labels.users[learned]
    return np.array([ndcg(ranks[learned], users, values) for ranks in labels.ranks_alone])


def by_quality(labels: ClickLabels, learned: np.ndarray) -> np.ndarray:
    """Return the default weights, float64 [K]: softmax of how well each list does alone.

    The relative figure is (n · nDCG / max + PRIOR_CLICKS) / (n + PRIOR_CLICKS) with n the clicks.
    """
    figures, clicks = alone(labels, learned), int(learned.sum())
    relative = (clicks * figures / max(figures.max(), 1e-9) + PRIOR_CLICKS) / (
        clicks + PRIOR_CLICKS
    )
    weight = np.exp((relative - relative.max()) / TEMPERATURE)
    return np.asarray(weight / weight.sum())


def best_alone(labels: ClickLabels, learned: np.ndarray) -> np.ndarray:
    """Return the weights of the best list alone, float64 [K]; a little for all others.

    The others order what the best list lacks.
    """
    weights = 1e-3 * by_quality(labels, learned)
    weights[alone(labels, learned).argmax()] += 1.0
    return weights


def listwise(labels: ClickLabels, learned: np.ndarray) -> np.ndarray:
    """Return fitted weights, float64 [K]; the default where no click can be learnt from."""
    return fit_listwise(labels, labels.logs, by_quality(labels, learned), learned)


def fit_listwise(
    labels: ClickLabels, inputs: np.ndarray, prior: np.ndarray, learned: np.ndarray, l2: float = L2
) -> np.ndarray:
    """Fit weights of the inputs to the clicks.

    Args:
        labels: of Q queries and N items.
        inputs: float32 [N, D].
        prior: float64 [D], to which the L2 term draws.
        learned: bool [Q], the queries to learn from.
        l2: see L2.

    Returns:
        float64 [D].
    """
    used = labels.learnable & learned
    if not used.any():
        return prior
    inside = used[labels.query]
    values, hit = np.ascontiguousarray(inputs[inside], np.float32), labels.hit[inside]
    _, query = np.unique(labels.query[inside], return_inverse=True)
    start = np.flatnonzero(np.diff(query, prepend=-1))
    weight = labels.weights(used)
    clicked = values[hit].T.astype(np.float64) @ weight

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the loss, the share of each item [n], and the distance from the prior [D]."""
        score = values @ weights.astype(np.float32)
        value, share = listwise_loss(score, start, query, hit, weight)
        away = weights - prior
        return value + float(l2 * away @ away), share, away

    # Newton's method: the loss is convex and has few inputs
    with threadpool_limits(1, "blas"):
        weights = np.asarray(prior, np.float64)
        value, share, away = loss(weights)
        for _ in range(_ITERATIONS):
            shared = values * share[:, None]
            mean = np.add.reduceat(shared, start, axis=0).astype(np.float64)
            gradient = mean.sum(axis=0) - clicked + 2 * l2 * away
            spread = (values.T @ shared).astype(np.float64) - (mean / weight[:, None]).T @ mean
            step = np.linalg.solve(spread + 2 * l2 * np.eye(len(prior)), gradient)
            for _ in range(_HALVINGS):
                tried, share, away = loss(weights - step)
                if tried < value:
                    break
                step = step / 2
            else:
                break
            weights = weights - step
            if value - tried < _ENOUGH * value:
                break
            value = tried
    return weights


def listwise_loss(
    score: np.ndarray, start: np.ndarray, query: np.ndarray, hit: np.ndarray, weight: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the sum of the queries' losses, -log softmax of the clicked item.

    Args:
        score: float32 [N].
        start: int64 [Q], the first item of each query.
        query: int64 [N], from 0 to Q - 1, ascending.
        hit: bool [N], the clicked item.
        weight: float [Q], of the queries.

    Returns:
        the sum, and the softmax times the weight, float32 [N]: the slope of the sum by each score,
        but for the weight that the clicked items' lack.
    """
    highest = np.maximum.reduceat(score, start)
    grown = np.exp(score - highest[query])
    total = np.add.reduceat(grown, start)
    value = weight @ (np.log(total) + highest - score[hit])
    return float(value), grown * (weight / total).astype(np.float32)[query]


def cross_fitted(
    labels: ClickLabels,
    inputs: np.ndarray,
    fit: Fit,
    ranked: int | None = None,
    add: Add | None = None,
) -> np.ndarray:
    """Return the rank of each clicked item, int64 [Q], by weights of the other visitors' clicks.

    Args:
        labels: of Q queries and N items.
        inputs: float32 [N, D]. The last K columns are ``labels.logs``.
        fit: returns the weights of the columns, float64 [D].
        ranked: only so many items of a list, those of the highest weighted ranks, are shown.
        add: returns what is added to the weighted ranks.
    """
    scores = np.zeros(len(labels.rows), np.float32)
    by_rank = np.zeros(len(labels.rows), np.float32)
    lists = len(labels.names)
    for fold in range(FOLDS):
        weights = fit(labels, labels.fold != fold)
        inside = labels.fold[labels.query] == fold
        scores[inside] = inputs[inside] @ weights.astype(np.float32)
        by_rank[inside] = labels.logs[inside] @ weights[-lists:].astype(np.float32)
        if add is not None:
            added = add(weights, labels.fold != fold)[inside]
            scores[inside] += added
            by_rank[inside] += added
    if ranked is not None:
        order = np.lexsort((labels.rows, -labels.logs[:, 0], -by_rank, labels.query))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order)) - labels.start[labels.query[order]]
        scores[place >= ranked] = -np.inf
    return labels.ranks(scores)
