"""Read product images from ``<home>/serving/images.parquet``, by known item only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsys_assets.release_files import IMAGES_FILE
from recsys_assets.serving.published.live_file import LiveFile
from recsys_assets.settings import Settings

#: First bytes → media type.
SIGNATURES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
    b"GIF8": "image/gif",
}


def images_path(settings: Settings) -> Path:
    """Return the path of the images."""
    return settings.home / "serving" / IMAGES_FILE


def media_type(content: bytes) -> str | None:
    """Return the media type of an image; None for an unknown format."""
    return next(
        (kind for signature, kind in SIGNATURES.items() if content.startswith(signature)), None
    )


class LiveImages:
    """The images of the promoted release by name, read again after each promotion.

    They are empty while there is no file.
    """

    def __init__(self, settings: Settings) -> None:
        self._file: LiveFile[Mapping[str, bytes]] = LiveFile(images_path(settings), _read, {})

    def get(self, name: str) -> bytes | None:
        """Return the bytes of an image; None for an unknown name."""
        return self._file.current().get(name)


def _read(path: Path) -> Mapping[str, bytes]:
    """Read all images: name → bytes."""
    table = pl.read_parquet(path, columns=["image", "content"])
    return dict(zip(table["image"], table["content"], strict=True))
