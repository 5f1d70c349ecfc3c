"""Read from Triton where the time of an answer goes.

The server counts the time of each model, and the fused model the time of its stages.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tritonclient.grpc as grpcclient
from prometheus_client.parser import text_string_to_metric_families

from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.serving.triton.fused_model import REPORT_SECONDS
from recsys_assets.settings import Settings

PHASES = ("queue", "compute_input", "compute_infer", "compute_output")
STAGE_MICROSECONDS, ANSWERS = "recsys_stage_microseconds", "recsys_answers"
_POLL_SECONDS = 0.2


class ModelTimes:
    """Mean milliseconds of Triton's models between two moments.

    They come from Triton's statistics, which hold only sums.
    """

    def __init__(self, address: str, models: Sequence[str]) -> None:
        self._models = tuple(models)
        self._client = grpcclient.InferenceServerClient(address)
        self._before = self._read()

    def close(self) -> None:
        """Close the connection to Triton."""
        self._client.close()

    def restart(self) -> None:
        """Start a new measurement now."""
        self._before = self._read()

    def since(self) -> dict[str, dict[str, float]]:
        """Return the milliseconds per request since the start, by model and phase.

        Returns:
            Model → {"queue", "compute_input", "compute_infer", "compute_output", "total"}.
        """
        found = {}
        for model, after in self._read().items():
            spent = {name: after[name] - self._before[model][name] for name in after}
            count = spent.pop("count")
            if count:
                found[model] = {
                    name: round(nanoseconds / count / 1e6, 4) for name, nanoseconds in spent.items()
                }
        return found

    def _read(self) -> dict[str, dict[str, int]]:
        found = {}
        for model in self._models:
            of_versions = [
                _counters(version)
                for version in self._client.get_inference_statistics(model, as_json=True)[
                    "model_stats"
                ]
            ]
            found[model] = {name: sum(one[name] for one in of_versions) for name in of_versions[0]}
        return found


def _counters(version: Mapping[str, Any]) -> dict[str, int]:
    """Return nanoseconds by phase and the number of requests.

    A field that protobuf's JSON leaves out is zero.
    """
    stats = version.get("inference_stats", {})
    return {
        **{phase: int(stats.get(phase, {}).get("ns", 0)) for phase in PHASES},
        "total": int(stats.get("success", {}).get("ns", 0)),
        "count": int(stats.get("success", {}).get("count", 0)),
    }


class StageTimes:
    """Mean milliseconds of the fused model's stages between two moments.

    They come from the model's own clock, through Triton's metrics.

    Args:
        settings: of the home.
        ask: sends one request; the model updates its metrics with an answer, every few seconds.
    """

    def __init__(self, settings: Settings, ask: Callable[[], object]) -> None:
        self._url, self._ask = (
            f"http://{settings.triton_host}:{settings.triton_metrics_port}/metrics",
            ask,
        )
        self._before = self._fresh()

    def since(self) -> dict[str, float]:
        """Return ``<stage>_ms`` → milliseconds per answer since the start."""
        after = self._fresh()
        answers = after[ANSWERS] - self._before[ANSWERS]
        return {
            f"{stage}_ms": round((spent - self._before.get(stage, 0.0)) / answers / 1e3, 4)
            for stage, spent in after.items()
            if stage != ANSWERS
        }

    def _fresh(self) -> dict[str, float]:
        """Return the metrics after all requests so far.

        Raises:
            BenchFailed: the model updates no metrics.
        """
        stale, limit = self._read().get(ANSWERS, 0.0), time.monotonic() + 4 * REPORT_SECONDS
        while time.monotonic() < limit:
            self._ask()
            found = self._read()
            if found.get(ANSWERS, 0.0) > stale:
                return found
            time.sleep(_POLL_SECONDS)
        raise BenchFailed(f"{self._url} does not count the answers of the fused model")

    def _read(self) -> dict[str, float]:
        with urllib.request.urlopen(self._url, timeout=10) as answer:
            text = answer.read().decode()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = (
                    sample.labels.get("stage")
                    if family.name == STAGE_MICROSECONDS
                    else ANSWERS
                    if family.name == ANSWERS
                    else None
                )
                if name is not None:
                    found[name] = found.get(name, 0.0) + sample.value
        return found
