"""Find the days that a release has learned and that were corrected since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.features.freshness import Freshness


def corrected_since(store: ArtifactStore, release: Artifact) -> list[str]:
    """Return the days whose files differ from those that a release has learned, sorted.

    Their look-back days count too. The models of a fine-tune have learned what those of its base
    have; its sources are fitted again, and have forgotten older days.

    Args:
        store: of the artifacts.
        release: ``serving/release``.
    """
    fresh, found = Freshness(store), set[str]()
    manifest: Mapping[str, Any] | None = release.manifest
    found |= _of_sources(fresh, release.manifest["inputs"])
    while manifest is not None:
        inputs = manifest["inputs"]
        if "workflows" in inputs:
            found |= fresh.corrected(fresh.recorded(inputs["workflows"]) or _NOTHING)
        elif "query_tower" in inputs:
            tower = fresh.recorded(inputs["query_tower"]) or _NOTHING
            rows = tower["inputs"].get("rows")
            found |= fresh.corrected((fresh.recorded(rows) if rows else None) or _NOTHING)
        base = inputs.get("base")
        manifest = fresh.recorded(base) if base else None
    return sorted(found)


def _of_sources(fresh: Freshness, inputs: Mapping[str, Any]) -> set[str]:
    """Return the corrected days on which the sources, and the vectors of a simple rung, are fitted.

    inputs: of ``serving/release``.
    """
    found: set[str] = set()
    for role in ("blend", "faiss_index"):
        made = (fresh.recorded(inputs[role]) if role in inputs else None) or _NOTHING
        fitted = made["inputs"].get("sources")  # of a fine-tune
        made = (fresh.recorded(fitted) if fitted else made) or _NOTHING
        found |= fresh.corrected_of(made, "log")
    return found


#: Stands for a manifest that no longer exists.
_NOTHING: dict[str, Any] = {"kind": "", "inputs": {}}
