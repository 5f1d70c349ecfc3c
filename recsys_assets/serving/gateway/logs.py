"""Write the gateway's log: one JSON object per line.

Lines can be searched by request, route, status and release.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

#: One line per request, except for those answered with 429.
requests = logging.getLogger("recsys.gateway.requests")


class TurnedAway:
    """Logs the number of requests answered with 429, in one line per second.

    There can be thousands of them while the gateway is busiest.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._count, self._next = clock, 0, 0.0

    def count(self, route: str) -> None:
        """Count a request, and log the number if the last line is a second old."""
        self._count += 1
        now = self._clock()
        if now >= self._next:
            requests.warning(
                "turned away",
                extra={"fields": {"status": 429, "requests": self._count, "latest_route": route}},
            )
            self._count, self._next = 0, now + 1.0


class JsonLines(logging.Formatter):
    """{"time", "level", "logger", "message", …}, and the ``fields`` of a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


#: For ``logging.config.dictConfig``; uvicorn's own loggers among all others.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": f"{__name__}.{JsonLines.__name__}"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {"httpx": {"level": "WARNING"}},
}
