"""Run the 15 stages in one process, over the same files as Triton's models.

This is the core of the fused model, and the oracle of the Triton ensemble.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.artifacts import MANIFEST, verify_directory
from recsys_assets.files import read_json
from recsys_assets.release_files import MODELS
from recsys_assets.serving.stages.answer import ANSWER, REQUEST
from recsys_assets.serving.stages.packing import Layout
from recsys_assets.serving.stages.registry import STAGES, stage_class
from recsys_assets.serving.stages.stage import Stage, Tensors, TwoPartStage, check_tensors
from recsys_assets.settings import Settings


class Pipeline:
    """Runs stages in order. A tensor is known by its name, which one stage gives.

    Args:
        stages: in an order in which every stage's inputs exist when it runs.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        known = {spec.name for spec in REQUEST}
        for stage in stages:
            missing = [spec.name for spec in stage.inputs if spec.name not in known]
            if missing:
                raise ValueError(
                    f"{stage.name} needs {', '.join(missing)}, which no stage before it gives"
                )
            known.update(spec.name for spec in stage.outputs)
        self.stages = tuple(stages)
        self._steps = _steps(stages)
        #: Nanoseconds per stage, and the number of answers so far.
        self.nanoseconds = dict.fromkeys((stage.name for stage in stages), 0)
        self.answers = 0

    @classmethod
    def load(
        cls, payload: Path, settings: Settings, versions: Mapping[str, int] | None = None
    ) -> Pipeline:
        """Open every stage on a release.

        Args:
            payload: the folder of a ``serving/release`` artifact: ``manifest.json`` and
                ``models/<model>/<files>``.
            settings: of the home.
            versions: model → version number, which the learned models report; 1 where absent.

        Raises:
            ArtifactCorrupt: a file is missing or differs from the manifest; the message names it.
        """
        verify_directory(payload, read_json(payload / MANIFEST))
        versions = versions or {}
        return cls(
            [
                stage_class(name).open(payload / MODELS / name, settings, versions.get(name, 1))
                for name in STAGES
            ]
        )

    @classmethod
    def of_repository(cls, root: Path, versions: Mapping[str, int], settings: Settings) -> Pipeline:
        """Open every stage on its version directory of a live model repository.

        Raises:
            FileCorrupt: a file is missing, not listed or changed.
        """
        return cls(
            [
                stage_class(name).load(root / name / str(versions[name]), settings, versions[name])
                for name in STAGES
            ]
        )

    def trace(self, inputs: Tensors) -> Tensors:
        """Return every tensor of the answers, inputs included; see ``run``."""
        check_tensors("the request", REQUEST, inputs)
        tensors, waiting, nanoseconds = dict(inputs), {}, self.nanoseconds
        began = time.perf_counter_ns()
        try:
            for name, step, half in self._steps:
                if half is _Half.BEGIN:
                    waiting[name] = step(tensors)
                elif half is _Half.FINISH:
                    tensors.update(step(tensors, waiting[name]))
                else:
                    tensors.update(step(tensors))
                ended = time.perf_counter_ns()
                nanoseconds[name] += ended - began
                began = ended
        finally:
            # replies to a request that failed must not reach another request
            for begun in waiting.values():
                begun.drop()
        self.answers += 1
        return tensors

    def run(self, inputs: Tensors) -> Tensors:
        """Answer B visitors: the tensors of REQUEST (user_id at least) → those of ANSWER.

        Raises:
            StageInputInvalid: naming a tensor that is missing or of another type or shape.
        """
        tensors = self.trace(inputs)
        return {spec.name: tensors[spec.name] for spec in ANSWER}

    def explained(self, tensors: Tensors) -> Tensors:
        """Return what ``trace`` returned, with what the stages explain.

        It is computed here, so that an answer that nobody explains does not pay for it. A thread
        asks for its latest answer alone.
        """
        return tensors | {
            name: values for stage in self.stages for name, values in stage.explain(tensors).items()
        }

    def packed_trace(self, tensors: Tensors) -> np.ndarray:
        """Pack what ``explained`` returns → uint8 [n]."""
        return trace_layout().pack(self.explained(tensors))

    def timed(self, inputs: Tensors) -> tuple[Tensors, dict[str, float]]:
        """Return the answer of ``run``, and the seconds that each stage took."""
        before = dict(self.nanoseconds)
        answer = self.run(inputs)
        return answer, {
            name: (spent - before[name]) / 1e9 for name, spent in self.nanoseconds.items()
        }

    def close(self) -> None:
        """Close every stage."""
        for stage in self.stages:
            stage.close()


class _Half(Enum):
    """The half of a stage of two parts."""

    BEGIN, FINISH = range(2)


def _steps(stages: Sequence[Stage]) -> list[tuple[str, Callable[..., Any], _Half | None]]:
    """Return the calls of an answer in order; each takes all tensors so far.

    Waiting stages begin as soon as they can and finish as late as they can: a stage of two parts
    comes after all later stages that do not need its outputs.
    """
    order = list(stages)
    for stage in stages:
        if isinstance(stage, TwoPartStage):
            after: list[Stage] = [stage]
            given = {spec.name for spec in stage.outputs}
            before = order[: order.index(stage)]
            for later in order[len(before) + 1 :]:
                needs = not given.isdisjoint(spec.name for spec in later.inputs)
                (after if needs else before).append(later)
                given.update(spec.name for spec in later.outputs if needs)
            order = before + after
    steps: list[tuple[str, Callable[..., Any], _Half | None]] = []
    known = {spec.name for spec in REQUEST}
    to_begin = [stage for stage in order if isinstance(stage, TwoPartStage)]

    def begin() -> None:
        """Add the first half of each stage whose inputs are known now."""
        for stage in [
            stage for stage in to_begin if known.issuperset(spec.name for spec in stage.begins_with)
        ]:
            steps.append((stage.name, stage.begin, _Half.BEGIN))
            to_begin.remove(stage)

    begin()
    for stage in order:
        steps.append(
            (stage.name, stage.finish, _Half.FINISH)
            if isinstance(stage, TwoPartStage)
            else (stage.name, stage.run, None)
        )
        known.update(spec.name for spec in stage.outputs)
        begin()
    return steps


@lru_cache(maxsize=1)
def trace_layout() -> Layout:
    """Return the layout of a trace: what is not part of the answer, and the explanations."""
    answered = {spec.name for spec in ANSWER}
    kinds = [stage_class(name) for name in STAGES]
    return Layout(
        [
            spec
            for kind in kinds
            for spec in (*kind.outputs, *kind.explains)
            if spec.name not in answered
        ]
    )
