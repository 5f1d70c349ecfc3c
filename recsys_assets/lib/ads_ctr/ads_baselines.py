"""Fit the ads ranker's baselines: logistic regression, a factorization machine, boosted trees.

Each reads the same rows as the network and is tuned over a few settings, judged by the log loss of
the last HELD_OUT of the training rows; the best setting is then fitted on all of them. Sources:
Rendle 2010, "Factorization Machines"; Ke et al. 2017, "LightGBM" for the trees, in scikit-learn's
form; Micci-Barreca 2001 for the categories as smoothed click rates, which trees read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from recsys_assets.lib.ads_ctr.ads_datasets import PackedAds
from recsys_assets.lib.evaluation.ranker_metrics import log_loss

HELD_OUT = 0.1
#: Inverse regularisation of logistic regression.
LR_C = (0.003, 0.03, 0.3)
#: Factors of the machine, weight of their squares in the loss, and passes over the rows.
FM_SETTINGS = ((8, 1e-4, 1), (8, 1e-3, 3), (8, 1e-3, 10), (16, 1e-3, 10), (8, 1e-2, 10))
#: Largest batch; a pass has at least FM_STEPS of them.
FM_BATCH, FM_STEPS, FM_RATE = 4_096, 100, 1e-2
#: Leaves and learning rate of the trees; they stop early by themselves.
GBM_SETTINGS = ((15, 0.05), (31, 0.1), (63, 0.1))
GBM_TREES = 300
#: Values of a category that trees read as they are; scikit-learn takes 255 at most.
NATIVE = 250


class AdsScorer(Protocol):
    """Returns click probabilities, float64 [N]."""

    def __call__(self, rows: PackedAds) -> np.ndarray:
        """Score rows."""


@dataclass(frozen=True)
class TunedAds:
    """Holds a fitted baseline and the setting that was best on the held-out rows."""

    score: AdsScorer
    setting: str
    held_out_log_loss: float


def tuned(
    settings: Sequence[Any], fit: Callable[[PackedAds, Any], AdsScorer], train: PackedAds
) -> TunedAds:
    """Fit every setting on the first rows, and the best one on all.

    Args:
        settings: of the baseline.
        fit: of rows and a setting.
        train: training rows, in order of time.
    """
    cut = len(train) - max(int(len(train) * HELD_OUT), 1)
    early, held_out = train.part(slice(cut)), train.part(slice(cut, None))
    losses = [log_loss(held_out.label, fit(early, setting)(held_out)) for setting in settings]
    best = int(np.argmin(losses))
    return TunedAds(fit(train, settings[best]), str(settings[best]), losses[best])


def fit_logistic(train: PackedAds, c: float) -> AdsScorer:
    """Fit logistic regression on the categories one-hot, beside the counts."""
    from sklearn.linear_model import LogisticRegression

    sizes = _sizes(train)
    model = LogisticRegression(C=c, max_iter=100, tol=1e-3)
    model.fit(_one_hot(train, sizes), train.label)
    return lambda rows: np.asarray(model.predict_proba(_one_hot(rows, sizes))[:, 1])


def _sizes(train: PackedAds) -> np.ndarray:
    """Return the rows of each category's table, int64 [26]; later values share the last row."""
    return np.asarray(train.cat.max(axis=0).astype(np.int64) + 2)


def _one_hot(rows: PackedAds, sizes: np.ndarray) -> Any:
    """Return a sparse matrix [N, Σ sizes + 13]."""
    from scipy.sparse import csr_matrix, hstack

    count, width = rows.cat.shape
    places = np.minimum(rows.cat, sizes - 1) + np.concatenate([[0], sizes.cumsum()[:-1]])
    ones = np.ones(places.size, np.float32)
    start = np.arange(0, places.size + 1, width)
    known = csr_matrix((ones, places.ravel(), start), shape=(count, int(sizes.sum())))
    return hstack([known, csr_matrix(rows.cont)], format="csr")


def fit_machine(train: PackedAds, setting: tuple[int, float, int]) -> AdsScorer:
    """Fit a factorization machine of second order over categories and counts by Adam."""
    import torch

    factors, decay, epochs = setting
    sizes = _sizes(train)
    offsets = torch.tensor(np.concatenate([[0], sizes.cumsum()[:-1]]))
    generator = torch.Generator().manual_seed(7)
    fields = int(sizes.sum())
    linear = torch.nn.Parameter(torch.zeros(fields, 1))
    vectors = torch.nn.Parameter(torch.randn(fields, factors, generator=generator) * 0.01)
    numbers = torch.nn.Parameter(torch.zeros(train.cont.shape[1], 1))
    of_numbers = torch.nn.Parameter(
        torch.randn(train.cont.shape[1], factors, generator=generator) * 0.01
    )
    bias = torch.nn.Parameter(torch.zeros(1))
    limits = torch.tensor(sizes - 1)

    def logits(rows: PackedAds) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits, and the mean squared length of the vectors that were used."""
        places = torch.minimum(torch.tensor(rows.cat, dtype=torch.int64), limits) + offsets
        counts = torch.tensor(rows.cont)
        single = linear[places].sum(dim=(1, 2)) + (counts @ numbers)[:, 0]
        each = torch.cat([vectors[places], counts[:, :, None] * of_numbers], dim=1)
        pairs = (each.sum(dim=1) ** 2 - (each**2).sum(dim=1)).sum(dim=1) / 2
        return bias + single + pairs, (each**2).sum() / len(rows)

    # Adam's own weight decay would shrink the rows that a batch does not use
    optimizer = torch.optim.Adam([linear, vectors, numbers, of_numbers, bias], lr=FM_RATE)
    order = np.random.default_rng(7)
    labels = torch.tensor(np.array(train.label), dtype=torch.float32)
    size = max(32, min(FM_BATCH, len(train) // FM_STEPS))
    torch.set_num_threads(1)  # on a busy machine, two threads wait for each other most of the time
    for _ in range(epochs):
        shuffled = order.permutation(len(train))
        for begin in range(0, len(train), size):
            chosen = np.sort(shuffled[begin : begin + size])
            batch = PackedAds(train.cat[chosen], train.cont[chosen], train.label[chosen])
            optimizer.zero_grad()
            found, squares = logits(batch)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(found, labels[chosen])
            loss = loss + decay * squares
            loss.backward()  # type: ignore[no-untyped-call]  # torch has none
            optimizer.step()

    def score(rows: PackedAds) -> np.ndarray:
        parts = []
        with torch.no_grad():
            for begin in range(0, len(rows), FM_BATCH):
                part = rows.part(slice(begin, begin + FM_BATCH))
                parts.append(torch.sigmoid(logits(part)[0]).numpy())
        return np.concatenate(parts).astype(np.float64)

    return score


def fit_trees(train: PackedAds, setting: tuple[int, float]) -> AdsScorer:
    """Fit boosted trees.

    They read the counts, the smoothed click rate of each category's value, and the NATIVE most
    frequent values of each category as they are.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import KFold
    from sklearn.preprocessing import TargetEncoder

    leaves, rate = setting
    folds = KFold(5, shuffle=True, random_state=7)
    encoder = TargetEncoder(target_type="binary", cv=folds)
    # by cross-fitting: a row does not see its own label
    encoded = encoder.fit_transform(np.asarray(train.cat), np.asarray(train.label))
    frequent = [_frequent(column) for column in train.cat.T]
    width = train.cat.shape[1]
    model = HistGradientBoostingClassifier(
        max_leaf_nodes=leaves,
        learning_rate=rate,
        max_iter=GBM_TREES,
        early_stopping=True,
        random_state=7,
        categorical_features=np.arange(width),
    )

    def inputs(rows: PackedAds, rates: np.ndarray) -> np.ndarray:
        codes = [_code(column, known) for column, known in zip(rows.cat.T, frequent, strict=True)]
        return np.hstack([np.stack(codes, axis=1), rates, rows.cont])

    model.fit(inputs(train, encoded), train.label)
    return lambda rows: np.asarray(
        model.predict_proba(inputs(rows, encoder.transform(np.asarray(rows.cat))))[:, 1]
    )


def _frequent(column: np.ndarray) -> np.ndarray:
    """Return the NATIVE most frequent values, ascending."""
    values, counts = np.unique(column, return_counts=True)
    return np.sort(values[np.argsort(-counts, kind="stable")[:NATIVE]])


def _code(column: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the place of each value among the known ones; NATIVE for any other."""
    place = np.minimum(np.searchsorted(known, column), len(known) - 1)
    return np.where(known[place] == column, place, NATIVE)


#: Baseline → its settings and its fit.
BASELINES: dict[str, tuple[Sequence[Any], Callable[[PackedAds, Any], AdsScorer]]] = {
    "logistic_regression": (LR_C, fit_logistic),
    "factorization_machine": (FM_SETTINGS, fit_machine),
    "boosted_trees": (GBM_SETTINGS, fit_trees),
}
