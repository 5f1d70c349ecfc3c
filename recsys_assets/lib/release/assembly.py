"""Shares what the releases of every line are assembled by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.release.contents import dump
from recsys_assets.lib.release.lines import RECOMMENDER, ReleaseLine
from recsys_assets.lib.release.releases import ReleaseError
from recsys_assets.lib.release.verdict import Check, Verdict, blocks, stops
from recsys_assets.release_files import RELEASE_FILE


def checked_gate(gate: Verdict | None) -> Verdict | None:
    """Return the verdict without other keys.

    Raises:
        ReleaseError: it has no checks, or contradicts them.
    """
    if gate is None:
        return None
    checks: list[Check] = [
        {
            "name": check["name"],
            "value": check["value"],
            "threshold": check["threshold"],
            "passed": check["passed"],
            "blocks": blocks(check),
        }
        for check in gate["checks"]
    ]
    if not checks:
        raise ReleaseError("the gate verdict has no checks; give None where nothing was evaluated")
    if bool(gate["passed"]) == any(stops(check) for check in checks):
        raise ReleaseError(
            f"the gate verdict has passed={gate['passed']} against its own checks: {checks}"
        )
    return {"passed": bool(gate["passed"]), "checks": checks}


def find_release(
    store: ArtifactStore,
    code: str,
    inputs: Mapping[str, Any],
    params: Mapping[str, Any],
    line: ReleaseLine = RECOMMENDER,
) -> Artifact | None:
    """Return the newest release of a line that was made from exactly these parts by this code."""
    fingerprint = store.fingerprint(code, inputs, params)
    found = (
        store.find(line.kind, partition, fingerprint)
        for partition in reversed(store.partitions(line.kind))
    )
    return next((artifact for artifact in found if artifact is not None), None)


def dump_release(
    folder: Path,
    number: int,
    form: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    inputs: Mapping[str, Artifact],
    **further: Any,
) -> None:
    """Write ``release.json``.

    Args:
        folder: of the release.
        number: of the release.
        form: of its files.
        params: with ``kind``, ``rung``, ``day`` and ``gate``.
        metrics: figures to show beside the release.
        inputs: role → artifact.
        further: fields of ``releases.Release``.
    """
    dump(
        folder / RELEASE_FILE,
        {
            "form": form,
            "release": number,
            "kind": params["kind"],
            "rung": params["rung"],
            "day": params["day"],
            **further,
            "gate": params["gate"],
            "metrics": dict(metrics or {}),
            "artifacts": {role: artifact.reference() for role, artifact in inputs.items()},
        },
    )
