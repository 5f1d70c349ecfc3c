"""Look up the versions of libraries that can change the content of an artifact.

This module imports only the standard library and stays valid Python 3.10, so that the training
environment can import it. Each environment names its own libraries, so that a library added to one
rebuilds nothing of the other.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from functools import lru_cache


@lru_cache(maxsize=4)
def _installed(libraries: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for name in libraries:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append((name, importlib.metadata.version(name)))
    return tuple(found)


def installed(*libraries: str) -> dict[str, str]:
    """Return library → version of this environment, without importing any.

    A library that is not installed is absent.
    """
    return dict(_installed(libraries))
