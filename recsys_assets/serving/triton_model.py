"""Turns a stage into a Triton Python model; imported by the ``model.py`` of each folder of triton_repo.

Runs in Triton's stub interpreter (numpy 1, Python of the serving environment).
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.serving.stage import Stage, StageError, Tensors, TensorSpec
from recsys_assets.serving.stages.registry import stage_class
from recsys_assets.settings import get_settings


def decode_strings(values: np.ndarray) -> np.ndarray:
    r"""Triton's bytes → an object array of str of the same shape; bytes that are no UTF-8 become ``\xNN``.

    Never an error: where one of two steps that run side by side in an ensemble fails, Triton 24.10 may crash as a
    whole (it releases the request under the other step), so a bad id is just that of an unknown visitor.
    """
    decoded = np.empty(values.size, dtype=np.object_)
    decoded[:] = [value.decode(errors="backslashreplace") for value in values.reshape(-1)]
    return decoded.reshape(values.shape)


def encode_strings(values: np.ndarray) -> np.ndarray:
    """An object array of str → of bytes, of the same shape."""
    encoded = np.empty(values.size, dtype=np.object_)
    encoded[:] = [value.encode() for value in values.reshape(-1)]
    return encoded.reshape(values.shape)


def reason(error: Exception) -> str:
    """What a client is told: our own errors in full, of any other its type and message, never a traceback."""
    return str(error) if isinstance(error, StageError) else f"{type(error).__name__}: {error}"


def model_class(name: str) -> type:
    """The ``TritonPythonModel`` that serves one stage."""
    import triton_python_backend_utils as pb_utils  # only the stub has it

    stage_type = stage_class(name)

    def read(request: Any, spec: TensorSpec) -> np.ndarray | None:
        tensor = pb_utils.get_input_tensor_by_name(request, spec.name)
        if tensor is None:
            return None
        values = tensor.as_numpy()
        return decode_strings(values) if spec.dtype == "STRING" else values

    def write(spec: TensorSpec, values: np.ndarray) -> Any:
        if spec.dtype == "STRING":
            values = encode_strings(values)
        return pb_utils.Tensor(spec.name, np.ascontiguousarray(values))

    def answer(stage: Stage, request: Any) -> Any:
        found = {spec.name: read(request, spec) for spec in stage_type.inputs}
        inputs: Tensors = {key: value for key, value in found.items() if value is not None}
        stage_type.check_inputs(inputs)
        outputs = stage.run(inputs)
        return pb_utils.InferenceResponse([write(spec, outputs[spec.name]) for spec in stage_type.outputs])

    class TritonPythonModel:
        """One instance; Triton calls its methods from one thread."""

        stage: Stage

        def initialize(self, args: dict[str, str]) -> None:
            version = args["model_version"]
            try:
                self.stage = stage_type.load(Path(args["model_repository"]) / version, get_settings(), int(version))
            except Exception as error:  # noqa: BLE001 - the process boundary, as in execute
                pb_utils.Logger.log_error(f"{name} {version}: {traceback.format_exc()}")
                raise pb_utils.TritonModelException(f"{name} {version}: {reason(error)}") from None

        def execute(self, requests: list[Any]) -> list[Any]:
            responses = []
            for request in requests:
                try:
                    responses.append(answer(self.stage, request))
                except Exception as error:  # noqa: BLE001 - the process boundary: else the client gets a traceback
                    if not isinstance(error, StageError):
                        pb_utils.Logger.log_error(f"{name}: {traceback.format_exc()}")
                    responses.append(pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{name}: {reason(error)}")))
            return responses

        def finalize(self) -> None:
            self.stage.close()

    return TritonPythonModel
