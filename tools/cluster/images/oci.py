"""Write OCI images: layers are tars of folders, an image is a tar that holds some of them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TYPES = "application/vnd.oci.image"


@dataclass(frozen=True)
class Layer:
    """One layer: an uncompressed tar, and its digest."""

    path: Path
    digest: str


@dataclass
class Config:
    """Holds how the processes of an image are started.

    Attributes:
        environment: variables of every process.
        entrypoint: the begin of the command line.
        arguments: the rest of it.
        user: ``uid:gid``; "" for root.
        folder: in which processes start.
    """

    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    entrypoint: Sequence[str] = ()
    arguments: Sequence[str] = ()
    user: str = ""
    folder: str = "/"

    def described(self) -> dict[str, Any]:
        """Return the object of the image's configuration file."""
        given = {
            "Env": [f"{name}={value}" for name, value in self.environment.items()],
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.arguments),
            "User": self.user,
            "WorkingDir": self.folder,
        }
        return {name: value for name, value in given.items() if value}


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_layer(folder: Path, out: Path, *, target: str = "") -> Layer:
    """Write a folder's content as a layer.

    Owners are root's unless the folder says otherwise, times are 0: the same files give the same
    digest. Deleted files of an overlay's upper folder become the format's own marks.

    Args:
        folder: whose content is the layer's.
        out: the file to write.
        target: where in the image the content lies; "" for its root.
    """
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        _add_parents(tar, target)
        for parent, folders, files in os.walk(folder):
            folders.sort()
            for name in sorted([*folders, *files]):
                path = Path(parent, name)
                _add(tar, path, Path(target.strip("/"), path.relative_to(folder)))
    os.replace(temporary, out)
    return Layer(out, digest_of(out))


def _add_parents(tar: tarfile.TarFile, target: str) -> None:
    parts = Path(target.strip("/")).parts
    for count in range(1, len(parts) + 1):
        entry = tarfile.TarInfo("/".join(parts[:count]))
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)


def _add(tar: tarfile.TarFile, path: Path, name: Path) -> None:
    """Add one entry: a file, a folder, a link, or the mark of a deletion."""
    status = path.lstat()
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:  # how an overlay marks a deletion
        tar.addfile(tarfile.TarInfo(str(name.with_name(f".wh.{name.name}"))))
        return
    entry = tar.gettarinfo(path, str(name))
    entry.mtime = 0
    entry.uname = entry.gname = ""
    if entry.isreg():
        with path.open("rb") as file:
            tar.addfile(entry, file)
        return
    tar.addfile(entry)
    if entry.isdir() and "trusted.overlay.opaque" in os.listxattr(path):
        tar.addfile(tarfile.TarInfo(str(name / ".wh..wh..opq")))


def write_image(name: str, out: Path, layers: Sequence[Layer], config: Config) -> Path:
    """Write an image as an OCI layout in a tar, which containerd imports.

    Args:
        name: with host and tag, such as ``localhost/recsys-platform:1``.
        out: the file to write.
        layers: the lowest first.
        config: what the image says about its processes.
    """
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    digests = [f"sha256:{one.digest}" for one in layers]
    with tarfile.open(temporary, "w") as tar:
        described = _put_object(
            tar,
            "config",
            {
                "architecture": "amd64",
                "os": "linux",
                "config": config.described(),
                "rootfs": {"type": "layers", "diff_ids": digests},
                "history": [{}] * len(layers),
            },
        )
        for digest, path in {one.digest: one.path for one in layers}.items():
            tar.add(path, arcname=f"blobs/sha256/{digest}")
        held = [
            {
                "mediaType": f"{TYPES}.layer.v1.tar",
                "digest": f"sha256:{one.digest}",
                "size": one.path.stat().st_size,
            }
            for one in layers
        ]
        manifest = _put_object(
            tar, "manifest", {"schemaVersion": 2, "config": described, "layers": held}
        )
        named = {**manifest, "annotations": {"io.containerd.image.name": name}}
        _put(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [named]}).encode())
        _put(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    os.replace(temporary, out)
    return out


def _put(tar: tarfile.TarFile, path: str, content: bytes) -> None:
    entry = tarfile.TarInfo(path)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _put_object(tar: tarfile.TarFile, kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Put a JSON blob and return its descriptor."""
    media = f"{TYPES}.{kind}.v1+json"
    content = json.dumps({"mediaType": media, **value} if kind == "manifest" else value).encode()
    digest = hashlib.sha256(content).hexdigest()
    _put(tar, f"blobs/sha256/{digest}", content)
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}
