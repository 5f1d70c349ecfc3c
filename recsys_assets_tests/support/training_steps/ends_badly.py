"""Run a training step whose interpreter aborts at exit, or that crashes before its result."""

from __future__ import annotations

import atexit
import ctypes
import io
import os
import threading
import time
from dataclasses import dataclass

from recsys_assets.training.step import Step, run


@dataclass(frozen=True)
class Params:
    """
    Attributes:
        how: ``exit_handlers``: Python's and C's exit handlers abort; ``thread``: a thread never
            ends; ``arrow``: a thread of Arrow's pool reads through a Python object; ``abort``,
            ``exit``: the process ends before the result, by SIGABRT or with status 0.
    """

    how: str


def read_slowly_by_arrow() -> None:
    """Leave a thread of Arrow's pool inside a Python call; it asks for the GIL when the interpreter
    is ending, and aborts it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file, started = io.BytesIO(), threading.Event()
    pq.write_table(pa.table({"number": list(range(100_000))}), file)

    class Slow(io.BytesIO):
        def read(self, *size: int) -> bytes:
            if threading.current_thread().name.startswith(
                "Dummy"
            ):  # not a thread that Python started
                started.set()
                time.sleep(0.5)
            return super().read(*size)

    slow = Slow(file.getvalue())
    threading.Thread(target=lambda: pq.read_table(slow, pre_buffer=True), daemon=True).start()
    assert started.wait(10)


def body(step: Step[Params]) -> None:
    (step.output / "done.txt").write_text("done")
    if step.params.how == "abort":
        os.abort()
    if step.params.how == "exit":
        os._exit(0)
    if step.params.how == "thread":
        threading.Thread(target=threading.Event().wait).start()
    if step.params.how == "exit_handlers":
        atexit.register(os.abort)
        libc = ctypes.CDLL(None)
        libc.on_exit(libc.abort, None)
    if step.params.how == "arrow":
        read_slowly_by_arrow()
    step.report(rows=1)


if __name__ == "__main__":
    run(body, Params)
