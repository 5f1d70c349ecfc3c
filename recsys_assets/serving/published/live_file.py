"""Read a file again when a promotion has replaced it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class LiveFile(Generic[T]):
    """The content of the file that is at a path now.

    Args:
        path: of the file, which is replaced by a rename.
        read: reads the path. Its errors go to the caller, and the next call tries again.
        empty: the content until the file exists.
    """

    def __init__(self, path: Path, read: Callable[[Path], T], empty: T) -> None:
        self.path, self._read, self._content = path, read, empty
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None

    @property
    def was_read(self) -> bool:
        """Return whether a file was ever read."""
        return self._stamp is not None

    def current(self) -> T:
        """Return the content; while the file is missing, the content that was read last."""
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
