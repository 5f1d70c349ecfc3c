"""Versions of the libraries that decide what an artifact of the platform's environment contains."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from functools import lru_cache

#: Distributions that are looked for; those of training steps are in ``training/step.py``.
LIBRARIES = ("polars", "numpy", "pyarrow", "scipy", "implicit", "torch", "sentence-transformers", "open-clip-torch", "pillow",
             "faiss-cpu", "onnxruntime", "duckdb")


@lru_cache(maxsize=1)
def _installed() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append((name, importlib.metadata.version(name)))
    return tuple(found)


def installed() -> dict[str, str]:
    """Return library → version of this environment, without importing any; a library that is not installed is absent."""
    return dict(_installed())
