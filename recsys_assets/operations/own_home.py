"""Run a second home beside the real one: own ports, own stores, own servers.

The real home's artifacts and offline tables are only read. For measurements, and for checks that
must not touch the visitors of a running shop.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recsys_assets.artifacts import Artifact
from recsys_assets.operations import services
from recsys_assets.operations.services import ServiceError
from recsys_assets.serving.promotion import promotion
from recsys_assets.settings import Settings

PORTS = (
    "valkey_port",
    "triton_http_port",
    "triton_grpc_port",
    "triton_metrics_port",
    "gateway_port",
)
LOCAL = "127.0.0.1"
PORT_RANGE = range(15_000, 32_000)


def free_ports() -> dict[str, int]:
    """Return a free port for each local part.

    The ports lie below those that the system uses for outgoing connections. A part starts long
    after its port was chosen, and a connection of a measurement could take a higher one.

    Raises:
        ServiceError: too few ports are free.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(PORT_RANGE, len(PORT_RANGE)):
        with socket.socket() as probe, contextlib.suppress(OSError):  # in use: the next one
            probe.bind((LOCAL, port))
            found.append(port)
        if len(found) == len(PORTS):
            return dict(zip(PORTS, found, strict=True))
    raise ServiceError(
        f"no {len(PORTS)} free ports from {PORT_RANGE[0]} to {PORT_RANGE[-1]}; end the processes "
        "that listen there"
    )


def own_settings(settings: Settings, home: Path, **changed: Any) -> Settings:
    """Return the settings of a second home.

    Its local parts use free ports. The real home's artifacts and offline tables are only read.
    """
    return settings.model_copy(
        update={
            "home": home,
            "artifacts_uri": settings.artifacts,
            "model_repository_uri": None,
            "target": "local",
            "feast_offline_uri": settings.feast_offline_uri
            or str(settings.home / "feast" / "offline"),
            "valkey_host": LOCAL,
            "valkey_tls": False,
            "triton_host": LOCAL,
            "triton_replicas": "",
            "gateway_host": LOCAL,
            "triton_models": "both",
            "rate_limit": 0.0,
            **free_ports(),
            **changed,
        }
    )


@contextlib.contextmanager
def running(settings: Settings, parts: list[str]) -> Iterator[None]:
    """Run local parts of an own home, and end them also after an error."""
    try:
        services.up(settings, only=parts, progress=lambda line: None)
        yield
    finally:
        services.down(settings, only=parts)


def promote(settings: Settings, release: Artifact | int) -> None:
    """Publish and load a release on the own Triton, without the gate.

    The release was promoted before, or is synthetic.
    """
    promotion.promote(settings, release, force_gate=True, log=lambda line: None)
