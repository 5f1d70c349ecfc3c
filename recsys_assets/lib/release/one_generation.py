"""Requires that the parts of a release belong to one generation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.release.releases import ReleaseError


def references(artifact: Artifact) -> Iterator[Mapping[str, Any]]:
    """Yield the references to all inputs of an artifact."""
    for value in artifact.manifest.get("inputs", {}).values():
        yield from (
            r for r in (value if isinstance(value, list) else [value]) if isinstance(r, Mapping)
        )


def require_one_generation(given: Mapping[str, str], parts: Sequence[Artifact]) -> None:
    """Raise ReleaseError where a part was made from another version than those given.

    given: kind → digest.
    """
    for part in parts:
        for reference in references(part):
            expected = given.get(reference["kind"])
            if expected is not None and reference["digest"] != expected:
                raise ReleaseError(
                    f"{part.kind} [{part.partition}] was made from another {reference['kind']} "
                    f"(digest {reference['digest'][:8]}, not {expected[:8]}); materialise "
                    f"{part.kind} again"
                )
