"""Measure a request on a large synthetic catalogue and on the real one.

This shows whether latency grows with the catalogue.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness.part import run_part, run_training_part
from recsys_assets.bench.serving import home as serving_home
from recsys_assets.bench.serving.catalogue import base_items, first_of_base
from recsys_assets.bench.serving.load import TritonLoad
from recsys_assets.bench.serving.measured import in_turns
from recsys_assets.bench.serving.stage_times import StageTimes
from recsys_assets.lib.release import releases
from recsys_assets.lib.retrieval.index import NEIGHBOURS
from recsys_assets.operations import own_home
from recsys_assets.operations.processes import read_record
from recsys_assets.operations.usage import gib
from recsys_assets.release_files import CANDIDATE_SOURCES, ITEMS, MODELS, RANKER
from recsys_assets.settings import Settings

#: Required recall of retrieval; the index is chosen for it.
RECALL_FLOOR = 0.95
RECALL = f"recall@{NEIGHBOURS}"
#: Of each visitor: rows of the vocabulary, and hours.
Clicks = list[tuple[list[int], list[float]]]


@dataclass(frozen=True)
class Million:
    """The measurement on a synthetic catalogue.

    Attributes:
        own: settings of the home where the real release runs.
        payload: folder of that release.
        item_rows: rows of its ranker's item_id table.
        embeddings: float32 [Q, 64] of the requests' queries.
        clicks: of the requests' visitors, on rows of the real catalogue.
        client: makes a client of the fused model at an address.
        source_times: returns the time and size of each source of a release's folder.
        folder: for all files.
        items: of the synthetic catalogue.
        requests: per round.
        rounds: of both systems in turns.
        seed: random seed.
        say: receives one line per step.
    """

    own: Settings
    payload: Path
    item_rows: int
    embeddings: np.ndarray
    clicks: Clicks
    client: Callable[[str], TritonLoad]
    source_times: Callable[[Path, Clicks], dict[str, dict[str, float]]]
    folder: Path
    items: int
    requests: int
    rounds: int
    seed: int
    say: Callable[[str], None]

    def run(self) -> dict[str, Any]:
        """Build the catalogue, serve it with its own Triton, and measure both in turns.

        Returns:
            ``million_items`` of serving.json.
        """
        report = self._build()
        large = serving_home.beside(self.own, self.folder, triton_models="fused")
        with own_home.running(large, ["triton"]):
            started = time.perf_counter()
            own_home.promote(large, 1)
            loaded = time.perf_counter() - started
            self.say(f"{self.items:,} items loaded in {loaded:.0f} s")
            with (
                contextlib.closing(self.client(serving_home.triton_address(self.own))) as small,
                contextlib.closing(self.client(serving_home.triton_address(large))) as beside,
            ):
                times = StageTimes(large, lambda: beside.run(1, 1))
                laps = in_turns(
                    {
                        "small": lambda count: small.run(1, count),
                        "large": lambda count: beside.run(1, count),
                    },
                    self.requests,
                    self.rounds,
                )
                stages = times.since()
            memory, of_sources = _memory(large), _memory(large, CANDIDATE_SOURCES)
        # a process of its own, after the server has ended
        sources = self.source_times(self._payload(), self._clicks())
        p50 = {name: float(np.median(values)) * 1e3 for name, values in laps.items()}
        return {
            **report,
            "p50_ms": round(p50["large"], 3),
            "p99_ms": round(float(np.percentile(laps["large"], 99)) * 1e3, 3),
            "small_p50_ms": round(p50["small"], 3),
            "ratio": round(p50["large"] / p50["small"], 3),
            "memory_gib": memory,
            "sources_memory_gib": of_sources,
            "sources": sources,
            "load_seconds": round(loaded, 1),
            "stages": stages,
        }

    def _payload(self) -> Path:
        """Return the folder of the synthetic release."""
        return releases.open_release(
            ArtifactStore(str(self.folder / "artifacts")), 1
        ).artifact.local

    def _clicks(self) -> Clicks:
        """Return the clicks on the synthetic items that bear the real items' ids."""
        base = np.load(self.folder / "base" / "base.npy", allow_pickle=False)
        rows = dict(zip(*first_of_base(base), strict=True))
        return [
            (
                [int(rows[row]) for row in own if row in rows],
                [age for row, age in zip(own, ages, strict=True) if row in rows],
            )
            for own, ages in self.clicks
        ]

    def _build(self) -> dict[str, Any]:
        base = self.folder / "base"
        base.mkdir()
        np.save(
            base / "base.npy", base_items(self.payload, self.items, self.seed), allow_pickle=False
        )
        np.save(self.folder / "embeddings.npy", self.embeddings, allow_pickle=False)
        ranker = run_training_part(
            "recsys_assets.bench.training.larger_catalogue",
            {"ranker": str(self.payload / MODELS / RANKER), "base": str(base)},
            self.folder / "ranker",
            {"rows": self.item_rows},
            self.folder,
            self.own,
        )
        built = run_part(
            "recsys_assets.bench.serving.catalogue",
            {
                "payload": str(self.payload),
                "base": str(base / "base.npy"),
                "seed": self.seed,
                "floor": RECALL_FLOOR,
                "embeddings": str(self.folder / "embeddings.npy"),
                "ranker": str(self.folder / "ranker" / ITEMS),
                "root": str(self.folder / "artifacts"),
            },
            self.folder,
            self.own,
        )
        made = built.result
        self.say(
            f"{self.items:,} items: {made['index']['kind']} {made['index']['setting']}, {RECALL} "
            f"{made['recall']:.4f}, {made['build_seconds']:.0f} s for the index"
        )
        return {
            "items": self.items,
            RECALL: round(made["recall"], 4),
            "queries": made["queries"],
            "index": made["index"],
            "trials": made["trials"],
            "noise": made["noise"],
            "ranker_rows": ranker.result["metrics"]["rows"],
            "build_seconds": round(made["build_seconds"], 1),
            "build_peak_gib": built.peak_gib,
        }


def _memory(settings: Settings, mapped: str | None = None) -> float:
    """Return the resident GiB of the server and its models' processes.

    Shared pages count in each process. mapped: count only the files that are mapped from folders of
    this model, and their shared pages once.
    """
    record = read_record(settings.home / "run", "triton")
    process = record.process() if record else None
    members: list[psutil.Process] = [process, *process.children(recursive=True)] if process else []
    if mapped is None:
        return gib(sum(member.memory_info().rss for member in members))
    return gib(
        sum(
            area.pss
            for member in members
            for area in member.memory_maps()
            if mapped in Path(area.path).parts
        )
    )
