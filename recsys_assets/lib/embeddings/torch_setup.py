"""Prepare torch so that torchvision and open_clip can be imported without CUDA.

Import torch inside the step that needs it, never at the top of an asset's module: it takes seconds
and hundreds of megabytes.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

#: torchvision has no CPU build on the package index. The CUDA build's Python code runs without its
#: extension, but its import declares shapes for these two operators and fails if they are not
#: defined.
_MISSING_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@lru_cache(maxsize=1)
def _register_operators() -> Any:
    """Define torchvision's operators if its extension does not load.

    The result must stay referenced: torch drops the definitions when the library object is
    collected.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    ops: Any = torch.ops  # untyped, as torch.library
    libraries: Any = torch.library
    try:  # with a GPU build of both, the extension defines the operators itself
        ops.load_library(str(Path(spec.origin).with_name("_C.so")))
    except OSError:
        library = libraries.Library("torchvision", "DEF")
        for operator in _MISSING_OPERATORS:
            library.define(operator)
        return library
    return None


def prepare_torch(seed: int | None = None, threads: int | None = None) -> Any:
    """Return torch, so that torchvision, transformers and open_clip can be imported.

    Args:
        seed: seed of torch's generators; None does not set it.
        threads: threads per operator; None keeps torch's default (OMP_NUM_THREADS, or the machine's
            cores).
    """
    import torch

    _register_operators()
    if seed is not None:
        torch.manual_seed(seed)
    if threads is not None:
        torch.set_num_threads(threads)
    return torch
