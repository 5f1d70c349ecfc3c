"""Read what pages show of each item: ``<home>/serving/display.json``.

The file belongs to the promoted release.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from recsys_assets.lib.release.rung import FULL, RungName
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
    """Return the path of the display file."""
    return settings.home / "serving" / DISPLAY_FILE


@dataclass(frozen=True)
class Display:
    """Display data of each item of a release.

    Attributes:
        release: its number; None before the first promotion.
        rung: popularity, item_to_item, fusion or full; None before the first promotion.
        hides: the release's seen rule in words; None before the first promotion, and where an
            older version promoted.
        learnt_to: ISO, the last day that the release has learnt; None where it is not recorded.
        items: item id → DISPLAY_FIELDS.
    """

    release: int | None = None
    items: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rung: RungName | None = None
    hides: str | None = None
    learnt_to: str | None = None

    @cached_property
    def promoted_first(self) -> tuple[str, ...]:
        """Return all item ids, promoted products first, each part in catalogue order."""
        return tuple(sorted(self.items, key=lambda item_id: not self.items[item_id]["promoted"]))

    @cached_property
    def categories(self) -> Mapping[str, frozenset[str]]:
        """Return the values that occur in category_l1 and in category_l2."""
        return {
            level: frozenset(item[level] for item in self.items.values())
            for level in ("category_l1", "category_l2")
        }


def read_display(settings: Settings) -> Display:
    """Read the display file of the promoted release.

    Raises:
        DisplayMissing: the file is missing or invalid; the message names it and the remedy.
    """
    path = display_path(settings)
    try:
        content = json.loads(path.read_bytes())
        display = Display(
            content["release"],
            content["items"],
            content.get("rung", FULL),
            content.get("hides"),
            content.get("learnt_to"),
        )
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


class LiveDisplay:
    """The display of the promoted release, read again after each promotion.

    It is empty before the first promotion.
    """

    def __init__(self, settings: Settings) -> None:
        self._file = LiveFile(display_path(settings), lambda _: read_display(settings), Display())

    def current(self) -> Display:
        """Return the display.

        Raises:
            DisplayMissing: a file exists, but it is not a valid display file.
        """
        return self._file.current()
