"""Test how the peers are tuned and judged; the process is replaced by one that lists by rule."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys_assets.bench.harness.part import Measured
from recsys_assets.bench.peers import compare
from recsys_assets.bench.peers.compare import Comparison, ranks_of
from recsys_assets.bench.peers.process.split_file import SplitFile
from recsys_assets.bench.peers.trials import TRIALS
from recsys_assets.settings import Settings
from recsys_assets_tests.bench.peers.test_split import small_split


def test_the_rank_is_the_place_in_the_list_or_behind_the_catalogue() -> None:
    lists = np.array([[4, 2, 0], [2, 4, -1], [-1, -1, -1]], np.int32)
    assert ranks_of(lists, np.array([4, 4, 4]), 5).tolist() == [1, 2, 6]
    assert ranks_of(lists, np.array([0, 1, 2]), 5).tolist() == [3, 6, 6]


class FakeProcess:
    """Answers with the clicked item in place 1 for the best settings, else in place 3."""

    def __init__(self, best: int) -> None:
        self.best, self.requests = best, []
        self.true = small_split().queries.true

    def __call__(
        self, name: str, command: Sequence[str], folder: Path, settings: Settings
    ) -> Measured:
        request: dict[str, Any] = json.loads(Path(command[-1]).read_text())
        self.requests.append(request)
        tried = TRIALS[request["peer"]]
        others = np.array([[1, 2], [0, 2], [0, 1]])[self.true]
        last = np.concatenate([others, self.true[:, None]], axis=1)
        lists = {
            str(n): last[:, ::-1] if settings == tried[self.best] else last
            for n, settings in enumerate(request["settings"])
        }
        np.savez(request["output"], **lists)
        number = len(request["settings"])
        times = [1.0, 2.0, 9.0] if request["timed"] else []
        result = {"seconds": [0.5] * number, "milliseconds": times, "fitted": True}
        return Measured({**result, "versions": {"rectools": "1"}}, 0.25)


def comparison(folder: Path, served: np.ndarray | None) -> Comparison:
    both = small_split()
    return Comparison(both, both, served, Settings(home=folder), folder, seed=7)


def test_the_best_settings_of_the_inner_split_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = FakeProcess(best=2)
    monkeypatch.setattr(compare, "run_process", process)
    said: list[str] = []
    found, versions = comparison(tmp_path, np.array([1, 1, 11])).run(said.append, ["implicit_als"])
    [als] = found.values()
    assert als["settings"] == TRIALS["implicit_als"][2] and versions == {"rectools": "1"}
    assert als["ndcg@10"]["value"] == als["recall@10"]["value"] == als["mrr@10"]["value"] == 1.0
    # visitor u has two queries, w one: served − peer is (0 + (0 − 1)) / 2
    assert als["served_minus"] is not None and als["served_minus"]["value"] == -0.5
    assert [trial["ndcg@10"] for trial in als["trials"]] == pytest.approx(
        [1 / math.log2(4) if n != 2 else 1.0 for n in range(8)]
    )
    assert (als["train_seconds"], als["tuning_seconds"]) == (0.5, 4.0)
    assert (als["answer_ms"], als["peak_gib"]) == (2.0, 0.25)
    assert said == ["implicit_als: nDCG@10 1.0000, trained in 0.5 s, an answer in 2.0 ms"]


def test_popularity_is_tuned_first_and_answers_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = FakeProcess(best=5)
    monkeypatch.setattr(compare, "run_process", process)
    found, _ = comparison(tmp_path, None).run(lambda line: None, ["rectools_ease"])
    assert [one["peer"] for one in process.requests] == [
        "rectools_popular",
        "rectools_ease",
        "rectools_ease",
    ]
    tuned = TRIALS["rectools_popular"][5]
    assert [one["popular"] for one in process.requests[1:]] == [tuned, tuned]
    inner, outer = process.requests[1:]
    assert (Path(inner["split"]).name, inner["timed"]) == ("inner.npz", 0)
    assert (Path(outer["split"]).name, outer["timed"]) == ("outer.npz", compare.TIMED)
    assert found["rectools_ease"]["served_minus"] is None
    assert len(SplitFile.read(tmp_path / "outer.npz")) == 3


def test_each_peer_has_as_many_trials_as_a_baseline() -> None:
    from recsys_assets.bench.peers.process.models import FITS
    from recsys_assets.bench.shops.baselines import BUDGET

    assert set(TRIALS) == set(FITS)
    for name, tried in TRIALS.items():
        assert len(tried) == BUDGET.trials, name
        assert len({json.dumps(one, sort_keys=True) for one in tried}) == len(tried), name
