"""The 14 stages in one process, over the same files: the core of the fused model, and the oracle of the Triton ensemble."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from recsys_assets.artifacts import MANIFEST, verify_directory
from recsys_assets.serving.answer import ANSWER, REQUEST
from recsys_assets.serving.packing import Layout
from recsys_assets.serving.stage import Stage, Tensors, check_tensors, read_json
from recsys_assets.serving.stages.registry import STAGES, stage_class
from recsys_assets.settings import Settings


class Pipeline:
    """Runs stages in order; a tensor is known by its name, which only one stage gives.

    Args:
        stages: in an order in which every stage's inputs exist when it runs.
    """

    def __init__(self, stages: Sequence[Stage]):
        known = {spec.name for spec in REQUEST}
        for stage in stages:
            missing = [spec.name for spec in stage.inputs if spec.name not in known]
            if missing:
                raise ValueError(f"{stage.name} needs {', '.join(missing)}, which no stage before it gives")
            known.update(spec.name for spec in stage.outputs)
        self.stages = tuple(stages)
        self._steps = [(stage.run, tuple(spec.name for spec in stage.inputs)) for stage in stages]
        #: Of all answers so far, by stage: nanoseconds, and how many there were.
        self.nanoseconds = dict.fromkeys((stage.name for stage in stages), 0)
        self.answers = 0

    @classmethod
    def load(cls, payload: Path, settings: Settings, versions: Mapping[str, int] | None = None) -> Pipeline:
        """Open every stage on a release.

        Args:
            payload: the folder of a ``serving/release`` artifact: ``manifest.json`` and ``models/<model>/<files>``.
            versions: model → version number, which the learned models report; 1 where absent.

        Raises:
            ArtifactCorrupt: a file is missing or differs from the manifest; the message names it.
        """
        verify_directory(payload, read_json(payload / MANIFEST))
        versions = versions or {}
        return cls([stage_class(name).open(payload / "models" / name, settings, versions.get(name, 1))
                    for name in STAGES])

    @classmethod
    def of_repository(cls, root: Path, versions: Mapping[str, int], settings: Settings) -> Pipeline:
        """Open every stage on its version directory of a live model repository; raises StageFileCorrupt."""
        return cls([stage_class(name).load(root / name / str(versions[name]), settings, versions[name]) for name in STAGES])

    def trace(self, inputs: Tensors) -> Tensors:
        """Every tensor of the answers, the inputs among them; see ``run``."""
        check_tensors("the request", REQUEST, inputs)
        tensors = dict(inputs)
        began = time.perf_counter_ns()
        for stage, (run, names) in zip(self.stages, self._steps, strict=True):
            tensors.update(run({name: tensors[name] for name in names if name in tensors}))
            ended = time.perf_counter_ns()
            self.nanoseconds[stage.name] += ended - began
            began = ended
        self.answers += 1
        return tensors

    def run(self, inputs: Tensors) -> Tensors:
        """Answer B visitors: the tensors of REQUEST (user_id at least) → those of ANSWER.

        Raises:
            StageInputInvalid: naming a tensor that is missing or of another type or shape.
        """
        tensors = self.trace(inputs)
        return {spec.name: tensors[spec.name] for spec in ANSWER}

    def timed(self, inputs: Tensors) -> tuple[Tensors, dict[str, float]]:
        """``run``, and the seconds that each stage took."""
        before = dict(self.nanoseconds)
        answer = self.run(inputs)
        return answer, {name: (spent - before[name]) / 1e9 for name, spent in self.nanoseconds.items()}

    def close(self) -> None:
        for stage in self.stages:
            stage.close()


@lru_cache(maxsize=1)
def trace_layout() -> Layout:
    """Of a trace: what every stage gave, but for what the answer says itself."""
    said = {spec.name for spec in ANSWER}
    return Layout([spec for name in STAGES for spec in stage_class(name).outputs if spec.name not in said])
