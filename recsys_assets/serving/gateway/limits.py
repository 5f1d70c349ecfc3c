"""What keeps the gateway serving when too much is asked: a rate per client, places for ranking
calls, a guard of dead parts.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from statistics import median

from recsys_assets.serving.gateway.errors import Refused
from recsys_assets.serving.gateway.metrics import OVERLOAD, WAITING, Metrics

#: Clients whose buckets are kept; beyond that the one that was silent longest starts anew.
CLIENTS = 10_000
#: A ranking call takes this long until some have been measured (seconds).
FIRST_GUESS = 0.005
#: Calls that the typical time is of, and after how many it is computed again.
MEASURED, RENEWED = 64, 8


class RateLimit:
    """A token bucket a client: ``rate`` requests a second, and twice as many at once.

    Args:
        rate: 0 for no limit.
        clock: monotonic seconds.
    """

    def __init__(
        self, rate: float, clock: Callable[[], float] = time.monotonic, clients: int = CLIENTS
    ):
        self._rate, self._burst, self._clock, self._clients = (
            rate,
            max(1.0, 2 * rate),
            clock,
            clients,
        )
        self._buckets: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # client → tokens, and when they were so many

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> float:
        """Take a token: 0, or the seconds until there is one."""
        if not self._rate:
            return 0.0
        now = self._clock()
        tokens, at = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[client] = (tokens if wait else tokens - 1, now)  # last in the order of use
        self._drop(now)
        return wait

    def _drop(self, now: float) -> None:
        """Forget who has been silent for so long that the bucket is full again, and whoever is too
        many.
        """
        while self._buckets:
            client, (_, at) = next(iter(self._buckets.items()))
            if len(self._buckets) <= self._clients and (now - at) * self._rate < self._burst:
                return
            del self._buckets[client]


class Overloaded(Refused):
    """A ranking call would have to wait for too long."""

    def __init__(self, wait: float):
        super().__init__(
            429,
            None,
            f"more is asked than can be ranked at the moment (a wait of {wait * 1_000:.0f} ms is "
            "expected): "
            f"try again later",
            retry_after=max(1, math.ceil(wait)),
        )


class Admission:
    """Places for ranking calls, first come, first served; who would wait too long is turned away
    before the queue grows.

    What a call takes is the median of the last ones: a pause of Triton's while a release loads is
    not taken for overload.

    Args:
        places: calls that may be open at once.
        limit: expected wait in seconds beyond which a caller is refused.
    """

    def __init__(self, places: int, limit: float, metrics: Metrics):
        self._places, self._free, self._limit, self._metrics = places, places, limit, metrics
        self._queue: deque[asyncio.Future[None]] = deque()
        self._waiting = 0  # visitors
        self._typical = FIRST_GUESS  # seconds a visitor
        self._measured: deque[float] = deque(maxlen=MEASURED)
        self._since = 0

    @property
    def expected_wait(self) -> float:
        """Seconds that a caller would wait now."""
        return 0.0 if self._free > 0 else self._waiting * self._typical / self._places

    def check(self) -> None:
        """Raises Overloaded."""
        wait = self.expected_wait
        if wait > self._limit:
            self._metrics.shed.labels(OVERLOAD).inc()
            raise Overloaded(wait)

    @asynccontextmanager
    async def place(self, visitors: int = 1) -> AsyncIterator[None]:
        """Hold a place meanwhile; raises Overloaded."""
        began = time.perf_counter()
        if self._free > 0:
            self._free -= 1
        else:
            self.check()
            await self._wait(visitors)
        admitted = time.perf_counter()
        self._metrics.phases[WAITING].observe(admitted - began)
        self._metrics.in_flight.inc()
        try:
            yield
        finally:
            self._metrics.in_flight.dec()
            self._release()
            self._measure((time.perf_counter() - admitted) / visitors)

    async def _wait(self, visitors: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._waiting += visitors
        self._metrics.waiting.set(self._waiting)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # given a place just when its client went away
                self._release()
            raise
        finally:
            self._waiting -= visitors
            self._metrics.waiting.set(self._waiting)

    def _release(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _measure(self, seconds: float) -> None:
        self._measured.append(seconds)
        self._since += 1
        if self._since >= RENEWED:
            self._since, self._typical = 0, median(self._measured)


class Guard:
    """Says not to ask a part that has failed several times in a row; lets one caller try after a
    while.

    Args:
        threshold: failures in a row that close it.
        pause: seconds until the next trial.
        clock: monotonic seconds.
    """

    def __init__(
        self, threshold: int = 3, pause: float = 1.0, clock: Callable[[], float] = time.monotonic
    ):
        self._threshold, self._pause, self._clock = threshold, pause, clock
        self._failures, self._closed_until = 0, 0.0

    def refuses(self) -> bool:
        """Whether not to ask; where it says no while closed, the caller is the one that tries."""
        if self._failures < self._threshold:
            return False
        now = self._clock()
        if now < self._closed_until:
            return True
        self._closed_until = now + self._pause  # the others wait for what becomes of it
        return False

    def failed(self) -> None:
        self._failures += 1
        self._closed_until = self._clock() + self._pause

    def answered(self) -> None:
        self._failures = 0
