"""Who may load and unload Triton's models: whoever has the key that is derived from the write
token.

Triton takes the key on its command line alone (options ``--grpc-restricted-protocol`` and
``--http-restricted-api``), where other users of the machine can read it. So it is not the token
itself, but an HMAC of it: it opens model control and nothing else, and does not give the token
away. Without a token nothing is restricted, which is for loopback only.
"""

from __future__ import annotations

import hashlib
import hmac

from recsys_assets.settings import Settings, get_settings

HEADER = "recsys-control"
#: Triton's name for it among gRPC metadata.
GRPC_HEADER = f"triton-grpc-protocol-{HEADER}"
RESTRICTED = "model-repository,shared-memory,trace,logging"


def control_key(settings: Settings) -> str | None:
    """The key of model control, or None where no token is set."""
    if settings.token is None or not settings.token.get_secret_value():
        return None
    return hmac.new(
        settings.token.get_secret_value().encode(), b"triton model control", hashlib.sha256
    ).hexdigest()


def server_arguments(settings: Settings) -> list[str]:
    """Options of tritonserver: without the key in their header, control calls are refused on both
    protocols.
    """
    key = control_key(settings)
    if key is None:
        return []
    return [
        f"--{option}={RESTRICTED}:{HEADER}={key}"
        for option in ("grpc-restricted-protocol", "http-restricted-api")
    ]


def grpc_headers(settings: Settings) -> dict[str, str]:
    """What a client sends along with control calls."""
    key = control_key(settings)
    return {} if key is None else {GRPC_HEADER: key}


if __name__ == "__main__":  # for Triton's container, which starts the server by itself
    print(control_key(get_settings()) or "")
