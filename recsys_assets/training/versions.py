"""Compares the libraries that wrote an artifact with those that are about to read it.

A manifest records the versions that the step reported. What differs in major or minor version is
either refused, because reading it is known to fail or to give other values, or logged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_assets.training.step import StepError, versions

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Rule:
    """
    Attributes:
        refused: libraries between whose minor versions the content does not carry over.
        logged: libraries between whose minor versions it should.
        remedy: how to get content of the present versions.
    """

    refused: Sequence[str]
    logged: Sequence[str]
    remedy: str


#: Weights are restored by the names and shapes that Keras and merlin-models give them.
CHECKPOINT = Rule(
    ("tensorflow", "merlin-models", "merlin-core"),
    ("numpy",),
    "train a champion by the present versions (run full_training, with force where its inputs are "
    "the same, and promote it)",
)
#: A saved workflow is a cloudpickle of NVTabular's own objects, which Python's minor versions do
#: not share.
WORKFLOW = Rule(
    ("python", "nvtabular", "merlin-core"),
    ("numpy", "pandas"),
    "fit the workflows by the present versions (materialise features/workflows with force, and "
    "what follows from it)",
)


def compare(folder: Path, rule: Rule, log: Callable[[str], None]) -> None:
    """Compare the versions in an artifact's manifest with the present ones.

    Args:
        folder: of the artifact; one without a manifest, or with one that names no versions, is
            logged and accepted.

    Raises:
        StepError: a library of ``rule.refused`` has another major or minor version; names both
            versions and the remedy.
    """
    path, present = folder / MANIFEST, versions()
    content = json.loads(path.read_text()) if path.is_file() else {}
    written, what = (
        content.get("versions") or {},
        f"{content.get('kind', folder.name)} [{content.get('partition') or 'all'}]",
    )
    if not written:
        log(f"{what}: no library versions were recorded, so they are not compared")
        return
    refused, logged = (
        _differences(written, present, names) for names in (rule.refused, rule.logged)
    )
    if refused:
        raise StepError(
            f"{what} was written by {_text(refused, 0)}, this environment has {_text(refused, 1)}, "
            "which may not read "
            f"it right: {rule.remedy}, or set up the training environment by the lock file of that "
            "time"
        )
    if logged:
        log(f"{what} was written by {_text(logged, 0)}, this environment has {_text(logged, 1)}")


def _differences(
    written: dict[str, str], present: dict[str, str], names: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """Library → (written, present), where both are known and differ in major or minor version."""
    pairs = {name: (_of(written, name), _of(present, name)) for name in names}
    return {
        name: (before, now)
        for name, (before, now) in pairs.items()
        if before and now and _minor(before) != _minor(now)
    }


def _of(found: dict[str, str], name: str) -> str | None:
    # TensorFlow for processors alone is a distribution of its own, of the same code
    return found.get(name) or found.get(f"{name}-cpu")


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _text(differences: dict[str, tuple[str, str]], side: int) -> str:
    return ", ".join(f"{name} {pair[side]}" for name, pair in differences.items())
