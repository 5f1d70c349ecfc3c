"""Test the rolling AUC against scikit-learn and all pairs, over the window at each step."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sklearn.metrics import roc_auc_score

from recsys_assets.lib.monitor.rolling_auc import RollingAuc, rolling_aucs


def drawn(rows: int, seed: int, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return scores, tied if rounded, and labels."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=rows)
    labels = (scores + rng.normal(0, 1.5, rows) > 0.8).astype(np.int8)
    return (scores if digits is None else np.round(scores, digits)), labels


def by_all_pairs(scores: list[float], labels: list[int]) -> float | None:
    positives = [s for s, label in zip(scores, labels, strict=True) if label]
    negatives = [s for s, label in zip(scores, labels, strict=True) if not label]
    if not positives or not negatives:
        return None
    ordered = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    return ordered / (len(positives) * len(negatives))


@pytest.mark.parametrize("digits", [None, 1])
def test_each_value_is_scikit_learns_over_the_window(digits: int | None) -> None:
    scores, labels = drawn(1_200, 3, digits)
    rolling, batch = RollingAuc(), rolling_aucs(scores, labels)
    for number, (score, label) in enumerate(zip(scores, labels, strict=True), 1):
        found = rolling.update(score, label)
        if number < 250:
            assert found is None and np.isnan(batch[number - 1])
            continue
        window = slice(max(number - 500, 0), number)
        assert found == pytest.approx(roc_auc_score(labels[window], scores[window]), abs=1e-12)
        assert batch[number - 1] == found == rolling.value
    assert len(rolling) == 500


@settings(max_examples=60, deadline=None)
@given(
    some.lists(
        some.tuples(some.sampled_from([-1e300, -0.0, 0.0, 0.1, 5e-324, 7.0]), some.booleans())
    ),
    some.integers(2, 9),
)
def test_each_value_is_that_of_all_pairs(rows: list[tuple[float, bool]], window: int) -> None:
    rolling, found = RollingAuc(window, 2), []
    for number, (score, label) in enumerate(rows, 1):
        found.append(rolling.update(score, label))
        inside = rows[max(number - window, 0) : number]
        expected = by_all_pairs([s for s, _ in inside], [int(label) for _, label in inside])
        assert found[-1] == (expected if number >= 2 else None)
    scores, labels = np.array([s for s, _ in rows]), np.array([label for _, label in rows])
    nan = [np.nan if value is None else value for value in found]
    assert np.array_equal(rolling_aucs(scores, labels, window, 2), nan, equal_nan=True)


def test_it_is_known_only_where_both_classes_occur() -> None:
    rolling = RollingAuc(window=3, minimum=2)
    rows = [(0.1, 0), (0.2, 0), (0.3, 1), (0.4, 1), (0.5, 1), (0.5, 0)]
    assert [rolling.update(*row) for row in rows] == [None, None, 1.0, 1.0, None, 0.25]


def test_a_state_continues_exactly_after_json() -> None:
    scores, labels = drawn(900, 5)
    whole, half = RollingAuc(300, 100), RollingAuc(300, 100)
    for number, row in enumerate(zip(scores, labels, strict=True)):
        if number in (0, 50, 300, 777):
            half = RollingAuc.of(json.loads(json.dumps(half.state())))
        assert half.update(*row) == whole.update(*row)
    assert half.state() == whole.state()


def test_a_reset_forgets_all_predictions() -> None:
    rolling = RollingAuc(10, 2)
    for score, label in zip(*drawn(30, 7), strict=True):
        rolling.update(score, label)
    rolling.reset()
    assert rolling.value is None and rolling.state() == RollingAuc(10, 2).state()


def test_wrong_input_is_refused_by_name_and_counts_nothing() -> None:
    rolling = RollingAuc(4, 2)
    rolling.update(0.5, 1)
    before = rolling.state()
    with pytest.raises(ValueError, match="score must be a finite number, got nan; leave"):
        rolling.update(float("nan"), 1)
    with pytest.raises(ValueError, match="label must be 0 or 1, got 2; leave unlabelled"):
        rolling.update(0.5, 2)
    assert rolling.state() == before
    with pytest.raises(ValueError, match=r"window must be at least minimum \(250\).* got 100"):
        RollingAuc(window=100)
    with pytest.raises(ValueError, match="minimum must be a whole number of at least 2, got 1"):
        RollingAuc(minimum=1)


def test_a_wrong_batch_is_refused_with_the_first_row() -> None:
    with pytest.raises(ValueError, match=r"scores\[1\] must be a finite number, got inf"):
        rolling_aucs(np.array([0.0, np.inf]), np.array([0, 1]))
    with pytest.raises(ValueError, match=r"labels\[0\] must be 0 or 1, got 3"):
        rolling_aucs(np.array([0.0, 1.0]), np.array([3, 1]))
    with pytest.raises(ValueError, match=r"one length, got shapes \(2,\) and \(1,\)"):
        rolling_aucs(np.zeros(2), np.zeros(1))
    assert rolling_aucs(np.zeros(0), np.zeros(0)).shape == (0,)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"scores": [0.5]}, "one length of at most 4"),
        ({"scores": [0.5] * 5, "labels": [0] * 5}, "one length of at most 4"),
        ({"scores": None}, "scores must be a list"),
        ({"labels": [0, 7]}, "label must be 0 or 1"),
        ({"window": 1}, "window must be a whole number"),
        ({"other": 1}, "must have the fields"),
    ],
)
def test_a_wrong_state_is_refused(changed: dict[str, object], said: str) -> None:
    state = {"window": 4, "minimum": 2, "scores": [0.1, 0.2], "labels": [0, 1]}
    assert RollingAuc.of(state).value == 1
    with pytest.raises(ValueError, match=said):
        RollingAuc.of({**state, **changed})
