"""List the days of the landing zone."""

from __future__ import annotations

import fsspec

from recsys_assets.lib.landing import zone


def landed_days(landing: str) -> list[str]:
    """Return the days that have a folder in the landing zone, sorted."""
    fs, prefix = fsspec.core.url_to_fs(f"{landing.rstrip('/')}/{zone.INTERACTIONS_FOLDER}")
    return (
        sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in fs.ls(prefix, detail=False))
        if fs.isdir(prefix)
        else []
    )
