"""Connect to Valkey."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recsys_assets.settings import Settings

#: Errors of a store call: the store is down, hangs, is full, or holds a value of another type.
STORE_ERRORS: tuple[type[Exception], ...] = (redis.RedisError, OSError)


def visitor_client(
    settings: Settings, database: int, *, timeout_ms: int | None = None
) -> redis.Redis:
    """Return a client with a timeout per connect and read, without retries.

    Values are bytes.

    Args:
        settings: name the server, and ``store_timeout_ms`` as the timeout.
        database: number of the database.
        timeout_ms: another timeout, for bulk work outside of a request.
    """
    limit = (settings.store_timeout_ms if timeout_ms is None else timeout_ms) / 1_000
    password = settings.valkey_password.get_secret_value() if settings.valkey_password else None
    # redis-py retries 3 times with pauses of seconds by default, too long for a request
    return redis.Redis(
        host=settings.valkey_host,
        port=settings.valkey_port,
        db=database,
        password=password,
        ssl=settings.valkey_tls,
        socket_timeout=limit,
        socket_connect_timeout=limit,
        retry=Retry(NoBackoff(), 0),
    )
