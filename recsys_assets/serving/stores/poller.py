"""Refresh state in a background thread, so that no visitor waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from recsys_assets.serving.stores.connections import StoreUnavailable

LOG = logging.getLogger(__name__)

SECONDS = 1.0
CLOSE_SECONDS = 5.0
#: No request waits for a poll, so it may take longer than a request's read. The limit ends a call
#: to a store that hangs.
TIMEOUT_MS = 1_000
#: Waits for some seconds. Returns True if the poller is being closed: end early.
Pause = Callable[[float], bool]


class Poller:
    """Calls ``work`` at intervals until closed; a failed call does not end it.

    Args:
        name: of the thread, and in the log.
        work: takes a ``Pause``, for work of several steps. A StoreUnavailable is logged when an
            outage begins and ends.
        seconds: between two calls.
    """

    def __init__(self, name: str, work: Callable[[Pause], None], seconds: float = SECONDS) -> None:
        self._name, self._work, self._seconds = name, work, seconds
        self._closing = threading.Event()
        self._turn = threading.Lock()  # an older read must not replace a newer one
        self._away = False
        self.refreshed_at = 0.0  # unix seconds of the last call that worked; 0: none yet
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; a call in progress ends at its next pause or time limit."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def poll(self) -> bool:
        """Call ``work`` once and return whether it succeeded."""
        try:
            with self._turn:
                self._work(self._closing.wait)
        except StoreUnavailable as error:
            if not self._away:
                LOG.warning(
                    "%s: the store does not answer; what was read before stays in use: %s",
                    self._name,
                    error,
                )
            self._away = True
            return False
        if self._away:
            LOG.warning("%s: the store answers again", self._name)
        self._away = False
        self.refreshed_at = time.time()
        return True

    def _run(self) -> None:
        """Poll until closed."""
        while not self._closing.wait(self._seconds):
            try:
                self.poll()
            # one bad value must not end the refreshes of a process that serves for weeks
            except Exception:
                LOG.exception(
                    "%s failed: what was read before stays in use, and the next call tries again; "
                    "fix the cause that the traceback names",
                    self._name,
                )
