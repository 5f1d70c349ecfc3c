"""Restrict who may load and unload Triton's models, by a key.

Triton takes the key only on its command line (options ``--grpc-restricted-protocol`` and
``--http-restricted-api``), where other users of the machine can read it. So the key is not the
write token itself, but an HMAC of it: it opens model control alone and does not reveal the token.
Without a token nothing is restricted, which is for loopback only.
"""

from __future__ import annotations

import hashlib
import hmac

from recsys_assets.settings import Settings, get_settings

HEADER = "recsys-control"
#: Triton's name for the header in gRPC metadata.
GRPC_HEADER = f"triton-grpc-protocol-{HEADER}"
RESTRICTED = "model-repository,shared-memory,trace,logging"

#: By default a server is not ready while any version of a model loads, and a promotion would take
#: every replica out of service. At the start, models are loaded before the server answers at all.
READY_WHILE_LOADING = "--strict-readiness=false"


def control_key(settings: Settings) -> str | None:
    """Return the key of model control; None if no token is set."""
    if settings.token is None or not settings.token.get_secret_value():
        return None
    return hmac.new(
        settings.token.get_secret_value().encode(), b"triton model control", hashlib.sha256
    ).hexdigest()


def server_arguments(settings: Settings) -> list[str]:
    """Return the options with which tritonserver refuses control calls without key.

    They hold for both protocols, gRPC and HTTP.
    """
    key = control_key(settings)
    if key is None:
        return []
    return [
        f"--{option}={RESTRICTED}:{HEADER}={key}"
        for option in ("grpc-restricted-protocol", "http-restricted-api")
    ]


def grpc_headers(settings: Settings) -> dict[str, str]:
    """Return the headers that a client sends with control calls."""
    key = control_key(settings)
    return {} if key is None else {GRPC_HEADER: key}


if __name__ == "__main__":  # Triton's container starts the server itself and needs the key
    print(control_key(get_settings()) or "")
