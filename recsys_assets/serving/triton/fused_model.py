"""Serve all stages as one Triton Python model, which answers in one hop.

Its version directory names the component version directories beside it (``parts.json``), so that it
serves the very files that the thin models serve. Runs in Triton's stub interpreter.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from recsys_assets.files import FileCorrupt, read_json
from recsys_assets.release_files import PARTS
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.answer import ANSWER, DEGRADED, REQUEST, TRACE, Degraded
from recsys_assets.serving.stages.pipeline import Pipeline
from recsys_assets.serving.stages.registry import STAGES
from recsys_assets.serving.stages.stage import Tensors, verify_files
from recsys_assets.serving.triton.triton_tensors import (
    answer_all,
    read_tensors,
    reason,
    write_tensor,
)
from recsys_assets.settings import get_settings

FUSED = "fused_model"
TRACE_SPEC = t.TRACE
#: Seconds between two reports of the figures: each figure is a message to the server, some 50 µs.
REPORT_SECONDS = 5.0


def read_parts(directory: Path) -> dict[str, int]:
    """Return component → version of a version directory, which is verified first.

    Raises:
        FileCorrupt: ``parts.json`` is missing, changed or incomplete.
    """
    verify_files(directory, [PARTS])
    content = read_json(directory / PARTS)
    versions = content.get("versions") if isinstance(content, dict) else None
    if (
        not isinstance(versions, dict)
        or set(versions) != set(STAGES)
        or not all(type(v) is int and v > 0 for v in versions.values())
    ):
        raise FileCorrupt(
            f"{directory / PARTS} must give each of the {len(STAGES)} stages a version; publish "
            "the release again"
        )
    return versions


class Figures:
    """Reports the fused model's figures to Triton's metrics.

    Args:
        pb_utils: of Triton's stub.
        pipeline: whose times and answers are reported.
        labels: of every figure. Two versions, or two instances of one, must not share a series.
    """

    def __init__(self, pb_utils: Any, pipeline: Pipeline, labels: dict[str, str]) -> None:
        self._pb_utils, self._pipeline, self._labels = pb_utils, pipeline, labels
        self._families: dict[str, Any] = {}
        self._metrics: dict[tuple[str, str], Any] = {}
        self._told: Counter[tuple[str, str]] = Counter()
        self._degraded: Counter[str] = Counter()
        self._next = 0.0

    def count(self, answer: Tensors) -> None:
        """Count the degraded visitors of an answer."""
        for bits in answer[t.ANSWER_INFO.name][:, DEGRADED].tolist():
            if bits:
                self._degraded.update(Degraded(bits).reasons)

    def report(self, *, force: bool = False) -> None:
        """Report all figures, at most every REPORT_SECONDS unless forced."""
        now = time.monotonic()
        if now < self._next and not force:
            return
        self._next = now + REPORT_SECONDS
        for name, spent in self._pipeline.nanoseconds.items():
            self._add(
                "recsys_stage_microseconds_total",
                "Time spent in a stage.",
                "stage",
                name,
                spent // 1000,
            )
        self._add(
            "recsys_answers_total",
            "Requests answered by the fused model.",
            "model",
            FUSED,
            self._pipeline.answers,
        )
        for text in Degraded(~0).reasons:
            self._add(
                "recsys_degraded_total",
                "Visitors with a degraded answer, by the part that failed.",
                "reason",
                text,
                self._degraded[text],
            )
        for stage in self._pipeline.stages:
            for gauge, (text, value) in stage.gauges().items():
                self._set(gauge, text, value)

    def _metric(self, name: str, text: str, kind: Any, label: str, value: str) -> Any:
        """Return the metric of one label value; make it at the first call."""
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = self._pb_utils.MetricFamily(
                name=name, description=text, kind=kind
            )
        found = self._metrics.get((name, value))
        if found is None:
            found = self._metrics[name, value] = family.Metric(
                labels={**self._labels, label: value}
            )
        return found

    def _add(self, name: str, text: str, label: str, value: str, total: int) -> None:
        """Raise a counter to its total."""
        metric = self._metric(name, text, self._pb_utils.MetricFamily.COUNTER, label, value)
        grown = total - self._told[name, value]
        if grown:
            metric.increment(grown)
            self._told[name, value] = total

    def _set(self, name: str, text: str, value: float) -> None:
        """Set a gauge."""
        self._metric(name, text, self._pb_utils.MetricFamily.GAUGE, "model", FUSED).set(value)


def fused_class() -> type:
    """Return the ``TritonPythonModel`` that serves whole releases."""
    import triton_python_backend_utils as pb_utils  # only the stub has it

    class TritonPythonModel:
        """One instance; Triton calls its methods from one thread."""

        pipeline: Pipeline
        figures: Figures

        def initialize(self, args: dict[str, str]) -> None:
            """Open the stages; Triton gets an error without a traceback."""
            version, root = args["model_version"], Path(args["model_repository"])
            try:
                versions = read_parts(root / version)
                self.pipeline = Pipeline.of_repository(root.parent, versions, get_settings())
            except Exception as error:  # noqa: BLE001 - the process boundary, as in execute
                pb_utils.Logger.log_error(f"{FUSED} {version}: {traceback.format_exc()}")
                raise pb_utils.TritonModelException(f"{FUSED} {version}: {reason(error)}") from None
            gc.collect()
            # keep the collector from scanning the loaded tables during a request
            gc.freeze()
            self.figures = Figures(
                pb_utils,
                self.pipeline,
                {"version": version, "instance": args["model_instance_name"]},
            )

        def execute(self, requests: list[Any]) -> list[Any]:
            """Return one response per request."""
            responses = answer_all(pb_utils, FUSED, requests, self._answer, traceback.format_exc)
            self.figures.report()
            return responses

        def _answer(self, request: Any) -> Any:
            """Answer one request, with its trace if it is wanted."""
            tensors = self.pipeline.trace(read_tensors(pb_utils, request, REQUEST))
            self.figures.count(tensors)
            written = [write_tensor(pb_utils, spec, tensors[spec.name]) for spec in ANSWER]
            if TRACE in request.requested_output_names():
                written.append(
                    write_tensor(pb_utils, TRACE_SPEC, self.pipeline.packed_trace(tensors))
                )
            return pb_utils.InferenceResponse(written)

        def finalize(self) -> None:
            """Close the stages."""
            self.pipeline.close()

    return TritonPythonModel
