"""A file that promotions replace while it is being read from: its content, read again when another
file lies in its place.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class LiveFile(Generic[T]):
    """Content of the file that lies at a path now.

    Args:
        read: of the path; what it raises goes to the caller, and the next call tries again.
        empty: the content until there is a file.
    """

    def __init__(self, path: Path, read: Callable[[Path], T], empty: T):
        self.path, self._read, self._content = path, read, empty
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None

    @property
    def was_read(self) -> bool:
        """Whether there ever was a file."""
        return self._stamp is not None

    def current(self) -> T:
        """The content; a moment without the file takes nothing away."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return self._content
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            with self._lock:
                if stamp != self._stamp:
                    self._content, self._stamp = self._read(self.path), stamp
        return self._content
