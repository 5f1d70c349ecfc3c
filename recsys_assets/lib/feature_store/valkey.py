"""Connections to Valkey."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recsys_assets.settings import Settings

#: What a store call raises when the store is down, hangs, is full or holds a value of another type.
STORE_ERRORS: tuple[type[Exception], ...] = (redis.RedisError, OSError)


def visitor_client(
    settings: Settings, database: int, *, timeout_ms: int | None = None
) -> redis.Redis:
    """A client whose connects and reads each end after a limit, without retries; values are bytes.

    The limit is ``settings.store_timeout_ms``; ``timeout_ms`` replaces it for bulk work outside a
    request.
    """
    limit = (settings.store_timeout_ms if timeout_ms is None else timeout_ms) / 1_000
    password = settings.valkey_password.get_secret_value() if settings.valkey_password else None
    # redis-py's own default is 3 retries with pauses of seconds: far beyond a visitor's patience
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
