"""Test which shops are compared, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.peers import run
from recsys_assets.bench.peers.compare import Comparison
from recsys_assets.bench.peers.trials import TRIALS
from recsys_assets.settings import Settings
from recsys_assets_tests.support import small_served_home as served_home

ESTIMATE = {"value": 0.25, "low": 0.2, "high": 0.3}
FIGURES = {
    **{"ndcg@10": ESTIMATE, "recall@10": ESTIMATE, "mrr@10": ESTIMATE, "served_minus": ESTIMATE},
    **{"train_seconds": 1.25, "tuning_seconds": 9.0, "answer_ms": 2.0, "answer_p95_ms": 3.0},
    **{"fitted": True, "settings": {}, "trials": [], "peak_gib": 0.5},
}


def settings(home: Path) -> Settings:
    python = home / "python"
    python.touch()
    return served_home.settings(home).model_copy(update={"peers_python": python})


@pytest.fixture
def shops(tmp_path: Path) -> Path:
    """Home with a kept shop that serves, and one that ended before it had a champion."""
    kept = tmp_path / "bench" / "shops"
    served_home.publish_release(kept / "corner" / "home")
    queries = served_home.publish_queries(kept / "corner" / "home")
    served_home.publish_rung(kept / "corner" / "home", queries, rank=1)
    (kept / "broken" / "home").mkdir(parents=True)
    return tmp_path


def test_kept_shops_are_compared(shops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Comparison] = []

    def fake(self: Comparison, say: run.Say, peers: list[str]) -> tuple[dict, dict]:
        compared.append(self)
        return {name: FIGURES for name in peers}, {"rectools": "1"}

    monkeypatch.setattr(Comparison, "run", fake)
    report = run.bench_peers(settings(shops), lambda line: None, ask=False)
    assert report == json.loads((shops / "bench" / "peers.json").read_text())
    assert set(report["peers"]) == set(TRIALS)
    assert all(of == {"corner": FIGURES} for of in report["peers"].values())
    corner = report["served"]["corner"]
    assert corner["rung"] == "item_to_item" and corner["items"] == 60
    assert corner["ndcg@10"] is not None and corner["ndcg@10"]["value"] == 1.0
    assert corner["queries"] >= corner["visitors"] > 0 and corner["training_clicks"] > 0
    assert corner["answer_ms"] is None
    assert report["skipped"] == {"broken": "no champion, or no held-out click"}
    [comparison] = compared
    assert comparison.served is not None and np.array_equal(
        comparison.served, np.ones(corner["queries"])
    )
    first, second, *_ = run.table_rows(report)
    *told, minutes, milliseconds = first
    assert (told, milliseconds) == (["corner", "served (item_to_item)", "1.0000", ""], "")
    assert float(minutes) >= 0  # on a busy machine more than 0.0
    assert second == ("", "rectools_popular", "0.2500", "+0.2000 … +0.3000", "1.2", "2.0")


def test_a_home_with_a_champion_is_one_of_the_shops(tmp_path: Path) -> None:
    assert run.kept_shops(settings(tmp_path)) == {}
    served_home.publish_release(tmp_path)
    served_home.publish_queries(tmp_path)
    assert list(run.kept_shops(settings(tmp_path))) == [run.OWN_HOME]


def test_what_is_missing_is_named(shops: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    def refused(home: Settings, match: str, **options: object) -> None:
        with pytest.raises(BenchFailed, match=match):
            run.bench_peers(home, lambda line: None, ask=False, **options)  # type: ignore[arg-type]

    refused(settings(shops), "no shop is called market; there are broken, corner", only=["market"])
    refused(settings(shops), "no peer is called als; there are", peers=["als"])
    refused(settings(tmp_path_factory.mktemp("bare")), "run `recsys bench shops --keep` first")
    gone = settings(shops).model_copy(update={"peers_python": shops / "gone"})
    refused(gone, "make it: `make peers`")
