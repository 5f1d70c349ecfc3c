"""Opens ONNX models and runs them on whole tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_assets.files import FileCorrupt

if TYPE_CHECKING:
    import onnxruntime


def open_model(onnx_path: Path) -> Any:
    """Open an onnxruntime session on all available devices.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    import onnxruntime

    if not onnx_path.is_file():
        raise FileNotFoundError(f"{onnx_path} does not exist; materialise exports/onnx first")
    options = onnxruntime.SessionOptions()
    # spinning threads would double the CPU time and slow other work on the machine
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        str(onnx_path), options, providers=onnxruntime.get_available_providers()
    )


def run_model(session: Any, inputs: Mapping[str, np.ndarray], batch: int = 16_384) -> np.ndarray:
    """Return the model's one output for N rows.

    Args:
        session: of ``open_model``.
        inputs: ONNX input → its rows [N, …]; those that the model does not take are ignored.
        batch: rows per call.

    Raises:
        ValueError: the output holds values that are not finite.
    """
    rows, taken = len(next(iter(inputs.values()))), {one.name for one in session.get_inputs()}
    inputs = {name: values for name, values in inputs.items() if name in taken}
    parts = [
        session.run(None, {name: values[start : start + batch] for name, values in inputs.items()})[
            0
        ]
        for start in range(0, max(rows, 1), batch)
    ]
    answer = np.concatenate(parts)
    if not np.isfinite(answer).all():
        raise ValueError(
            f"{int((~np.isfinite(answer)).sum())} of {answer.size} values of "
            f"{session.get_outputs()[0].name!r} are not finite; the model diverged"
        )
    return answer


def open_session(
    path: Path, inputs: tuple[str, ...], further: tuple[str, ...] = ()
) -> onnxruntime.InferenceSession:
    """Open a session with one thread; two were slower under load.

    Args:
        path: an ONNX file.
        inputs: names of the inputs that it must take.
        further: names of inputs that it may take, all or none.

    Raises:
        FileCorrupt: the file is no ONNX model, or it takes other inputs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors have no common base
        raise FileCorrupt(f"{path} is no ONNX model ({error}); export the model again") from error
    found = tuple(sorted(tensor.name for tensor in session.get_inputs()))
    if found not in (tuple(sorted(inputs)), tuple(sorted((*inputs, *further)))):
        raise FileCorrupt(
            f"{path} takes {found}, not {tuple(sorted(inputs))}; export the model again"
        )
    return session
