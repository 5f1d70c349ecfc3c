"""Product images out of ``<home>/serving/images.parquet``, by known item id only."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsys_assets.settings import Settings

#: First bytes → media type.
SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


def images_path(settings: Settings) -> Path:
    return settings.home / "serving" / "images.parquet"


def media_type(content: bytes) -> str | None:
    """Of the known image formats, or None."""
    return next((kind for signature, kind in SIGNATURES.items() if content.startswith(signature)), None)


class LiveImages:
    """Image name → bytes, read again when a promotion has replaced the file; empty where there is none."""

    def __init__(self, settings: Settings):
        self._path = images_path(settings)
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._contents: Mapping[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return self._contents.get(name)
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            with self._lock:
                if stamp != self._stamp:
                    table = pl.read_parquet(self._path, columns=["image", "content"])
                    self._contents, self._stamp = dict(zip(table["image"], table["content"], strict=True)), stamp
        return self._contents.get(name)
