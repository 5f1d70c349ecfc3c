"""The figures of the day after: releases by their rung, and pairs of visitors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.loop.fine_tune import BARS
from recsys_assets.bench.loop.next_day import figures_of, trained_release
from recsys_assets.settings import Settings
from recsys_assets_tests.support.bare_releases import write_release

DAY = "2026-01-12"


def rung(name: str) -> dict[str, object]:
    return {"name": name, "why": "tried", "next": None}


def test_the_trained_release_is_the_highest_rung_that_is_not_below_another(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    store = ArtifactStore(settings.artifacts)
    with pytest.raises(BenchFailed, match=f"no full training as of {DAY}"):
        trained_release(store, DAY)
    write_release(store, settings, 1, DAY, kind="simple", rung=rung("fusion"))
    # its gate keeps it back for its AUC beside the champion's, which says nothing of its lists
    write_release(store, settings, 2, DAY, rung=rung("full"), passed=False)
    write_release(store, settings, 3, DAY, kind="fine_tune", generation=2, rung=rung("full"))
    write_release(store, settings, 4, "2026-01-13", rung=rung("full"))
    assert trained_release(store, DAY).number == 2
    write_release(
        store, settings, 2, DAY, rung=rung("full"), passed=False, check="rung: served ndcg@10"
    )
    assert trained_release(store, DAY).number == 1


def test_visitors_are_paired() -> None:
    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(300), 3)
    frozen = rng.integers(1, 15, len(users))
    # one place nearer for everyone: small beside the spread between visitors, but sure
    ranks = {
        "frozen": frozen,
        "tuned": np.maximum(frozen - 1, 1),
        "retrained": np.maximum(frozen - 2, 1),
    }
    found = figures_of(ranks, users, seed=7)
    assert found["queries"] == 900 and found["visitors"] == 300
    assert found["ndcg_frozen"] < found["ndcg_tuned"] < found["ndcg_retrained"]
    assert found["tuned_minus_frozen"] == pytest.approx(
        found["ndcg_tuned"] - found["ndcg_frozen"], abs=2e-4
    )
    assert 0 < found["tuned_minus_frozen_low"] == -found["frozen_minus_tuned_high"]
    assert found["retrained_over_tuned"] == pytest.approx(
        found["ndcg_retrained"] / found["ndcg_tuned"], abs=2e-3
    )
    same = figures_of(dict.fromkeys(ranks, frozen), users, seed=7)
    assert same["frozen_minus_tuned_high"] == 0 and same["retrained_over_tuned"] == 1


def test_every_bar_is_of_a_figure() -> None:
    figures = figures_of(
        dict.fromkeys(("frozen", "tuned", "retrained"), np.ones(2, int)), [0, 1], 7
    )
    names = {*figures, "seconds"}
    assert set(BARS) == {
        f"{prefix}{name}"
        for prefix in ("", "clicks_only_")
        for name in names & {"seconds", "frozen_minus_tuned_high", "retrained_over_tuned"}
    }
