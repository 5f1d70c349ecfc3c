"""Test the moved clock in this process and its children. Skipped unless run.py started pytest."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

STARTED = os.environ.get(
    "CLOCK_STARTED_AT"
)  # what the clock must have said when run.py started pytest

pytestmark = pytest.mark.skipif(STARTED is None, reason="no moment is set: make test-clock")


def test_the_clock_is_moved_in_this_process_and_in_its_children():
    child = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        capture_output=True,
        text=True,
        check=True,
    )
    for moment in (time.time(), float(child.stdout)):
        assert 0 <= moment - float(STARTED or 0) < 3_600


def test_waits_end_when_they_should():
    before = time.monotonic()
    time.sleep(0.05)
    assert not threading.Event().wait(0.05)
    with (condition := threading.Condition()):
        assert not condition.wait(0.05)
    assert 0.15 <= time.monotonic() - before < 5
