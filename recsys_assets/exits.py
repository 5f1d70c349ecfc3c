"""End a process by its result, not by what its libraries do at the interpreter's exit.

TensorFlow, Arrow, DuckDB and dask leave threads and static objects behind. While the interpreter
ends, a daemon thread that asks for the GIL is unwound through C++ frames that forbid it, and the
process dies with ``terminate called without an active exception``: work that is done then counts as
failed. Other libraries print leak reports at that moment. Every program of this project that
imports one of them ends by ``leave``. Standard library only: all environments use it.
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
    """Flush the standard streams and end this process at once with an exit status, past every exit
    handler.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or its reader is gone
            stream.flush()
    os._exit(status)


def run_and_leave(body: Callable[[], object]) -> NoReturn:
    """Run a program's body and end the process: 0 where it returns, its own status at sys.exit, 1
    where it raises.
    """
    try:
        body()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        leave(end.code if isinstance(end.code, int) else int(end.code is not None))
    except BaseException:  # noqa: BLE001 - the interpreter's own last handler does the same
        traceback.print_exc()
        leave(1)
    leave(0)


def sync_folder(folder: Path) -> None:
    """Force every file below a folder, and the folders themselves, to the disk.

    What a process reports as written must outlive a crash of the machine in the next second.
    """
    for path in [*folder.rglob("*"), folder]:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
