"""A training step whose interpreter cannot end well, or which crashes before its result."""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from dataclasses import dataclass

from recsys_assets.training.step import Step, run


@dataclass(frozen=True)
class Params:
    """
    Attributes:
        how: ``exit_handlers``: Python's and C's exit handlers abort; ``thread``: a thread never ends;
            ``abort``, ``exit``: the process ends before the result, by SIGABRT or with status 0.
    """

    how: str


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
    step.report(rows=1)


if __name__ == "__main__":
    run(body, Params)
