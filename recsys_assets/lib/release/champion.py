"""Reads the champion: the release that the Triton servers answer with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_assets.lib.release.lines import RECOMMENDER, ReleaseLine
from recsys_assets.settings import Settings


@dataclass(frozen=True)
class Champion:
    """Holds the content of ``<home>/serving/champion.json``, or of another line's."""

    release: int
    generation: int
    digest: str
    versions: Mapping[str, int]
    promoted_at: int  # unix seconds
    previous: list[int]  # champions that a rollback goes back to, the latest first
    #: {"release", "at", "event": "promote" | "rollback", "forced"}, oldest first
    history: list[Mapping[str, Any]]
    rung: str = ""  # as ``rung.described`` gives it


def champion_path(settings: Settings, line: ReleaseLine = RECOMMENDER) -> Path:
    """Return the path of a line's champion.json."""
    return settings.home / "serving" / f"{line.prefix}champion.json"


def read_champion(settings: Settings, line: ReleaseLine = RECOMMENDER) -> Champion | None:
    """Read the champion of a line; return None before the first promotion."""
    path = champion_path(settings, line)
    return Champion(**json.loads(path.read_text())) if path.is_file() else None
