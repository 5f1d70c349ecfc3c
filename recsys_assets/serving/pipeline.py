"""The 14 stages in one process, over the same files: the oracle of the Triton ensemble, and the fused model's core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from recsys_assets.artifacts import MANIFEST, verify_directory
from recsys_assets.serving.stage import Stage, Tensors, read_json
from recsys_assets.serving.stages.registry import STAGES, stage_class
from recsys_assets.settings import Settings

#: What the ensemble takes and gives, in the order of its config.pbtxt.
REQUEST = ("user_id", "device_type", "timestamp")
ANSWER = ("ordered_ids", "ordered_scores", "query_release", "ranker_release", "user_degraded", "filter_degraded")


class Pipeline:
    """Runs stages in order; a tensor is known by its name, which only one stage gives.

    Args:
        stages: in an order in which every stage's inputs exist when it runs.
    """

    def __init__(self, stages: Sequence[Stage]):
        known = set(REQUEST)
        for stage in stages:
            missing = [spec.name for spec in stage.inputs if spec.name not in known]
            if missing:
                raise ValueError(f"{stage.name} needs {', '.join(missing)}, which no stage before it gives")
            known.update(spec.name for spec in stage.outputs)
        self.stages = tuple(stages)

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

    def trace(self, inputs: Tensors) -> Tensors:
        """Every tensor of one answer, the inputs among them; see ``run``."""
        tensors = dict(inputs)
        for stage in self.stages:
            arguments = {spec.name: tensors[spec.name] for spec in stage.inputs if spec.name in tensors}
            stage.check_inputs(arguments)
            tensors.update(stage.run(arguments))
        return tensors

    def run(self, inputs: Tensors) -> Tensors:
        """Answer one visitor: the tensors of REQUEST (user_id at least) → those of ANSWER.

        Raises:
            StageInputInvalid: naming a tensor that is missing or of another type or shape.
        """
        tensors = self.trace(inputs)
        return {name: tensors[name] for name in ANSWER}

    def close(self) -> None:
        for stage in self.stages:
            stage.close()
