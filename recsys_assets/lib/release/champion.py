"""The champion: the release that the servers answer with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_assets.settings import Settings


@dataclass(frozen=True)
class Champion:
    """``<home>/serving/champion.json``: what is being served."""

    release: int
    generation: int
    digest: str
    versions: Mapping[str, int]
    promoted_at: int  # unix seconds
    previous: list[int]  # champions that a rollback goes back to, the latest first
    history: list[
        Mapping[str, Any]
    ]  # {"release", "at", "event": "promote" | "rollback", "forced"}, oldest first


def champion_path(settings: Settings) -> Path:
    return settings.home / "serving" / "champion.json"


def read_champion(settings: Settings) -> Champion | None:
    """The release in force, or None before the first promotion."""
    path = champion_path(settings)
    return Champion(**json.loads(path.read_text())) if path.is_file() else None
