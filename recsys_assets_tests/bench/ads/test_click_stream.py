"""Test the streams: their rates, and the AUC before and after the change."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.bench.ads.click_stream import ClickStream
from recsys_assets.lib.evaluation.ranker_metrics import auc


@pytest.mark.parametrize("seed", range(4))
def test_the_auc_falls_from_75_to_55_hundredths_at_the_change(seed: int) -> None:
    stream = ClickStream(seed)
    before, after = stream.draw(40_000, changed=False), stream.draw(40_000, changed=True)
    assert auc(before.labels, before.scores) == pytest.approx(0.75, abs=0.015)
    assert auc(after.labels, after.scores) == pytest.approx(0.55, abs=0.015)
    # the scores are calibrated before, and the rate stays
    assert before.labels.mean() == pytest.approx(before.scores.mean(), abs=0.01)
    assert after.labels.mean() == pytest.approx(0.25, abs=0.01)
    low = before.scores < 0.15
    assert before.labels[low].mean() == pytest.approx(before.scores[low].mean(), abs=0.015)


def test_equal_seeds_give_equal_streams() -> None:
    one, same, other = (ClickStream(seed).draw(100, changed=False) for seed in (1, 1, 2))
    assert np.array_equal(one.scores, same.scores) and np.array_equal(one.labels, same.labels)
    assert not np.array_equal(one.scores, other.scores)
    assert one.scores.shape == one.labels.shape == (100,) and set(one.labels) == {0, 1}
