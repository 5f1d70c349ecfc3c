"""AWS by moto's server, over its wire protocols. It keeps what was made for the whole process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


@contextmanager
def moto_server(host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Return the server's address while it runs; port 0: a free one."""
    server = ThreadedMotoServer(ip_address=host, port=port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def client_environment(address: str, region: str = "us-east-1") -> dict[str, str]:
    """Return the variables by which every AWS client of a process asks the server."""
    return {
        **{name.upper(): value for name, value in KEYS.items()},
        "AWS_DEFAULT_REGION": region,
        "AWS_ENDPOINT_URL": address,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
