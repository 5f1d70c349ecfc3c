"""Reads the champion: the release that the Triton servers answer with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_assets.settings import Settings


@dataclass(frozen=True)
class Champion:
    """Holds the content of ``<home>/serving/champion.json``."""

    release: int
    generation: int
    digest: str
    versions: Mapping[str, int]
    promoted_at: int  # unix seconds
    previous: list[int]  # champions that a rollback goes back to, the latest first
    #: {"release", "at", "event": "promote" | "rollback", "forced"}, oldest first
    history: list[Mapping[str, Any]]
    rung: str = ""  # as ``rung.described`` gives it


def champion_path(settings: Settings) -> Path:
    """Return the path of champion.json."""
    return settings.home / "serving" / "champion.json"


def read_champion(settings: Settings) -> Champion | None:
    """Read the champion; return None before the first promotion."""
    path = champion_path(settings)
    return Champion(**json.loads(path.read_text())) if path.is_file() else None
