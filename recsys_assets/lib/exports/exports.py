"""Collects the ONNX files of the trained models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TypedDict

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.exports import parity
from recsys_assets.release_files import (
    ITEM_TOWER_ONNX,
    PARITY,
    QUERY_TOWER_ONNX,
    RANKER_ONNX,
    RANKER_PARTS,
)

#: ONNX file → the artifact role that exports it and the parity sample beside it.
EXPORTS = {QUERY_TOWER_ONNX: "two_tower", ITEM_TOWER_ONNX: "two_tower", RANKER_ONNX: "dlrm"}
#: The two parts of the ranker that serve; one sample compares both together.
PARTS = tuple(RANKER_PARTS.values())


class ExportFigures(TypedDict):
    """Holds the figures of the ONNX files."""

    max_abs_difference: dict[str, float]  # file → largest difference from TensorFlow
    bytes_of: dict[str, int]  # file → size


def write_exports(two_tower: Artifact, dlrm: Artifact, target: Path) -> ExportFigures:
    """Copy the ONNX files and compare each with TensorFlow on its parity sample.

    Args:
        two_tower: ``retrieval/two_tower``.
        dlrm: ``ranking/dlrm``.
        target: folder of the files.
    """
    origin = {"two_tower": two_tower, "dlrm": dlrm}
    differences = {}
    for name, role in EXPORTS.items():
        shutil.copyfile(origin[role].path(name), target / name)
        differences[name] = parity.parity(target / name, origin[role].path(PARITY))
    for name in PARTS:
        shutil.copyfile(dlrm.path(name), target / name)
    of_items, of_lists = (target / name for name in PARTS)
    differences[PARTS[-1]] = parity.parts_parity(of_items, of_lists, dlrm.path(PARITY))
    return {
        "max_abs_difference": differences,
        "bytes_of": {name: (target / name).stat().st_size for name in (*EXPORTS, *PARTS)},
    }
