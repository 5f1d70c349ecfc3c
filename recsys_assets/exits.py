"""End a process with the exit status of its work, without running exit handlers.

TensorFlow, Arrow, DuckDB and dask leave threads and static objects behind. At interpreter exit, a
daemon thread that requests the GIL is unwound through C++ frames that forbid it. The process then
dies with ``terminate called without an active exception``, and finished work counts as failed.
Other libraries print leak reports at that moment. Every program of this project that imports one of
them ends with ``leave``. Standard library only: all environments use this module.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


def leave(status: int = 0) -> NoReturn:
    """Flush the standard streams and end this process without running exit handlers."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the stream is closed, or its reader is
            stream.flush()
    os._exit(status)


def run_and_leave(body: Callable[[], object]) -> NoReturn:
    """Run the body of a program and end the process with its exit status.

    The status is 0 if the body returns, its own at ``sys.exit``, and 1 if it raises.
    """
    try:
        body()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        leave(end.code if isinstance(end.code, int) else int(end.code is not None))
    except BaseException:  # noqa: BLE001 - as the interpreter's own last handler
        traceback.print_exc()
        leave(1)
    leave(0)


def sync_folder(folder: Path) -> None:
    """Flush a folder, its files and its subfolders to disk (fsync).

    Data that a process reports as written must survive a crash of the machine.
    """
    for path in [*folder.rglob("*"), folder]:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
