"""Orders scored candidates: blend, highest first, Gumbel top-k, category caps, maximal marginal
relevance.
"""

from __future__ import annotations

import numpy as np

LEAST_PROBABILITY = 1e-7  # keeps the logit of a saturated score finite
_FAR = 600.0  # e to this times 1 / LEAST_PROBABILITY is still a float64


def blend(
    scores: np.ndarray, similarity: np.ndarray, weight: float, nearest: np.ndarray | None = None
) -> np.ndarray:
    """The ranker's probabilities, lowered by how much less than the nearest item retrieval found
    each one.

    Args:
        scores: [N], click probabilities. similarity: [N], inner products with the query embedding.
        weight: w ≥ 0, retrieval's part; 0 is the ranker alone.
        nearest: [N] largest similarity of each one's list, where there are several lists; default:
            all are one.

    Returns:
        float64 [N]: sigmoid(logit(score) + w · (similarity − largest similarity)); with w = 0 the
        scores themselves. The nearest item keeps its probability, all others get less than theirs.
    """
    scores = scores.astype(np.float64)
    if weight == 0 or len(scores) == 0:
        return scores
    clipped = np.minimum(np.maximum(scores, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
    near = similarity.astype(np.float64)
    nearest = near.max() if nearest is None else nearest.astype(np.float64)
    odds, behind = (1 - clipped) / clipped, weight * (nearest - near)
    if behind.max() < _FAR:
        return 1 / (1 + odds * np.exp(behind))
    with np.errstate(over="ignore"):  # too far away for a float64: 0
        return 1 / (1 + odds * np.exp(behind))


def highest_first(scores: np.ndarray, topk: int) -> np.ndarray:
    """Positions of the topk highest scores, int64; equal scores keep retrieval's order."""
    low = -scores
    order = (
        low.argsort()
    )  # a third of a stable sort's time, which is needed where scores are equal, or none
    ranked = low[order]
    if len(ranked) and (ranked[-1] != ranked[-1] or (ranked[1:] == ranked[:-1]).any()):
        order = low.argsort(kind="stable")
    return order[:topk]


def gumbel_top_k(
    scores: np.ndarray, topk: int, temperature: float, generator: np.random.Generator
) -> np.ndarray:
    """Positions of a sample without replacement with weights exp(temperature · score), in the order
    of the draws.

    The Gumbel top-k trick: Kool, van Hoof and Welling, "Stochastic beams and where to find them",
    2019.
    """
    return highest_first(
        temperature * scores.astype(np.float64) + generator.gumbel(size=len(scores)), topk
    )


def capped(order: np.ndarray, categories: np.ndarray, cap: int) -> np.ndarray:
    """The order with what is more than ``cap`` of its category moved to the end.

    So a category fills no list while others have something to show, and no list gets shorter.

    Args:
        order: positions. categories: [N], by position. cap: 0 for no limit.

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
    """Positions of topk items, each the best of what is left by score and by being unlike those
    before it.

    Carbonell and Goldstein, "The use of MMR, diversity-based reranking", 1998: λ · score − (1 − λ)
    · largest cosine.

    Args:
        scores: float64 [N] ≥ 0; they count as shares of the largest. vectors: [N, D], of any
            length; a zero vector is like nothing. weight: λ; 1 is ``highest_first``. categories,
            cap: as ``capped``.
    """
    if len(scores) == 0:
        return np.zeros(0, np.int64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    relevance = weight * scores / (scores.max() or 1.0)
    likeness, left, free = (
        np.full(len(scores), -np.inf),
        np.ones(len(scores), bool),
        np.ones(len(scores), bool),
    )
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
