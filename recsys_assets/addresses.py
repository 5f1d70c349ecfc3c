"""Find the addresses of the replicas of a service, and say which are of this machine."""

from __future__ import annotations

import ipaddress
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


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
