"""Judge a ranker's scores as one more list of the blend, beside what serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from recsys_assets.lib.blend import weights as w
from recsys_assets.lib.blend.choice import from_one_first, one_first
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.blend.shipped_prior import net_of_other_shops
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.measures import PRIMARY, Estimate
from recsys_assets.lib.evaluation.query_sources import FOLDS

#: Two blends without the ranker, with which it is compared beside the rungs. BASE has the weights
#: that the label clicks gave. ALL_LISTS has the default weights of every source.
BASE, ALL_LISTS = "base", "all_lists"


class BlendWorth(TypedDict):
    """Holds what the blend with a ranker is worth on held-out clicks."""

    ndcg: float  # cross-fitted nDCG@10
    minus: dict[str, Estimate]  # − each of what it is compared with, paired


def blended_ranks(
    labels: ClickLabels, scores: np.ndarray, each: Sequence[np.ndarray] = ()
) -> list[np.ndarray]:
    """Return the rank of each clicked item, int64 [Q], with the scores as one more list.

    The weights are fitted as those of a full release are, with the scores in the place of the
    ranker's log-odds, and judged on visitors that did not give them.

    Args:
        labels: the held-out clicks.
        scores: float32 [N], of the ranker, which give the weights.
        each: further scores, ranked by the same weights.

    Returns:
        the ranks by ``scores``, then by each of the others.
    """
    inputs = np.concatenate([scores[:, None], labels.logs], axis=1)
    fit = from_one_first(inputs)
    weights = [fit(labels, labels.fold != fold).astype(np.float32) for fold in range(FOLDS)]
    fold = labels.fold[labels.query]

    def ranks(own: np.ndarray) -> np.ndarray:
        found = np.zeros(len(own), np.float32)
        for number, weighed in enumerate(weights):
            inside = fold == number
            found[inside] = own[inside] * weighed[0] + labels.logs[inside] @ weighed[1:]
        return labels.ranks(found)

    return [ranks(one) for one in (scores, *each)]


def base_inputs(labels: ClickLabels) -> np.ndarray:
    """Return what the base weighs: the net of other shops, and the ranks, float32 [N, 1 + K]."""
    prior = net_of_other_shops(labels.names).of(labels.net_inputs)
    return np.concatenate([prior[:, None], labels.logs], axis=1)


def default_ranks(labels: ClickLabels) -> np.ndarray:
    """Return the rank of each clicked item by the default blend of all lists, int64 [Q]."""
    return w.cross_fitted(labels, base_inputs(labels), one_first)


def judge(
    labels: ClickLabels, ranks: np.ndarray, others: Mapping[str, np.ndarray], seed: int
) -> BlendWorth:
    """Return the figures of ranks beside those of others, all int64 [Q].

    Args:
        labels: the held-out clicks.
        ranks: of the blend with the ranker.
        others: name → ranks.
        seed: of the bootstrap.
    """
    return {
        "ndcg": w.ndcg(ranks, labels.users),
        "minus": {
            name: list_metrics.paired_difference(ranks, other, labels.users, PRIMARY, seed)
            for name, other in others.items()
        },
    }


def mean_scores(labels: ClickLabels, scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of several rankers' log shares of each list, float32 [N].

    Scores of rankers that are not residual have no common origin; their softmaxes have.
    """
    return np.asarray(np.mean([_log_shares(labels, one) for one in scores], axis=0), np.float32)


def _log_shares(labels: ClickLabels, scores: np.ndarray) -> np.ndarray:
    highest = np.full(len(labels), -np.inf)
    np.maximum.at(highest, labels.query, scores)
    total = np.bincount(labels.query, np.exp(scores - highest[labels.query]), minlength=len(labels))
    return np.asarray(scores - (highest + np.log(np.maximum(total, 1e-30)))[labels.query])
