"""Read the settings as a command's options change them."""

from __future__ import annotations

import os
from pathlib import Path

from recsys_assets.settings import Settings, get_settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def configured(**overrides: object) -> Settings:
    """Return the settings with a command's options, and set them for child processes."""
    for name, value in overrides.items():
        if value is not None:
            os.environ[f"RECSYS_{name.upper()}"] = str(
                Path(value).resolve() if isinstance(value, Path) else value
            )
    get_settings.cache_clear()
    settings = get_settings()
    os.environ.update(settings.environment())
    _reach_local_parts_directly()
    return settings


def _reach_local_parts_directly() -> None:
    """Exclude this machine from the proxy that the environment sets.

    gRPC, urllib and httpx all read these names.
    """
    for name in ("no_proxy", "NO_PROXY"):
        listed = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join([*listed, *(host for host in LOOPBACK if host not in listed)])
