"""The gateway's log: one JSON object a line, so that it can be searched by request, route, status and release."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

#: One line an answered request.
requests = logging.getLogger("recsys.gateway.requests")


class JsonLines(logging.Formatter):
    """{"time", "level", "logger", "message", …}; a record's ``fields`` are put beside them."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage(),
            **getattr(record, "fields", {})}
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
