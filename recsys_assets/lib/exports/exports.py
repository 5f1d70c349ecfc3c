"""The trained models as ONNX files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

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
#: The ranker in the two parts that serve, held against the same sample together.
PARTS = tuple(RANKER_PARTS.values())


def write_exports(two_tower: Artifact, dlrm: Artifact, target: Path) -> dict[str, Any]:
    """The ONNX files, with the largest difference of each model from TensorFlow's outputs on its
    parity sample.
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
