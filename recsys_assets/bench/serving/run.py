"""Run ``recsys bench serving``: compare the ways to serve one release.

The systems are the reference's way, the ensemble, the fused model, the gateway and the stages
alone. All serve one release and receive the same requests on this machine, in turns: each round
asks every system, so that a busy minute of the machine affects all of them. Everything runs in the
bench's own home, beside a running demo.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets import columns as c
from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.harness.requests import SEEN, TOP_K, Request, choose, known_visitors
from recsys_assets.bench.harness.workers import Workers
from recsys_assets.bench.serving import home
from recsys_assets.bench.serving import report as serving_report
from recsys_assets.bench.serving.load import PERF_ANALYZER, TRITONCLIENT, PerfAnalyzer, TritonLoad
from recsys_assets.bench.serving.loops import Loops
from recsys_assets.bench.serving.measured import WARM_UP, MeasuredSystem, ServingBenchPlan
from recsys_assets.bench.serving.million import Clicks, Million
from recsys_assets.bench.serving.without_sources import WithoutSources
from recsys_assets.files import write_json
from recsys_assets.lib.release.releases import Release
from recsys_assets.operations import own_home
from recsys_assets.release_files import CANDIDATE_SOURCES, MODELS, SAMPLING, TRANSFORMS, model_file
from recsys_assets.serving.triton.served import ENSEMBLE, RECOMMENDER
from recsys_assets.settings import Settings

Say = Callable[[str], None]
SYSTEMS = ("floor", "fused", "ensemble", "gateway", "reference")


class ServingBench:
    """Runs the systems and measures them.

    Args:
        own: settings of the bench's own, empty home.
        release: of the real home.
        workflows: folder of the release's NVTabular workflows.
        plan: how much is measured.
        scratch: for files of the workers.
        say: receives one line per step.
    """

    def __init__(
        self,
        own: Settings,
        release: Release,
        workflows: Path,
        plan: ServingBenchPlan,
        scratch: Path,
        say: Say,
    ) -> None:
        self.own, self.release, self.workflows, self.plan, self.scratch, self.say = (
            own,
            release,
            workflows,
            plan,
            scratch,
            say,
        )
        self.payload = release.artifact.local
        self.transforms = json.loads(
            (self.payload / model_file("nvt_user_transform", TRANSFORMS)).read_text("utf-8")
        )
        self.requests: list[Request] = choose(
            self.transforms, plan.requests, int(time.time()), own.seed
        )
        self.most, self.measured = (
            max(plan.concurrencies),
            {name: MeasuredSystem() for name in SYSTEMS},
        )
        analyzer = PerfAnalyzer(own, scratch)
        fault = analyzer.fault()
        if fault:
            say(f"perf_analyzer does not run here, so tritonclient sends the requests: {fault}")
        self.analyzer = None if fault else analyzer

    def run(self) -> dict[str, Any]:
        """Start all parts, measure every system and return the report."""
        load_average = os.getloadavg()
        with own_home.running(self.own, ["valkey"]):
            keys = home.fill_online_store(self.own)
            home.mark_seen(
                self.own,
                known_visitors(self.requests),
                self.transforms["vocabulary"][c.ITEM_ID],
                SEEN,
                self.own.seed,
            )
            self.say(f"{keys:,} keys in the online store")
            with own_home.running(self.own, ["triton"]):
                own_home.promote(self.own, self.release.artifact)
                self.say(f"release {self.release.number} is served")
                with own_home.running(self.own, ["gateway"]), self._floor() as floor:
                    facts = self._systems(floor)
                    embeddings = np.array(floor.ask("embeddings")[0], np.float32)
                    clicks = floor.ask("clicks")[0]
                    without = self._without_sources()
                report = serving_report.report(self.measured, facts)
                report["sources"] = self._source_times(self.payload, clicks)
                report["without_sources"] = without
                if self.plan.items is not None:
                    report["million_items"] = self._million(embeddings, clicks, self.plan.items)
        report |= {
            "load_average": [round(value, 2) for value in load_average],
            "cpu_count": os.cpu_count(),
            "top_k": TOP_K,
            "requests": self.plan.requests,
            "rounds": self.plan.rounds,
            "release": self.release.number,
            "catalogue_items": len(self.transforms["vocabulary"][c.ITEM_ID]),
            "seen_items": SEEN,
            "online_keys": keys,
            "client": PERF_ANALYZER if self.analyzer else TRITONCLIENT,
        }
        return report | {"ratios": serving_report.ratios(report)}

    def _workers(
        self,
        name: str,
        module: str,
        request: dict[str, Any],
        *,
        python: Path | str | None = None,
        count: int | None = None,
    ) -> Workers:
        """Return workers, by default as many as the largest concurrency.

        By default they run in the serving environment with the variables of Triton's stubs.
        """
        environment = (
            home.serving_environment(self.own)
            if python is None
            else home.other_environment(self.own)
        )
        return Workers(
            name,
            python or self.own.serving_python,
            f"recsys_assets.bench.{module}",
            request,
            count or self.most,
            environment,
            self.scratch,
        )

    def _floor(self) -> Workers:
        return self._workers(
            "floor",
            "serving.floor",
            {
                "payload": str(self.payload),
                "versions": dict(self.release.versions),
                "requests": self.requests,
            },
        ).ready()

    def _client(self, address: str, model: str = RECOMMENDER) -> TritonLoad:
        return TritonLoad(
            address, model, self.analyzer, self.requests, self.own, self.most, self.scratch
        )

    @contextlib.contextmanager
    def _reference(self, floor: Workers) -> Iterator[tuple[Workers, Workers]]:
        """Return the workers of Feast and NVTabular, on the floor's requests."""
        raw, items = self.scratch / "raw.json", self.scratch / "items.json"
        raw.write_text(json.dumps(floor.ask("raw")[0]))
        with self._workers("feast", "serving.feast", {"raw": str(raw)}) as feast:
            items.write_text(json.dumps(feast.ready().ask("items")[0]))
            request = {"workflows": str(self.workflows), "raw": str(raw), "items": str(items)}
            with self._workers(
                "nvtabular", "serving.nvtabular", request, python=self.own.training_python
            ) as nvtabular:
                yield feast, nvtabular.ready()

    def _systems(self, floor: Workers) -> dict[str, Any]:
        address = home.triton_address(self.own)
        candidates = [len(one["items"]) for one in floor.ask("raw")[0]]
        with (
            self._reference(floor) as (feast, nvtabular),
            contextlib.closing(self._client(address)) as fused,
            contextlib.closing(self._client(address, ENSEMBLE)) as ensemble,
            self._gateway_client(self.own) as gateway,
        ):
            gateway.ready()
            same = self._same_answers(floor, gateway, address)
            self.say(
                "all systems gave the same lists"
                if same
                else "lists are drawn at random: not compared"
            )
            for load in (fused, ensemble):
                load.run(1, min(WARM_UP, self.plan.requests))
            gateway.run(1, 1, count=min(WARM_UP, self.plan.requests))
            ways: dict[str, float] = nvtabular.ask("trial")[0]
            loops = Loops(
                self.plan,
                floor,
                fused,
                ensemble,
                gateway,
                feast,
                nvtabular,
                min(ways, key=lambda way: ways[way]),
            )
            loops.latencies(self.measured, self.own, self.say)
            loops.throughputs(self.measured, self.say)
            return {
                "candidates": round(float(np.median(candidates))),
                "same_answers": same,
                "nvtabular_trial_ms": {
                    way: round(seconds * 1e3, 3) for way, seconds in ways.items()
                },
                "gateway_degraded": sum(gateway.ask("degraded", self.most)),
            }

    def _same_answers(self, floor: Workers, gateway: Workers, address: str) -> bool | None:
        """Return whether all systems gave the same lists; None for random lists.

        Raises:
            BenchFailed: a system gave another list or a degraded one; the message names the system
                and the request.
        """
        sampling = json.loads((self.payload / model_file("softmax_sampling", SAMPLING)).read_text())
        if sampling["diversity"] == "sampling":
            return None
        expected = floor.ask("answers")[0]
        given = {"gateway": gateway.ask("answers")[0]}
        for name, model in (("fused", RECOMMENDER), ("ensemble", ENSEMBLE)):
            with self._workers(
                f"answers-{name}",
                "harness.client",
                {"address": address, "model": model, "requests": self.requests},
                python=sys.executable,
                count=1,
            ) as client:
                given[name] = client.ready().ask("answers")[0]
        for name, answers in given.items():
            for number, (answer, wanted) in enumerate(zip(answers, expected, strict=True)):
                if answer[0] != wanted[0] or answer[1] or wanted[1]:
                    raise BenchFailed(
                        f"{name} and the stages called directly differ on {self.requests[number]}: "
                        f"{answer} and {wanted}"
                    )
        return True

    def _source_times(self, payload: Path, clicks: Clicks) -> dict[str, dict[str, float]]:
        """Return the time and the size of each source of a release."""
        request = {
            "folder": str(payload / MODELS / CANDIDATE_SOURCES),
            "clicks": clicks,
            "rounds": self.plan.rounds,
            "seed": self.own.seed,
        }
        with self._workers("sources", "serving.source_times", request, count=1) as worker:
            times: dict[str, dict[str, float]] = worker.ready().ask("times")[0]
        return times

    def _gateway_client(self, settings: Settings) -> Workers:
        address = f"{settings.gateway_host}:{settings.gateway_port}"
        return self._workers(
            f"gateway-client-{settings.gateway_port}",
            "harness.client",
            {"address": address, "requests": self.requests},
            python=sys.executable,
        )

    def _without_sources(self) -> dict[str, Any]:
        folder = self.scratch / "without-sources"
        folder.mkdir()
        return WithoutSources(
            self.own,
            self.release,
            self._client,
            self._gateway_client,
            folder,
            self.plan.requests,
            self.plan.rounds,
            self.say,
        ).run()

    def _million(self, embeddings: np.ndarray, clicks: Clicks, items: int) -> dict[str, Any]:
        folder = self.scratch / "million"
        folder.mkdir()
        return Million(
            self.own,
            self.payload,
            self.transforms["cardinality"][c.ITEM_ID],
            embeddings,
            clicks,
            self._client,
            self._source_times,
            folder,
            items,
            self.plan.requests,
            self.plan.rounds,
            self.own.seed,
            self.say,
        ).run()


def bench_serving(
    settings: Settings, say: Say, plan: ServingBenchPlan | None = None
) -> dict[str, Any]:
    """Measure the release of a home; write and return ``home/bench/serving.json``.

    Raises:
        BenchFailed: there is no release, a part failed, or two systems gave different lists.
    """
    release = home.release_of(settings)
    workflows = home.workflows_of(settings, release).verify().local
    folder = settings.home / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="serving-") as scratch:
        own = own_home.own_settings(settings, Path(scratch) / "home")
        report = ServingBench(
            own, release, workflows, plan or ServingBenchPlan(), Path(scratch), say
        ).run()
    write_json(folder / "serving.json", report)
    return report
