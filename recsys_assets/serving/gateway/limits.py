"""Keep the gateway responsive under overload: rate limits and admission."""

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

#: Clients whose buckets are kept; beyond that, the one silent for longest starts anew.
CLIENTS = 10_000
#: Assumed seconds of a ranking call until some have been measured.
FIRST_GUESS = 0.005
#: The typical time is the median of this many calls, computed again after so many new ones.
MEASURED, RENEWED = 64, 8


class RateLimit:
    """A token bucket per client: ``rate`` requests per second, bursts of twice that.

    Args:
        rate: requests per second; 0: no limit.
        clock: monotonic seconds.
        clients: buckets that are kept at most.
    """

    def __init__(
        self, rate: float, clock: Callable[[], float] = time.monotonic, clients: int = CLIENTS
    ) -> None:
        self._rate, self._burst, self._clock, self._clients = (
            rate,
            max(1.0, 2 * rate),
            clock,
            clients,
        )
        # client → tokens, and the time of that count
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> float:
        """Take a token: return 0, or the seconds until there is one."""
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
        """Forget clients whose bucket is full again, and those beyond the limit."""
        while self._buckets:
            client, (_, at) = next(iter(self._buckets.items()))
            if len(self._buckets) <= self._clients and (now - at) * self._rate < self._burst:
                return
            del self._buckets[client]


class Overloaded(Refused):
    """A ranking call would have to wait for too long."""

    def __init__(self, wait: float) -> None:
        super().__init__(
            429,
            None,
            "too many ranking requests at the moment (expected wait "
            f"{wait * 1_000:.0f} ms): try again later",
            retry_after=max(1, math.ceil(wait)),
        )


class Admission:
    """Places for ranking calls, first come, first served.

    A caller that would wait too long is refused before the queue grows. The typical time of a call
    is the median of the last calls, so that a pause of Triton while a release loads does not count
    as overload.

    Args:
        places: calls that may be open at once.
        limit: expected wait in seconds beyond which a caller is refused.
        metrics: of the gateway.
    """

    def __init__(self, places: int, limit: float, metrics: Metrics) -> None:
        self._places, self._free, self._limit, self._metrics = places, places, limit, metrics
        self._queue: deque[asyncio.Future[None]] = deque()
        self._waiting = 0  # visitors
        self._typical = FIRST_GUESS  # seconds a visitor
        self._measured: deque[float] = deque(maxlen=MEASURED)
        self._since = 0

    @property
    def expected_wait(self) -> float:
        """Return the seconds that a caller would wait now."""
        return 0.0 if self._free > 0 else self._waiting * self._typical / self._places

    def check(self) -> None:
        """Raise Overloaded if a caller would wait for too long."""
        wait = self.expected_wait
        if wait > self._limit:
            self._metrics.shed.labels(OVERLOAD).inc()
            raise Overloaded(wait)

    @asynccontextmanager
    async def place(self, visitors: int = 1) -> AsyncIterator[None]:
        """Hold a place in the meantime.

        Args:
            visitors: of the call.

        Raises:
            Overloaded: the expected wait is too long.
        """
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
        """Wait for a place."""
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._waiting += visitors
        self._metrics.waiting.set(self._waiting)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # got a place just as its client left
                self._release()
            raise
        finally:
            self._waiting -= visitors
            self._metrics.waiting.set(self._waiting)

    def _release(self) -> None:
        """Give the place to the next caller in the queue."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _measure(self, seconds: float) -> None:
        """Take the seconds per visitor of a call into the typical time."""
        self._measured.append(seconds)
        self._since += 1
        if self._since >= RENEWED:
            self._since, self._typical = 0, median(self._measured)
