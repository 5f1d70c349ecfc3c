"""A shop of four products in a temporary home, for the tests of events, consumer and gateway."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets.files import write_json
from recsys_assets.serving.gateway.images import images_path
from recsys_assets.serving.published.display import display_path
from recsys_assets.settings import Settings

ITEMS = {"a": "books", "b": "books", "c": "tools", "d/4": "toys"}


def shop_settings(home: Path, valkey: Any, **options: Any) -> Settings:
    return Settings(home=home, valkey_host=valkey.host, valkey_port=valkey.port, **options)


def png() -> bytes:
    """A white pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0\xff\xff\xff"))
        + chunk(b"IEND", b"")
    )


def promote(settings: Settings, release: int = 1, **said: str) -> None:
    """Write what a promotion leaves for the gateway: display.json and images.parquet.

    said: rung, hides and learnt_to of display.json; none by default, as older versions wrote none.
    """
    items = {
        item_id: {
            "title": f"Product {item_id}",
            "description": "",
            "category_l1": category,
            "category_l2": f"{category}-2",
            "price": 9.5,
            "promoted": item_id == "c",
            "item_gender": "Any",
            "image": "a.png" if item_id in ("a", "d/4") else "",
        }
        for item_id, category in ITEMS.items()
    }
    pl.DataFrame({"image": ["a.png"], "content": [png()]}).write_parquet(
        _made(images_path(settings))
    )
    write_json(display_path(settings), {"release": release, **said, "items": items})


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
