"""Measure latency and throughput of all systems in closed loops."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from recsys_assets.bench.harness.workers import WorkerLoad, Workers
from recsys_assets.bench.serving import home
from recsys_assets.bench.serving import report as serving_report
from recsys_assets.bench.serving.load import TritonLoad
from recsys_assets.bench.serving.measured import MeasuredSystem, ServingBenchPlan
from recsys_assets.bench.serving.stage_times import ModelTimes, StageTimes
from recsys_assets.lib.release.releases import COMPONENTS
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


@dataclass
class Loops:
    """Runs the closed loops on all systems.

    Attributes:
        way: the faster one of NVTabular's two.
    """

    plan: ServingBenchPlan
    floor: Workers
    fused: TritonLoad
    ensemble: TritonLoad
    gateway: Workers
    feast: Workers
    nvtabular: Workers
    way: str

    def latencies(self, measured: dict[str, MeasuredSystem], own: Settings, say: Say) -> None:
        """Measure one request at a time and fill ``laps``, ``parts`` and ``stages``.

        Every round sends all requests to every system, and to the reference its share of them.
        """
        plan, address = self.plan, home.triton_address(own)
        in_fused = StageTimes(own, lambda: self.fused.run(1, 1))
        with (
            contextlib.closing(ModelTimes(address, [*COMPONENTS, ENSEMBLE])) as of_ensemble,
            contextlib.closing(ModelTimes(address, [FUSED, RECOMMENDER])) as of_fused,
        ):
            loops: dict[str, Callable[[], WorkerLoad]] = {
                "fused": lambda: self.fused.run(1, plan.requests),
                "gateway": lambda: self.gateway.run(1, 1, count=plan.requests),
            }
            calls: dict[str, list[dict[str, dict[str, float]]]] = {"fused": [], "gateway": []}
            for number in range(plan.rounds):
                measured["floor"].add(self.floor.run(1, 1, count=plan.requests))
                measured["ensemble"].add(self.ensemble.run(1, plan.requests))
                for name, loop in loops.items():
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
        """Measure several clients in parallel and fill ``rates``.

        The rate of one client comes from the latencies.
        """
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
            # the clients spend `rest` together: the rate of these stages alone
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
