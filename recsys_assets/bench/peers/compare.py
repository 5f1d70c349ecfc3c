"""Tune each peer on a shop's inner split, and judge its lists beside what serves."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from recsys_assets.bench.harness.part import Measured, run_process
from recsys_assets.bench.peers.process.models import POPULAR, PeerSettings
from recsys_assets.bench.peers.split import Split
from recsys_assets.bench.peers.trials import TRIALS
from recsys_assets.files import write_json
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.measures import PRIMARY, Estimate
from recsys_assets.settings import Settings

MODULE = "recsys_assets.bench.peers.process.answer"
TIMED = 200  # queries that are answered one at a time

Say = Callable[[str], None]

PeerFigures = TypedDict(
    "PeerFigures",
    {
        "ndcg@10": Estimate,
        "recall@10": Estimate,
        "mrr@10": Estimate,
        "served_minus": Estimate | None,  # nDCG@10 of what serves − the peer's, paired
        "train_seconds": float,  # one fit by the chosen settings
        "tuning_seconds": float,  # all fits of the inner split
        "answer_ms": float,  # median of queries answered one at a time
        "answer_p95_ms": float,
        "fitted": bool,  # False: too few clicks to fit; popularity answered
        "settings": dict[str, Any],
        "trials": list[dict[str, Any]],  # the settings, and nDCG@10 on the inner split
        "peak_gib": float,
    },
)


def ranks_of(lists: np.ndarray, true: np.ndarray, items: int) -> np.ndarray:
    """Return the rank of each query's clicked item, int32 [Q]; ``items`` + 1 where not listed.

    Args:
        lists: int [Q, K], catalogue rows, best first.
        true: int64 [Q], of the clicked items.
        items: of the catalogue.
    """
    listed = lists == true[:, None]
    ranks = np.where(listed.any(axis=1), 1 + listed.argmax(axis=1), items + 1)
    return ranks.astype(np.int32)


@dataclass(frozen=True)
class Comparison:
    """Runs the peers on one shop.

    Attributes:
        outer: split of the figures.
        inner: split of the tuning.
        served: ranks of what serves for the outer queries, int32 [Q]; None: not judged.
        settings: of the home that measures.
        folder: for the files of the processes.
        seed: of the peers.
    """

    outer: Split
    inner: Split
    served: np.ndarray | None
    settings: Settings
    folder: Path
    seed: int

    def run(
        self, say: Say, peers: Collection[str]
    ) -> tuple[dict[str, PeerFigures], dict[str, str]]:
        """Return the figures of each peer, and the versions of the packages.

        Popularity is tuned first: it answers where another peer has no click of the visitor.
        """
        self.outer.file().write(self.folder / "outer.npz")
        self.inner.file().write(self.folder / "inner.npz")
        popular, _, _ = self._tuned(POPULAR, TRIALS[POPULAR][0])
        found: dict[str, PeerFigures] = {}
        versions: dict[str, str] = {}
        for name in peers:
            chosen, trials, seconds = self._tuned(name, popular)
            answered = self._answer("outer", name, [chosen], popular, TIMED)
            versions = answered.result["versions"]
            found[name] = self._judged(chosen, trials, seconds, answered)
            say(_line(name, found[name]))
        return found, versions

    def _tuned(
        self, name: str, popular: PeerSettings
    ) -> tuple[PeerSettings, list[dict[str, Any]], float]:
        """Return the best settings, all trials, and the seconds of their fits.

        Without a query to tune by, the first settings stay.
        """
        tried, queries = TRIALS[name], self.inner.queries
        if not len(queries):
            return tried[0], [], 0.0
        answered = self._answer("inner", name, tried, popular, 0)
        with np.load(self.folder / "lists.npz", allow_pickle=False) as lists:
            values = [
                list_metrics.point(
                    ranks_of(lists[str(n)], queries.true, queries.items), queries.users
                )
                for n in range(len(tried))
            ]
        trials = [
            {**settings, PRIMARY: value, "seconds": seconds}
            for settings, value, seconds in zip(
                tried, values, answered.result["seconds"], strict=True
            )
        ]
        return tried[int(np.argmax(values))], trials, sum(answered.result["seconds"])

    def _answer(
        self, part: str, name: str, tried: Any, popular: PeerSettings, timed: int
    ) -> Measured:
        """Run the process of a peer; its lists lie in lists.npz afterwards."""
        request = self.folder / "request.json"
        write_json(
            request,
            {
                "split": str(self.folder / f"{part}.npz"),
                "peer": name,
                "settings": list(tried),
                "popular": popular,
                "seed": self.seed,
                "output": str(self.folder / "lists.npz"),
                "timed": timed,
            },
        )
        command = [str(self.settings.peers_python), "-m", MODULE, str(request)]
        return run_process(MODULE, command, self.folder, self.settings)

    def _judged(
        self, chosen: PeerSettings, trials: list[dict[str, Any]], tuning: float, answered: Measured
    ) -> PeerFigures:
        queries = self.outer.queries
        with np.load(self.folder / "lists.npz", allow_pickle=False) as lists:
            ranks = ranks_of(lists["0"], queries.true, queries.items)
        figures = list_metrics.judge(ranks, queries)
        times = answered.result["milliseconds"]
        return {
            "ndcg@10": figures["ndcg@10"],
            "recall@10": figures["recall@10"],
            "mrr@10": figures["mrr@10"],
            "served_minus": None
            if self.served is None
            else list_metrics.overall_difference(self.served, ranks, queries),
            "train_seconds": answered.result["seconds"][0],
            "tuning_seconds": round(tuning, 2),
            "answer_ms": round(statistics.median(times), 3),
            "answer_p95_ms": round(float(np.quantile(times, 0.95)), 3),
            "fitted": answered.result["fitted"],
            "settings": dict(chosen),
            "trials": trials,
            "peak_gib": answered.peak_gib,
        }


def _line(name: str, found: PeerFigures) -> str:
    return (
        f"{name}: nDCG@10 {found['ndcg@10']['value']:.4f}, trained in "
        f"{found['train_seconds']:.1f} s, an answer in {found['answer_ms']:.1f} ms"
    )
