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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets import columns as c
from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.harness.requests import SEEN, TOP_K, Request, choose, known_visitors
from recsys_assets.bench.harness.workers import WorkerLoad, Workers
from recsys_assets.bench.serving import home
from recsys_assets.bench.serving import report as serving_report
from recsys_assets.bench.serving.load import PERF_ANALYZER, TRITONCLIENT, PerfAnalyzer, TritonLoad
from recsys_assets.bench.serving.million import Million
from recsys_assets.bench.serving.stage_times import ModelTimes, StageTimes
from recsys_assets.files import write_json
from recsys_assets.lib.release.releases import COMPONENTS, Release
from recsys_assets.release_files import SAMPLING, TRANSFORMS, model_file
from recsys_assets.serving.triton.fused_model import FUSED
from recsys_assets.serving.triton.served import ENSEMBLE, RECOMMENDER
from recsys_assets.settings import Settings

Say = Callable[[str], None]
#: The reference's own parts; its other stages are those of this platform.
REFERENCE_PARTS = ("feast_user", "feast_items", "nvt_user", "nvt_context", "nvt_items")
REPLACED = frozenset(
    {
        "feast_user_lookup",
        "feast_item_lookup",
        "nvt_user_transform",
        "nvt_context_transform",
        "nvt_item_transform",
    }
)
SYSTEMS = ("floor", "fused", "ensemble", "gateway", "reference")
WARM_UP = 50


@dataclass(frozen=True)
class ServingBenchPlan:
    """How much is measured.

    Args:
        requests: different ones. rounds: how often each system is asked all of them, one after the
            other; the reference once.
        concurrencies: clients at once, 1 first. seconds: of a loop with several.
        items: of the synthetic catalogue; None: leave it out.
    """

    requests: int = 400
    rounds: int = 5
    concurrencies: tuple[int, ...] = (1, 2, 4, 8)
    seconds: float = 5.0
    items: int | None = 1_000_000


@dataclass
class MeasuredSystem:
    """What the rounds gave of one system."""

    laps: list[float] = field(default_factory=list)  # seconds at concurrency 1
    rates: dict[int, float] = field(default_factory=dict)  # requests a second by concurrency
    parts: dict[str, list[float]] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)  # <name>_ms

    def add(self, load: WorkerLoad) -> None:
        self.laps += load.laps
        for name, seconds in load.parts.items():
            self.parts.setdefault(name, []).extend(seconds)


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
        with home.running(self.own, ["valkey"]):
            keys = home.fill_online_store(self.own)
            home.mark_seen(
                self.own,
                known_visitors(self.requests),
                self.transforms["vocabulary"][c.ITEM_ID],
                SEEN,
                self.own.seed,
            )
            self.say(f"{keys:,} keys in the online store")
            with home.running(self.own, ["triton"]):
                home.promote(self.own, self.release.artifact)
                self.say(f"release {self.release.number} is served")
                with home.running(self.own, ["gateway"]), self._floor() as floor:
                    facts = self._systems(floor)
                    embeddings = np.array(floor.ask("embeddings")[0], np.float32)
                report = serving_report.report(self.measured, facts)
                if self.plan.items is not None:
                    report["million_items"] = self._million(embeddings, self.plan.items)
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
        address, http = (
            home.triton_address(self.own),
            f"{self.own.gateway_host}:{self.own.gateway_port}",
        )
        candidates = [len(one["items"]) for one in floor.ask("raw")[0]]
        with (
            self._reference(floor) as (feast, nvtabular),
            contextlib.closing(self._client(address)) as fused,
            contextlib.closing(self._client(address, ENSEMBLE)) as ensemble,
            self._workers(
                "gateway-client",
                "harness.client",
                {"address": http, "requests": self.requests},
                python=sys.executable,
            ) as gateway,
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
            loops = _Loops(
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

    def _million(self, embeddings: np.ndarray, items: int) -> dict[str, Any]:
        folder = self.scratch / "million"
        folder.mkdir()
        return Million(
            self.own,
            self.payload,
            self.transforms["cardinality"][c.ITEM_ID],
            embeddings,
            self._client,
            folder,
            items,
            self.plan.requests,
            self.plan.rounds,
            self.own.seed,
            self.say,
        ).run()


@dataclass
class _Loops:
    """The closed loops on all systems."""

    plan: ServingBenchPlan
    floor: Workers
    fused: TritonLoad
    ensemble: TritonLoad
    gateway: Workers
    feast: Workers
    nvtabular: Workers
    way: str  # of NVTabular's two

    def latencies(self, measured: dict[str, MeasuredSystem], own: Settings, say: Say) -> None:
        """One request at a time: every round asks every system everything, the reference its share
        of the requests.
        """
        plan, address = self.plan, home.triton_address(own)
        in_fused = StageTimes(own, lambda: self.fused.run(1, 1))
        with (
            contextlib.closing(ModelTimes(address, [*COMPONENTS, ENSEMBLE])) as of_ensemble,
            contextlib.closing(ModelTimes(address, [FUSED, RECOMMENDER])) as of_fused,
        ):
            calls: dict[str, list[dict[str, dict[str, float]]]] = {"fused": [], "gateway": []}
            for number in range(plan.rounds):
                measured["floor"].add(self.floor.run(1, 1, count=plan.requests))
                measured["ensemble"].add(self.ensemble.run(1, plan.requests))
                for name, loop in (
                    ("fused", lambda: self.fused.run(1, plan.requests)),
                    ("gateway", lambda: self.gateway.run(1, 1, count=plan.requests)),
                ):
                    of_fused.restart()
                    measured[name].add(loop())
                    calls[name].append(of_fused.since())
                first, end = (at * plan.requests // plan.rounds for at in (number, number + 1))
                for workers in (self.feast, self.nvtabular):
                    if end > first:
                        measured["reference"].add(
                            workers.run(1, 1, count=end - first, first=first, way=self.way)
                        )
                say(f"round {number + 1} of {plan.rounds}")
            ensemble = of_ensemble.since()
        serving_report.add_stages(
            measured, REPLACED, REFERENCE_PARTS, plan.requests, in_fused.since(), ensemble, calls
        )

    def throughputs(self, measured: dict[str, MeasuredSystem], say: Say) -> None:
        """Several clients at once; with one, the rate is that of the latencies."""
        for system in measured.values():
            system.rates[1] = len(system.laps) / sum(system.laps)
        stride = max(1, self.plan.requests // max(self.plan.concurrencies))
        for clients in self.plan.concurrencies[1:]:
            parallel = min(clients, os.cpu_count() or 1)
            for name, load in (("fused", self.fused), ("ensemble", self.ensemble)):
                count = round(self.plan.seconds * measured[name].rates[1] * parallel)
                measured[name].rates[clients] = load.run(clients, max(count, 2 * clients)).rate
            measured["gateway"].rates[clients] = self.gateway.run(
                clients, stride, seconds=self.plan.seconds
            ).rate
            floor = self.floor.run(clients, stride, seconds=self.plan.seconds)
            measured["floor"].rates[clients] = floor.rate
            rest = [
                seconds
                for name, laps in floor.parts.items()
                if name not in REPLACED
                for seconds in laps
            ]
            # clients side by side spend `rest` together: so many requests a second would pass these
            # stages alone
            rates = [clients * len(floor.laps) / sum(rest)]
            rates += [
                workers.run(clients, stride, seconds=self.plan.seconds, way=self.way).rate
                for workers in (self.feast, self.nvtabular)
            ]
            measured["reference"].rates[clients] = 1 / sum(1 / rate for rate in rates)
            say(
                f"{clients} clients: "
                + ", ".join(
                    f"{name} {system.rates[clients]:.0f}/s" for name, system in measured.items()
                )
            )


def bench_serving(
    settings: Settings, say: Say, plan: ServingBenchPlan | None = None
) -> dict[str, Any]:
    """Measure the release of a home; returns and writes what ``home/bench/serving.json`` holds.

    Raises:
        BenchFailed: there is no release, a part failed, or two systems gave different lists.
    """
    release = home.release_of(settings)
    workflows = home.workflows_of(settings, release).verify().local
    folder = settings.home / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="serving-") as scratch:
        own = home.own_settings(settings, Path(scratch) / "home")
        report = ServingBench(
            own, release, workflows, plan or ServingBenchPlan(), Path(scratch), say
        ).run()
    write_json(folder / "serving.json", report)
    return report
