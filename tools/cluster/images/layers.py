"""Keep layers by what they are made of, as folders and as tars."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.binaries import cache, locked
from tools.cluster.images.oci import Layer, write_layer


@dataclass(frozen=True)
class Kept:
    """A layer in the cache.

    Attributes:
        key: digest of what it is made of, its parents among it.
    """

    key: str

    @property
    def folder(self) -> Path:
        """Return the folder of the layer in the cache."""
        return cache() / "layers" / self.key

    @property
    def tree(self) -> Path:
        """Return the layer's files."""
        return self.folder / "tree"

    @property
    def layer(self) -> Layer:
        """Return the layer's tar."""
        return Layer(self.folder / "layer.tar", (self.folder / "digest").read_text())


def key_of(*parts: str) -> str:
    """Return a key of the texts that a layer is made of."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def content_key(paths: Iterable[Path]) -> str:
    """Return a digest of files and folders: names, modes and content."""
    digest = hashlib.sha256()
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            if file.is_file() and file.suffix != ".pyc":
                name = file.relative_to(path.parent)
                digest.update(f"{name} {file.stat().st_mode:o} {file.stat().st_size}\n".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def kept(key: str, fill: Callable[[Path], None]) -> Kept:
    """Return a layer of the cache; one that is not there is made first.

    Args:
        key: of the layer.
        fill: writes the layer's files into an empty folder.
    """
    layer = Kept(key)
    with locked(cache() / "layers"):
        if not (layer.folder / "digest").exists():
            shutil.rmtree(layer.folder, ignore_errors=True)  # of a build that was killed
            layer.tree.mkdir(parents=True)
            fill(layer.tree)
            written = write_layer(layer.tree, layer.folder / "layer.tar")
            (layer.folder / "digest").write_text(written.digest)
        os.utime(layer.folder)
    return layer


def forget(used: Iterable[Kept], keep_days: float = 14.0) -> None:
    """Delete layers that no build has used for some days."""
    import time

    names = {layer.key for layer in used}
    limit = time.time() - keep_days * 86_400
    for folder in (cache() / "layers").glob("*/"):
        if folder.name not in names and folder.stat().st_mtime < limit:
            shutil.rmtree(folder, ignore_errors=True)
