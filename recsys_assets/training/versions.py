"""Compare the libraries that wrote an artifact with those that read it.

A manifest records the versions that the step reported. A difference in major or minor version is
refused where reading is known to fail or to give other values, and logged otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_assets.files import sha256_file
from recsys_assets.training.step import StepError, versions

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Rule:
    """States which library differences are refused and which are logged.

    Attributes:
        refused: libraries whose content cannot be read across minor versions.
        logged: libraries whose content should be readable across minor versions.
        remedy: how to get content of the present versions.
    """

    refused: Sequence[str]
    logged: Sequence[str]
    remedy: str


#: Weights are restored by the names and shapes that Keras and merlin-models give them.
CHECKPOINT = Rule(
    ("tensorflow", "merlin-models", "merlin-core"),
    ("numpy",),
    "train a champion with the present versions (run full_training, with force if its inputs are "
    "the same, and promote it)",
)
#: A saved workflow is a cloudpickle of NVTabular's objects, which a Python of another minor version
#: cannot read.
WORKFLOW = Rule(
    ("python", "nvtabular", "merlin-core"),
    ("numpy", "pandas"),
    "fit the workflows with the present versions (materialise features/workflows with force, and "
    "everything downstream)",
)


def compare(folder: Path, rule: Rule, log: Callable[[str], None]) -> None:
    """Compare the versions in an artifact's manifest with the present ones.

    Args:
        folder: the artifact; one without a manifest or without recorded versions is logged and
            accepted.
        rule: which differences are refused or logged.
        log: writes one line.

    Raises:
        StepError: a library of ``rule.refused`` has another major or minor version. The message
            names both versions and the remedy.
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
            f"which may not read it right: {rule.remedy}, or set up the training environment from "
            "the lock file of that time"
        )
    if logged:
        log(f"{what} was written by {_text(logged, 0)}, this environment has {_text(logged, 1)}")


def verify(folder: Path, part: str, log: Callable[[str], None]) -> None:
    """Compare the files below a folder of an artifact with the digests in its manifest.

    Args:
        folder: the artifact; one without a manifest (a step that is debugged alone) is logged and
            accepted.
        part: the folder in it whose files are about to be read.
        log: writes one line.

    Raises:
        StepError: a file is missing, is not listed, or differs from its digest.
    """
    path = folder / MANIFEST
    content = json.loads(path.read_text()) if path.is_file() else {}
    if "files" not in content:
        log(f"{folder.name}: no digests were recorded, so {part} is read unverified")
        return
    listed = {
        name: entry["sha256"]
        for name, entry in content["files"].items()
        if name.startswith(f"{part}/")
    }
    present = {
        str(file.relative_to(folder)): sha256_file(file)
        for file in sorted((folder / part).rglob("*"))
        if file.is_file()
    }
    wrong = sorted(name for name in {*listed, *present} if listed.get(name) != present.get(name))
    if wrong or not listed:
        raise StepError(
            f"{content.get('kind', folder.name)} [{content.get('partition') or 'all'}]: "
            f"{', '.join(wrong) or part} differs from the manifest (sha256); materialise "
            f"{content.get('kind', folder.name)} again"
        )


def _differences(
    written: dict[str, str], present: dict[str, str], names: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """Return library → (written, present) where major or minor version differ."""
    pairs = {name: (_of(written, name), _of(present, name)) for name in names}
    return {
        name: (before, now)
        for name, (before, now) in pairs.items()
        if before and now and _minor(before) != _minor(now)
    }


def _of(found: dict[str, str], name: str) -> str | None:
    # tensorflow-cpu is a distribution of its own with the same code
    return found.get(name) or found.get(f"{name}-cpu")


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _text(differences: dict[str, tuple[str, str]], side: int) -> str:
    return ", ".join(f"{name} {pair[side]}" for name, pair in differences.items())
