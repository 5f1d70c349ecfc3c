"""Makes torch, torchvision and open_clip importable together on a machine without CUDA, and
repeatable.

Import this module's function inside the step that needs torch, never at the top of an asset's
module: torch alone takes seconds and hundreds of megabytes.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

#: torchvision has no CPU build on the package index. The CUDA build's Python code runs without its
#: extension, but it declares shapes for these two operators at import, and fails when nobody has
#: defined them.
_MISSING_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@lru_cache(maxsize=1)
def _register_operators() -> Any:
    """Define torchvision's operators where its extension does not load.

    The result must stay referenced: torch forgets the definitions when the library object is
    collected.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    try:  # with a GPU build of both, the extension defines the operators itself
        torch.ops.load_library(str(Path(spec.origin).with_name("_C.so")))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in _MISSING_OPERATORS:
            library.define(operator)
        return library
    return None


def prepare_torch(seed: int | None = None, threads: int | None = None) -> Any:
    """Return the torch module, ready for torchvision, transformers and open_clip to be imported
    after it.

    Args:
        seed: of torch's generators; None leaves them.
        threads: of one operator; None keeps torch's own choice (OMP_NUM_THREADS, or the machine's
            cores).
    """
    import torch

    _register_operators()
    if seed is not None:
        torch.manual_seed(seed)
    if threads is not None:
        torch.set_num_threads(threads)
    return torch
