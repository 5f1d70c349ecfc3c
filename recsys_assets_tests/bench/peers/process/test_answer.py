"""Test what a peer is asked and how its lists are filled; and every peer in its environment."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from recsys_assets.bench.peers.compare import ranks_of
from recsys_assets.bench.peers.process.answer import SHOWN, answer, answer_all, can_fit
from recsys_assets.bench.peers.process.models import EMPTY, FITS, AskedClicks, PopularOrder
from recsys_assets.bench.peers.process.split_file import SplitFile
from recsys_assets.bench.peers.split import Split
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.support import small_clicks

#: Two visitors. The first query has clicks 0 and 1, the second none, the third clicks 3 and 4.
SPLIT = SplitFile(
    visitor=np.array([0, 0, 0, 1, 1]),
    item=np.array([5, 6, 7, 8, 5]),
    time=np.array([10, 20, 30, 10, 20]),
    training=np.array([True, True, False, True, False]),
    start=np.array([0, 0, 3]),
    end=np.array([2, 0, 5]),
    hidden_start=np.array([0, 1, 1, 2]),
    hidden_item=np.array([6, 9], np.int32),
    items=np.array(20),
)
FITTED = np.isin(np.arange(20), [5, 6, 8])
POPULAR = PopularOrder(np.array([6, 5, 9, 8]))


@dataclass
class Remembers:
    """Lists 6, 9, 3 for each query with a click."""

    asked: AskedClicks | None = None

    def lists(self, asked: AskedClicks, k: int) -> np.ndarray:
        self.asked = asked
        found = np.full((asked.queries, k), EMPTY)
        found[np.unique(asked.owner), :3] = [6, 9, 3]
        return found


def test_the_clicks_before_some_queries_are_in_order() -> None:
    owner, position = SPLIT.clicks_before(np.array([2, 1, 0]))
    assert owner.tolist() == [0, 0, 2, 2] and position.tolist() == [3, 4, 0, 1]


def test_a_peer_gets_the_clicks_on_items_that_training_has() -> None:
    peer = Remembers()
    answer(peer, POPULAR, SPLIT, FITTED, np.array([0, 1, 2]))
    assert peer.asked is not None and peer.asked.queries == 3
    assert peer.asked.owner.tolist() == [0, 0, 2, 2]
    assert peer.asked.item.tolist() == [5, 6, 8, 5]
    assert peer.asked.time.tolist() == [10, 20, 10, 20]


def test_hidden_items_are_left_out_and_popularity_fills_the_list() -> None:
    lists = answer_all(Remembers(), POPULAR, SPLIT, FITTED)
    assert lists.shape == (3, SHOWN) and lists.dtype == np.int32
    kept = [row[row != EMPTY].tolist() for row in lists]
    assert kept == [[9, 3, 5, 8], [6, 5, 9, 8], [6, 3, 5, 8]]


def test_a_model_needs_a_visitor_with_two_items() -> None:
    assert can_fit(SPLIT)
    alone = SplitFile(**{**SPLIT.__dict__, "training": np.array([True, False, False, True, False])})
    assert not can_fit(alone)


def test_folded_in_factors_solve_the_normal_equations() -> None:
    """x = (YᵀY + Yᵀ(C − 1)Y + λ)⁻¹ Yᵀ C p, for the counts of the query's visitor."""
    settings = {"factors": 2, "regularization": 0.1, "alpha": 3.0, "iterations": 5}
    peer = FITS["implicit_als"](SPLIT, settings, 7)
    asked = AskedClicks(np.array([0, 0, 1]), np.array([5, 5, 8]), np.zeros(3, np.int64), 3)
    factors = np.asarray(peer.model.item_factors, np.float64)
    assert peer.items.tolist() == [5, 6, 8]
    found = peer.lists(asked, 5)
    for query, counts in enumerate(([2.0, 0, 0], [0, 0, 1.0])):
        confidence = 3.0 * np.array(counts)
        weight = np.where(confidence > 0, confidence - 1, 0)
        left = factors.T @ factors + (factors.T * weight) @ factors + 0.1 * np.eye(2)
        visitor = np.linalg.solve(left, factors.T @ confidence)
        products = dict(zip(peer.items.tolist(), factors @ visitor, strict=True))
        listed = [products[item] for item in found[query][:3]]
        # items of one visitor have equal factors but for rounding
        assert listed == pytest.approx(sorted(products.values(), reverse=True), abs=1e-5)
        assert set(found[query].tolist()) == {5, 6, 8, EMPTY}
    assert (found[2] == EMPTY).all()


PEERS = Settings().peers_python
needs_peers = pytest.mark.skipif(
    not PEERS.exists(), reason="the peers' environment is not made: `make peers`"
)
SMALL = {
    "rectools_popular": {"popularity": "n_users", "days": None},
    "implicit_als": {"factors": 8, "regularization": 1.0, "alpha": 2.0, "iterations": 10},
    "rectools_ease": {"regularization": 10.0},
    "rectools_sasrec": {
        **{"n_factors": 16, "epochs": 20, "n_blocks": 1, "n_heads": 2, "lr": 0.01},
        **{"session_max_len": 10, "loss": "sampled_softmax", "n_negatives": 16},
    },
}


@needs_peers
@pytest.mark.training
def test_every_peer_finds_the_tastes_of_the_shop_of_blocks(tmp_path: Path) -> None:
    """A visitor clicks on one of four kinds of item; popularity does not know which."""
    clicks = small_clicks.block_clicks(range(1, 9))
    later = small_clicks.block_clicks([9], seed=5)
    log = ClickLog.of(small_clicks.interactions([*clicks, *later]), small_clicks.ITEMS)
    queries = small_clicks.queries(later, small_clicks.ITEMS)
    Split(log, 9, queries).file().write(tmp_path / "split.npz")
    values: dict[str, float] = {}
    assert set(SMALL) == set(FITS)
    for name, settings in SMALL.items():
        request = {
            **{"split": str(tmp_path / "split.npz"), "peer": name, "settings": [settings]},
            **{"popular": SMALL["rectools_popular"], "seed": 7, "timed": 5},
            "output": str(tmp_path / "lists.npz"),
        }
        (tmp_path / "request.json").write_text(json.dumps(request))
        done = subprocess.run(
            [
                *(str(PEERS), "-m", "recsys_assets.bench.peers.process.answer"),
                str(tmp_path / "request.json"),
            ],
            capture_output=True,
            text=True,
            cwd=PROJECT_ROOT,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3_000:]
        result = json.loads(done.stdout.splitlines()[-1])
        assert len(result["seconds"]) == 1 and len(result["milliseconds"]) == 5
        assert result["fitted"] and result["versions"]["rectools"]
        with np.load(tmp_path / "lists.npz") as stored:
            lists = stored["0"]
        assert lists.shape == (len(queries), SHOWN) and (lists >= 0).all()
        ranks = ranks_of(lists, queries.true, queries.items)
        values[name] = list_metrics.point(ranks, queries.users)
    popular = values.pop("rectools_popular")
    assert {name for name, value in values.items() if value < 1.5 * popular} == set(), values
