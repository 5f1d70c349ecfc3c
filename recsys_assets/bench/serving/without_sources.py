"""Measure what the sources cost: the release beside the same release without them, in turns."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.artifacts import MANIFEST, ArtifactStore
from recsys_assets.bench.harness.workers import WorkerLoad, Workers
from recsys_assets.bench.serving import home as serving_home
from recsys_assets.bench.serving.load import TritonLoad
from recsys_assets.bench.serving.measured import in_turns
from recsys_assets.lib.release.releases import RELEASE, Release
from recsys_assets.lib.sources.stored import BY_SIMILARITY, write_blend
from recsys_assets.operations import own_home
from recsys_assets.release_files import CANDIDATE_SOURCES, MODELS, YOUNG
from recsys_assets.serving.triton.served import ENSEMBLE, RECOMMENDER
from recsys_assets.settings import Settings

#: The systems that are compared.
COMPARED = ("fused", "ensemble", "gateway")


@dataclass(frozen=True)
class WithoutSources:
    """The comparison of a release with itself without sources.

    Attributes:
        own: settings of the home where the release runs, with its gateway.
        release: that is compared.
        client: makes a client of a model at an address.
        gateway_client: makes a client of the gateway of a home.
        folder: for all files.
        requests: per round.
        rounds: of both releases in turns.
        say: receives one line per step.
    """

    own: Settings
    release: Release
    client: Callable[[str, str], TritonLoad]
    gateway_client: Callable[[Settings], Workers]
    folder: Path
    requests: int
    rounds: int
    say: Callable[[str], None]

    def run(self) -> dict[str, Any]:
        """Serve the other release by a Triton and a gateway of its own, and measure both in turns.

        Returns:
            system → ``p50_ms``, ``without_p50_ms`` and ``ratio``.
        """
        publish_without_sources(self.release, self.folder)
        other = serving_home.beside(self.own, self.folder, triton_models="both")
        with own_home.running(other, ["triton"]), contextlib.ExitStack() as stack:
            own_home.promote(other, self.release.number)
            stack.enter_context(own_home.running(other, ["gateway"]))
            loops = {
                (name, settings is other): loop
                for settings in (self.own, other)
                for name, loop in self._loops(settings, stack).items()
            }
            laps = in_turns(loops, self.requests, self.rounds)
        p50 = {key: float(np.median(values)) * 1e3 for key, values in laps.items()}
        self.say("the release without sources was measured")
        return {
            name: {
                "p50_ms": round(p50[name, False], 3),
                "without_p50_ms": round(p50[name, True], 3),
                "ratio": round(p50[name, False] / p50[name, True], 3),
            }
            for name in COMPARED
        }

    def _loops(
        self, settings: Settings, stack: contextlib.ExitStack
    ) -> dict[str, Callable[[int], WorkerLoad]]:
        """Return system → the loop of one client of a home, by its number of requests."""
        address = serving_home.triton_address(settings)
        fused, ensemble = (
            stack.enter_context(contextlib.closing(self.client(address, model)))
            for model in (RECOMMENDER, ENSEMBLE)
        )
        gateway = stack.enter_context(self.gateway_client(settings)).ready()
        return {
            "fused": lambda count: fused.run(1, count),
            "ensemble": lambda count: ensemble.run(1, count),
            "gateway": lambda count: gateway.run(1, 1, count=count),
        }


def publish_without_sources(release: Release, folder: Path) -> None:
    """Publish a release without its sources in the store ``folder/artifacts``."""
    store = ArtifactStore(str(folder / "artifacts"))
    with store.stage(RELEASE, f"{release.number:06d}") as staged:
        shutil.copytree(
            release.artifact.local,
            staged.path,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns(MANIFEST),
        )
        # empty folders of stages without files do not lie in every store
        for model in release.versions:
            (staged.path / MODELS / model).mkdir(parents=True, exist_ok=True)
        sources = staged.path / MODELS / CANDIDATE_SOURCES
        young = np.load(sources / YOUNG, allow_pickle=False)
        write_blend(sources, BY_SIMILARITY, (), {}, young)
        staged.publish()
