"""Turn a stage into a Triton Python model.

The ``model.py`` of each folder of triton_repo imports this module. Runs in Triton's stub
interpreter (numpy 1, Python of the serving environment).
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from recsys_assets.serving.stages.registry import stage_class
from recsys_assets.serving.stages.stage import Stage, StageInputInvalid, Tensors
from recsys_assets.serving.triton import wiring
from recsys_assets.serving.triton.triton_tensors import (
    answer_all,
    read_tensors,
    reason,
    write_tensor,
)
from recsys_assets.settings import get_settings


def model_class(name: str) -> type:
    """Return the ``TritonPythonModel`` that serves one stage."""
    import triton_python_backend_utils as pb_utils  # only the stub has it

    stage_type, plain = stage_class(name), wiring.gives_plain(name)
    wire_inputs, wire_outputs = wiring.wire_inputs(name), wiring.wire_outputs(name)

    def answer(stage: Stage, request: Any) -> Any:
        """Answer one request."""
        outputs = stage.run(_stage_inputs(stage, read_tensors(pb_utils, request, wire_inputs)))
        if not plain:
            outputs = {name: wiring.layout(name).pack(outputs)}
        return pb_utils.InferenceResponse(
            [write_tensor(pb_utils, spec, outputs[spec.name]) for spec in wire_outputs]
        )

    class TritonPythonModel:
        """One instance; Triton calls its methods from one thread."""

        stage: Stage

        def initialize(self, args: dict[str, str]) -> None:
            """Open the stage; Triton gets an error without a traceback."""
            version = args["model_version"]
            try:
                self.stage = stage_type.load(
                    Path(args["model_repository"]) / version, get_settings(), int(version)
                )
            except Exception as error:  # noqa: BLE001 - the process boundary, as in execute
                pb_utils.Logger.log_error(f"{name} {version}: {traceback.format_exc()}")
                raise pb_utils.TritonModelException(f"{name} {version}: {reason(error)}") from None

        def execute(self, requests: list[Any]) -> list[Any]:
            """Return one response per request."""
            return answer_all(
                pb_utils,
                name,
                requests,
                lambda request: answer(self.stage, request),
                traceback.format_exc,
            )

        def finalize(self) -> None:
            """Close the stage."""
            self.stage.close()

    return TritonPythonModel


def _stage_inputs(stage: Stage, given: Tensors) -> Tensors:
    """Return the inputs of a stage from the tensors on the wire.

    Raises:
        StageInputInvalid: a tensor is missing or invalid.
    """
    name = stage.name
    if wiring.takes_plain(name):
        stage.check_inputs(given)
        return given
    inputs: Tensors = {}
    for source, wanted in wiring.sources(name).items():
        if source not in given:
            raise StageInputInvalid(f"{name} needs the tensor {source}")
        unpacked = wiring.layout(source).unpack(given[source], wanted)
        inputs.update((tensor, unpacked[tensor]) for tensor in wanted)
    return inputs
