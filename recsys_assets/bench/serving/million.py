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

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness.part import run_part, run_training_part
from recsys_assets.bench.serving import home as serving_home
from recsys_assets.bench.serving.catalogue import base_items, bearers
from recsys_assets.bench.serving.load import TritonLoad
from recsys_assets.bench.serving.measured import in_turns
from recsys_assets.bench.serving.memory import ServerMemory, mapped_gib, resident_gib
from recsys_assets.bench.serving.stage_times import StageTimes
from recsys_assets.bench.serving.without_sources import publish_without_sources
from recsys_assets.lib.release import releases
from recsys_assets.lib.retrieval.index import NEIGHBOURS
from recsys_assets.operations import own_home
from recsys_assets.operations.usage import MEGABYTE, gib
from recsys_assets.release_files import CANDIDATE_SOURCES, EMBEDDING_TABLE, MODELS
from recsys_assets.settings import Settings

#: Required recall of retrieval; the index is chosen for it.
RECALL_FLOOR = 0.95
RECALL = f"recall@{NEIGHBOURS}"
#: Number of the synthetic release.
NUMBER = 1
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
        served, memory = self._serve(self.folder)
        # a process of its own, after the server has ended
        payload = self._release().artifact.local
        sources = self.source_times(payload, self._clicks())
        files = [
            file
            for file in (payload / MODELS / CANDIDATE_SOURCES).glob("*.npy")
            if file.name != EMBEDDING_TABLE  # served once for all models that read it
        ]
        without, other = self._serve_without_sources()
        self.say(f"{self.items:,} items without sources were measured")
        return {
            **report,
            **served,
            "sources": sources,
            "without_sources": without,
            "sources_gib": gib(memory.total - other.total),
            "sources_files_mib": round(sum(file.stat().st_size for file in files) / MEGABYTE, 1),
        }

    def _serve(self, folder: Path) -> tuple[dict[str, Any], ServerMemory]:
        """Serve the release of a folder's store, and ask the small catalogue in turns with it.

        Every release gets the same requests, so its memory has the pages that these need.
        """
        large = serving_home.beside(self.own, folder, triton_models="fused")
        with own_home.running(large, ["triton"]):
            started = time.perf_counter()
            own_home.promote(large, NUMBER)
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
            memory = ServerMemory.of_triton(large)
            resident, of_sources = resident_gib(large), mapped_gib(large, CANDIDATE_SOURCES)
        p50 = {name: float(np.median(values)) * 1e3 for name, values in laps.items()}
        report = {
            "p50_ms": round(p50["large"], 3),
            "p99_ms": round(float(np.percentile(laps["large"], 99)) * 1e3, 3),
            "small_p50_ms": round(p50["small"], 3),
            "ratio": round(p50["large"] / p50["small"], 3),
            **memory.mib(),
            "memory_gib": resident,
            "sources_memory_gib": of_sources,
            "load_seconds": round(loaded, 1),
            "stages": stages,
        }
        return report, memory

    def _serve_without_sources(self) -> tuple[dict[str, Any], ServerMemory]:
        """Serve the same release without sources, after the server with them has ended.

        Both at once would take twice the memory, and share pages.
        """
        folder = self.folder / "without-sources"
        publish_without_sources(self._release(), folder)
        return self._serve(folder)

    def _release(self) -> releases.Release:
        """Return the synthetic release."""
        return releases.open_release(ArtifactStore(str(self.folder / "artifacts")), NUMBER)

    def _clicks(self) -> Clicks:
        """Return the clicks on the synthetic items that bear the real items' ids."""
        base = np.load(self.folder / "base" / "base.npy", allow_pickle=False)
        rows = dict(zip(*bearers(base, self.seed), strict=True))
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
        models = run_training_part(
            "recsys_assets.bench.training.larger_catalogue",
            {"models": str(self.payload / MODELS), "base": str(base)},
            self.folder / "by-item",
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
                "models": str(self.folder / "by-item"),
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
            "rows_by_item": models.result["metrics"]["rows"],
            "build_seconds": round(made["build_seconds"], 1),
            "build_peak_gib": built.peak_gib,
        }
