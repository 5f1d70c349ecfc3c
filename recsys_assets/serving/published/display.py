"""The catalogue as visitors see it: ``<home>/serving/display.json`` of the promoted release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from recsys_assets.release_files import DISPLAY_FILE
from recsys_assets.serving.published.live_file import LiveFile
from recsys_assets.settings import Settings

DISPLAY_FIELDS = (
    "title",
    "description",
    "category_l1",
    "category_l2",
    "price",
    "image",
    "promoted",
    "item_gender",
)


class DisplayMissing(RuntimeError):
    """No release was promoted yet, or its display file cannot be read."""


def display_path(settings: Settings) -> Path:
    return settings.home / "serving" / DISPLAY_FILE


@dataclass(frozen=True)
class Display:
    """release: its number; items: item id → DISPLAY_FIELDS."""

    release: int | None = None
    items: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def promoted_first(self) -> tuple[str, ...]:
        """All item ids: promoted products, then the others, both in the catalogue's order."""
        return tuple(sorted(self.items, key=lambda item_id: not self.items[item_id]["promoted"]))

    @cached_property
    def categories(self) -> Mapping[str, frozenset[str]]:
        """category_l1 and category_l2 → the values that occur."""
        return {
            level: frozenset(item[level] for item in self.items.values())
            for level in ("category_l1", "category_l2")
        }


def read_display(settings: Settings) -> Display:
    """Raises DisplayMissing naming the file and the remedy."""
    path = display_path(settings)
    try:
        content = json.loads(path.read_bytes())
        display = Display(content["release"], content["items"])
    except FileNotFoundError as error:
        raise DisplayMissing(f"{path} is missing: promote a release first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DisplayMissing(
            f"{path} is not a release's display file ({error!r}): promote a release again"
        ) from error
    for item_id, item in display.items.items():
        absent = [name for name in DISPLAY_FIELDS if name not in item]
        if absent:
            raise DisplayMissing(
                f"{path}: item {item_id!r} lacks {', '.join(absent)}: promote a release again"
            )
    return display


def load_display(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """Item id → what is shown of it, of the promoted release; raises DisplayMissing."""
    return read_display(settings).items


class LiveDisplay:
    """The same, read again when a promotion has replaced the file; empty before the first
    promotion.
    """

    def __init__(self, settings: Settings):
        self._file = LiveFile(display_path(settings), lambda _: read_display(settings), Display())

    def current(self) -> Display:
        """Raises DisplayMissing where a file exists that is not a release's."""
        return self._file.current()
