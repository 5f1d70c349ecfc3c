"""Product images out of ``<home>/serving/images.parquet``, by known item id only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsys_assets.release_files import IMAGES_FILE
from recsys_assets.serving.published.live_file import LiveFile
from recsys_assets.settings import Settings

#: First bytes → media type.
SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


def images_path(settings: Settings) -> Path:
    return settings.home / "serving" / IMAGES_FILE


def media_type(content: bytes) -> str | None:
    """Of the known image formats, or None."""
    return next(
        (kind for signature, kind in SIGNATURES.items() if content.startswith(signature)), None
    )


class LiveImages:
    """Image name → bytes, read again when a promotion has replaced the file; empty where there is
    none.
    """

    def __init__(self, settings: Settings):
        self._file: LiveFile[Mapping[str, bytes]] = LiveFile(images_path(settings), _read, {})

    def get(self, name: str) -> bytes | None:
        return self._file.current().get(name)


def _read(path: Path) -> Mapping[str, bytes]:
    table = pl.read_parquet(path, columns=["image", "content"])
    return dict(zip(table["image"], table["content"], strict=True))
