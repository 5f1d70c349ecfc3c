"""Find the addresses of the replicas of a service."""

from __future__ import annotations

import socket


def resolve(replica: str) -> list[str]:
    """Return the addresses of a replica entry.

    ``dns:host:port`` names a headless Service and gives host:port of each of its pods. Any other
    entry is an address.
    """
    if not replica.startswith("dns:"):
        return [replica]
    host, _, port = replica.removeprefix("dns:").rpartition(":")
    found = {
        info[4][0]
        for info in socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_STREAM)
    }
    return [f"{address}:{port}" for address in sorted(found)]
