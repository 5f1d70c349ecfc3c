"""Make the images of the cluster's own pods: one static program each."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tools.cluster.binaries import COREDNS, PAUSE, Program
from tools.cluster.images.oci import Config, write_image, write_layer

OWN = (PAUSE, COREDNS)


def write(program: Program) -> Path:
    """Write the image ``localhost/NAME:1`` beside a program, unless it is there."""
    out = program.path.with_suffix(".oci.tar")
    if not out.exists():
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            tree = Path(folder, "tree")
            tree.mkdir()
            shutil.copy2(program.path, tree / program.name)
            layer = write_layer(tree, Path(folder, "layer.tar"))
            config = Config(entrypoint=[f"/{program.name}"])
            write_image(f"localhost/{program.name}:1", out, [layer], config)
    return out
