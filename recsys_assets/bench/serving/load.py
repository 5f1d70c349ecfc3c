"""Run closed loops on Triton with perf_analyzer, or else with tritonclient.

perf_analyzer is the binary in tritonclient's wheel. Two libraries that it loads have other names in
the server's wheel, so it receives a folder of links. Its own throughput counts whole seconds, and
its percentiles cannot be joined over several rounds. So both are computed from the times of each
request, which it exports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.harness.requests import Request, write_perf_analyzer
from recsys_assets.bench.harness.workers import WorkerLoad, Workers
from recsys_assets.bench.serving.home import other_environment
from recsys_assets.settings import Settings

PERF_ANALYZER, TRITONCLIENT = "perf_analyzer", "tritonclient"
#: Name that the binary loads → name of the file in the server's wheel.
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
LIMIT = 600.0


class PerfAnalyzer:
    """The perf_analyzer of the serving environment, with its libraries.

    Args:
        settings: of the serving environment.
        folder: for the links and the reports.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        environment = settings.serving_python.parent.parent
        self.binary, self.folder, self.links = (
            environment / "bin" / PERF_ANALYZER,
            folder,
            folder / "perf_analyzer_libraries",
        )
        self.links.mkdir(exist_ok=True)
        for name, pattern in LIBRARIES.items():
            for source in sorted(
                environment.glob(f"lib/python*/site-packages/nvidia_pytriton.libs/{pattern}")
            )[:1]:
                (self.links / name).unlink(missing_ok=True)
                (self.links / name).symlink_to(source)

    def fault(self) -> str | None:
        """Return why it does not run here; None if it runs."""
        try:
            self._run(["--version"])
        except (OSError, BenchFailed) as error:
            return str(error)
        return None

    def measure(self, address: str, model: str, data: Path, clients: int, count: int) -> WorkerLoad:
        """Send ``count`` requests over gRPC from ``clients`` threads.

        Each thread has one request in flight.

        Raises:
            BenchFailed: it failed, or a request has no answer.
        """
        report = self.folder / "perf_analyzer.json"
        report.unlink(missing_ok=True)
        self._run(
            [
                "-m",
                model,
                "-u",
                address,
                "-i",
                "grpc",
                "--sync",
                "--input-data",
                str(data),
                "--concurrency-range",
                str(clients),
                "--request-count",
                str(count),
                "--profile-export-file",
                str(report),
            ]
        )
        requests = json.loads(report.read_text())["experiments"][0]["requests"]
        unanswered = sum(not request["response_timestamps"] for request in requests)
        if unanswered or len(requests) < count:
            raise BenchFailed(
                f"perf_analyzer: {len(requests) - unanswered} of {count} requests to {model} were "
                "answered"
            )
        spans = [(request["timestamp"], request["response_timestamps"][-1]) for request in requests]
        elapsed = (max(end for _, end in spans) - min(start for start, _ in spans)) / 1e9
        return WorkerLoad([(end - start) / 1e9 for start, end in spans], len(spans) / elapsed)

    def _run(self, arguments: Sequence[str]) -> None:
        done = subprocess.run(
            [str(self.binary), *arguments],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            cwd=self.folder,
            env={**os.environ, "LD_LIBRARY_PATH": str(self.links)},
        )
        if done.returncode:
            raise BenchFailed(
                f"perf_analyzer ended with code {done.returncode}: "
                f"{(done.stdout + done.stderr)[-2000:]}"
            )


class TritonLoad:
    """Runs closed loops on one model of one Triton.

    Args:
        address: host:port of Triton's gRPC.
        model: to ask.
        analyzer: None where it does not run; then ``most`` processes of ``harness.client`` send the
            requests.
        requests: to send.
        settings: of the home.
        most: largest number of clients.
        folder: for requests and reports.
    """

    def __init__(
        self,
        address: str,
        model: str,
        analyzer: PerfAnalyzer | None,
        requests: list[Request],
        settings: Settings,
        most: int,
        folder: Path,
    ) -> None:
        self._address, self._model, self._analyzer, self._stride = (
            address,
            model,
            analyzer,
            max(1, len(requests) // most),
        )
        self.client = PERF_ANALYZER if analyzer else TRITONCLIENT
        self._asking: Path | Workers  # input of the analyzer, or the processes in its place
        if analyzer:
            self._asking = write_perf_analyzer(requests, folder / "perf_analyzer_input.json")
        else:
            self._asking = Workers(
                f"client-{model}-{address.rsplit(':', 1)[1]}",
                sys.executable,
                "recsys_assets.bench.harness.client",
                {"address": address, "model": model, "requests": requests},
                most,
                other_environment(settings),
                folder,
            ).ready()

    def run(self, clients: int, count: int) -> WorkerLoad:
        """Send about ``count`` requests in all, at least four per client.

        With one client the number is exact, and the first request comes first.
        """
        # perf_analyzer fails on a single request
        count = max(count, 4 * clients)
        if isinstance(self._asking, Workers):
            return self._asking.run(clients, self._stride, count=-(-count // clients))
        assert self._analyzer is not None
        return self._analyzer.measure(self._address, self._model, self._asking, clients, count)

    def close(self) -> None:
        """End the client processes, if any."""
        if isinstance(self._asking, Workers):
            self._asking.close()
