"""Order scored candidates: blend, top k, Gumbel top k, category caps, MMR."""

from __future__ import annotations

import numpy as np

LEAST_PROBABILITY = 1e-7  # keeps the logit of a saturated score finite
_FAR = 600.0  # exp(_FAR) / LEAST_PROBABILITY is still a float64


def blend(
    scores: np.ndarray, similarity: np.ndarray, weight: float, nearest: np.ndarray | None = None
) -> np.ndarray:
    """Lower the ranker's probabilities of items that are less similar to the query.

    Args:
        scores: [N], click probabilities.
        similarity: [N], inner products with the query embedding.
        weight: w ≥ 0, the weight of the similarity; with 0, the result is the scores.
        nearest: [N], the largest similarity of each candidate's list; by default, all candidates
            are one list.

    Returns:
        float64 [N]: sigmoid(logit(score) + w · (similarity − largest similarity)). The item with
        the largest similarity keeps its probability.
    """
    scores = scores.astype(np.float64)
    if weight == 0 or len(scores) == 0:
        return scores
    clipped = np.minimum(np.maximum(scores, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
    near = similarity.astype(np.float64)
    nearest = near.max() if nearest is None else nearest.astype(np.float64)
    odds, behind = (1 - clipped) / clipped, weight * (nearest - near)
    if behind.max() < _FAR:
        return np.asarray(1 / (1 + odds * np.exp(behind)))
    with np.errstate(over="ignore"):  # an overflow gives probability 0
        return np.asarray(1 / (1 + odds * np.exp(behind)))


def highest_first(scores: np.ndarray, topk: int) -> np.ndarray:
    """Return the positions of the topk highest scores, int64; equal scores keep order."""
    low = -scores
    # Fast path: a stable sort takes 3x longer, and is needed only for equal scores or NaN.
    order = low.argsort()
    ranked = low[order]
    if len(ranked) and (ranked[-1] != ranked[-1] or (ranked[1:] == ranked[:-1]).any()):
        order = low.argsort(kind="stable")
    return order[:topk]


def gumbel_top_k(
    scores: np.ndarray, topk: int, temperature: float, generator: np.random.Generator
) -> np.ndarray:
    """Draw topk positions without replacement, with weights exp(temperature · score).

    The order is that of the draws. This is the Gumbel top-k trick: Kool, van Hoof and Welling,
    "Stochastic beams and where to find them", 2019.
    """
    return highest_first(
        temperature * scores.astype(np.float64) + generator.gumbel(size=len(scores)), topk
    )


def draw_probabilities(
    scores: np.ndarray, order: np.ndarray, temperature: float, categories: np.ndarray, cap: int = 0
) -> np.ndarray:
    """Return the probability of each draw of ``gumbel_top_k``, given the draws before it.

    The k-th draw takes a position with its weight over the weights of all that may still be drawn
    (the model of Plackett and Luce). A category that has ``cap`` items in the list may not.

    Args:
        scores: [N], as drawn by.
        order: int64 [n ≤ N], the first positions drawn, after ``capped``.
        temperature: as drawn with.
        categories: [N], as for ``capped``.
        cap: as for ``capped``.

    Returns:
        float64 [n]. 0 for items beyond the cap, which follow when no category is left: their
        probability has no such form.

    >>> draw_probabilities(np.log([4, 3, 1]), np.array([1, 0]), 1.0, np.zeros(3)).round(3).tolist()
    [0.375, 0.8]
    """
    if len(order) == 0:
        return np.zeros(0)
    logits = temperature * scores.astype(np.float64)
    weights = np.exp(logits - logits.max())
    if cap == 0:
        rest = np.ones(len(weights), bool)
        rest[order] = False
        # summed from the last draw on, because a difference of sums loses the small weights
        left = weights[rest].sum() + np.cumsum(weights[order][::-1])[::-1]
        return np.asarray(np.divide(weights[order], left, out=np.zeros(len(order)), where=left > 0))
    found, open_, counts = np.zeros(len(order)), np.ones(len(weights), bool), dict[int, int]()
    for place, position in enumerate(order.tolist()):
        if not open_[position]:
            break
        left = weights[open_].sum()
        found[place] = weights[position] / left if left > 0 else 0.0
        open_[position] = False
        category = int(categories[position])
        counts[category] = counts.get(category, 0) + 1
        if counts[category] == cap:
            open_ &= categories != category
    return found


def capped(order: np.ndarray, categories: np.ndarray, cap: int) -> np.ndarray:
    """Move items beyond ``cap`` per category to the end of the order.

    No category fills the list while other categories have items, and the list keeps its length.

    Args:
        order: positions.
        categories: [N], by position.
        cap: most items per category; 0 for no limit.

    >>> capped(np.array([0, 1, 2, 3]), np.array([7, 7, 7, 8]), 2).tolist()
    [0, 1, 3, 2]
    """
    if cap == 0 or len(order) <= cap:
        return order
    groups = categories[order]
    by_group = np.argsort(groups, kind="stable")
    first = np.searchsorted(groups[by_group], groups[by_group])
    rank = np.empty(len(order), np.int64)
    rank[by_group] = np.arange(len(order)) - first
    return np.concatenate([order[rank < cap], order[rank >= cap]])


def maximal_marginal_relevance(
    scores: np.ndarray,
    vectors: np.ndarray,
    topk: int,
    weight: float,
    categories: np.ndarray,
    cap: int = 0,
) -> np.ndarray:
    """Choose topk positions, one by one, by score and difference from those before.

    Each choice maximises λ · score − (1 − λ) · largest cosine to a chosen item. Source: Carbonell
    and Goldstein, "The use of MMR, diversity-based reranking", 1998.

    Args:
        scores: float64 [N] ≥ 0; divided by the largest score.
        vectors: [N, D], of any length; a zero vector has cosine 0 with all others.
        topk: number of positions.
        weight: λ; 1 is ``highest_first``.
        categories: as for ``capped``.
        cap: as for ``capped``.
    """
    if len(scores) == 0:
        return np.zeros(0, np.int64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    relevance = weight * scores / (scores.max() or 1.0)
    likeness = np.full(len(scores), -np.inf)
    left, free = np.ones(len(scores), bool), np.ones(len(scores), bool)
    chosen: list[int] = []
    while len(chosen) < min(topk, len(scores)):
        value = relevance - (1 - weight) * likeness if chosen else relevance
        best = int(np.argmax(np.where(free if free.any() else left, value, -np.inf)))
        chosen.append(best)
        left[best] = free[best] = False
        likeness = np.maximum(likeness, vectors @ vectors[best])
        if cap and (categories[chosen] == categories[best]).sum() >= cap:
            free &= categories != categories[best]
    return np.array(chosen, np.int64)
