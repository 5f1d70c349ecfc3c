"""Convert tensors and errors between Triton's Python backend and the stages.

Runs in Triton's stub interpreter (numpy 1, Python of the serving environment), which alone has
``pb_utils``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recsys_assets.serving.stages.stage import FIT_FOR_CLIENTS, Tensors, TensorSpec


def decode_strings(values: np.ndarray) -> np.ndarray:
    r"""Turn Triton's bytes into an object array of str, of the same shape.

    Bytes that are not UTF-8 become ``\xNN`` and never an error: if one of two parallel steps of an
    ensemble fails, Triton 24.10 may crash as a whole (it releases the request under the other
    step). So a bad id is just that of an unknown visitor.
    """
    decoded = np.empty(values.size, dtype=np.object_)
    decoded[:] = [value.decode(errors="backslashreplace") for value in values.reshape(-1)]
    return decoded.reshape(values.shape)


def encode_strings(values: np.ndarray) -> np.ndarray:
    """Turn an object array of str into one of bytes, of the same shape."""
    encoded = np.empty(values.size, dtype=np.object_)
    encoded[:] = [value.encode() for value in values.reshape(-1)]
    return encoded.reshape(values.shape)


def read_tensors(pb_utils: Any, request: Any, specs: Sequence[TensorSpec]) -> Tensors:
    """Return those of the declared tensors that a request has."""
    found: Tensors = {}
    for spec in specs:
        tensor = pb_utils.get_input_tensor_by_name(request, spec.name)
        if tensor is not None:
            values = tensor.as_numpy()
            found[spec.name] = decode_strings(values) if spec.dtype == "STRING" else values
    return found


def write_tensor(pb_utils: Any, spec: TensorSpec, values: np.ndarray) -> Any:
    """Return a tensor for Triton."""
    if spec.dtype == "STRING":
        values = encode_strings(values)
    return pb_utils.Tensor(spec.name, np.ascontiguousarray(values))


def reason(error: Exception) -> str:
    """Return the message for a client, never a traceback.

    Our own errors give their message; other errors give type and message.
    """
    return str(error) if isinstance(error, FIT_FOR_CLIENTS) else f"{type(error).__name__}: {error}"


def answer_all(
    pb_utils: Any,
    name: str,
    requests: Sequence[Any],
    answer: Callable[[Any], Any],
    traceback: Callable[[], str],
) -> list[Any]:
    """Return one response per request; an error fails its own request alone.

    Args:
        pb_utils: of Triton's stub.
        name: of the model, for messages.
        requests: of Triton.
        answer: answers one request.
        traceback: of the present error, for the server's log.
    """
    responses = []
    for request in requests:
        try:
            responses.append(answer(request))
        except Exception as error:  # noqa: BLE001 - the process boundary: else the client gets a traceback
            if not isinstance(error, FIT_FOR_CLIENTS):
                pb_utils.Logger.log_error(f"{name}: {traceback()}")
            responses.append(
                pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{name}: {reason(error)}"))
            )
    return responses
