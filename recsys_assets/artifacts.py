"""Store immutable, content-addressed artifacts: folders of files with a manifest.

``<root>/<kind>/<partition>/<fingerprint>-<digest>/`` holds the files and ``manifest.json``, which
is written last. ``<root>/<kind>/<partition>/CURRENT`` names the version that downstream reads. The
*fingerprint* is that of code version, parameters and input digests. The *digest* is that of the
content, and the Dagster data version. The root is a folder or an fsspec address.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

import fsspec

from recsys_assets.files import sha256_file, sha256_json, write_json, write_text
from recsys_assets.manifests import FileEntry, Manifest, Reference, library_versions, version_of

MANIFEST = "manifest.json"
CURRENT = "CURRENT"
WHOLE = "all"  # the partition of an artifact that has none


class ArtifactError(RuntimeError):
    """Base class of the errors of this module."""


class ArtifactMissing(ArtifactError):
    """An artifact does not exist; the message names the partitions and the remedy."""


class ArtifactCorrupt(ArtifactError):
    """A file differs from its manifest."""


@dataclass(frozen=True)
class Artifact:
    """A published artifact, read-only.

    ``local`` is its directory on this machine: a verified copy where the store is remote.
    """

    kind: str
    partition: str | None
    uri: str
    manifest: Manifest
    local: Path

    @property
    def digest(self) -> str:
        """Return the digest of the content."""
        return self.manifest["digest"]

    @property
    def seconds(self) -> float | None:
        """Return the build time in seconds; None if the manifest does not hold it."""
        return self.manifest.get("seconds")

    @property
    def versions(self) -> dict[str, str]:
        """Return library → version of the writing environment; empty if not recorded."""
        return dict(self.manifest.get("versions", {}))

    @property
    def metrics(self) -> dict[str, Any]:
        """Return the metrics that the writer recorded."""
        return dict(self.manifest.get("metrics", {}))

    def path(self, name: str) -> Path:
        """Return the local path of a file.

        Raises:
            ArtifactError: the manifest does not list the file.
        """
        if name not in self.manifest["files"]:
            raise ArtifactError(
                f"{self.kind} [{self.partition or WHOLE}] has no file {name!r}; it has "
                f"{sorted(self.manifest['files'])}"
            )
        return self.local / name

    def verify(self) -> Artifact:
        """Compare every file with its digest and return the artifact.

        Raises:
            ArtifactCorrupt: a file is missing or differs.
        """
        verify_directory(self.local, self.manifest)
        return self

    def reference(self) -> Reference:
        """Return the reference by which other manifests record this version."""
        return {
            "kind": self.kind,
            "partition": self.partition,
            "digest": self.digest,
            "uri": self.uri,
        }


def verify_directory(directory: Path, manifest: Manifest) -> None:
    """Compare every file of a directory with the digest in its manifest.

    Raises:
        ArtifactCorrupt: a file is missing or differs.
    """
    for name, entry in manifest["files"].items():
        path = directory / name
        if not path.is_file():
            raise ArtifactCorrupt(
                f"{path} is missing, but its manifest lists it; materialise {manifest['kind']} "
                "again"
            )
        if sha256_file(path) != entry["sha256"]:
            raise ArtifactCorrupt(
                f"{path} differs from its manifest (sha256); materialise "
                f"{manifest['kind']} [{manifest.get('partition') or WHOLE}] again"
            )


@dataclass
class Staged:
    """Holds a directory that is being written; ``publish`` makes it an artifact.

    ``versions`` maps library → version of the environment that writes the files. A training step
    replaces them by its own.
    """

    store: ArtifactStore
    kind: str
    partition: str | None
    fingerprint: str
    code: str
    inputs: dict[str, Any]
    params: dict[str, Any]
    path: Path
    versions: dict[str, str] = field(default_factory=library_versions)
    published: Artifact | None = field(default=None)
    started: float = field(default_factory=time.monotonic)

    def publish(self, metrics: Mapping[str, Any] | None = None) -> Artifact:
        """Publish the directory with a manifest and make it the current version."""
        self.published = self.store._publish(self, dict(metrics or {}))
        return self.published


class ArtifactStore:
    """Reads and writes artifacts under one root.

    Args:
        root: a local folder or an fsspec address.
        cache: folder for copies of remote artifacts (default: in the system's temporary folder).
    """

    def __init__(self, root: str | Path, cache: Path | None = None) -> None:
        self.root = str(root).rstrip("/")
        self.fs, self._prefix = fsspec.core.url_to_fs(self.root)
        self.is_local = "file" in (
            self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)
        )
        self.cache = cache or Path(tempfile.gettempdir()) / "recsys-artifacts"

    # --- paths
    def _base(self, kind: str, partition: str | None) -> str:
        return f"{self._prefix}/{kind}/{partition or WHOLE}"

    def _uri(self, path: str) -> str:
        return path if self.is_local else self.fs.unstrip_protocol(path)

    # --- reading
    def _open(self, kind: str, partition: str | None, version: str) -> Artifact | None:
        base = f"{self._base(kind, partition)}/{version}"
        if (manifest := self._manifest(base)) is None:
            return None
        local = self._local_copy(base, manifest)
        return Artifact(kind, partition, self._uri(base), manifest, local)

    def _manifest(self, base: str) -> Manifest | None:
        with contextlib.suppress(FileNotFoundError):
            return cast(Manifest, json.loads(self.fs.cat_file(f"{base}/{MANIFEST}")))
        return None

    def manifest(
        self, kind: str, partition: str | None = None, version: str | None = None
    ) -> Manifest | None:
        """Return the manifest of a version, else the current one; None if there is none."""
        version = version or self.version(kind, partition)
        return self._manifest(f"{self._base(kind, partition)}/{version}") if version else None

    def version(self, kind: str, partition: str | None = None) -> str | None:
        """Return the current version, which ends with the start of its digest, or None."""
        with contextlib.suppress(FileNotFoundError):
            return str(
                self.fs.cat_file(f"{self._base(kind, partition)}/{CURRENT}"), "utf-8"
            ).strip()
        return None

    def _local_copy(self, base: str, manifest: Manifest) -> Path:
        if self.is_local:
            return Path(base)
        target = self.cache / manifest["digest"]
        if not (target / MANIFEST).exists():
            temporary = self.cache / f".{manifest['digest']}.{uuid.uuid4().hex}"
            for name in [*manifest["files"], MANIFEST]:
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                self.fs.get_file(f"{base}/{name}", str(temporary / name))
            verify_directory(temporary, manifest)
            # another process may have been first; its copy is verified too
            with contextlib.suppress(OSError):
                os.replace(temporary, target)
            shutil.rmtree(temporary, ignore_errors=True)
        return target

    def find(self, kind: str, partition: str | None, fingerprint: str) -> Artifact | None:
        """Return the artifact with this fingerprint, or None."""
        for version in self._names(self._base(kind, partition)):
            if version.startswith(fingerprint[:16] + "-"):
                if found := self._open(kind, partition, version):
                    return found
        return None

    def _names(self, base: str) -> list[str]:
        """Return the names in a folder; none if the folder does not exist."""
        # a cached listing of a remote file system hides what other processes published
        self.fs.invalidate_cache()
        try:
            return [one.rstrip("/").rsplit("/", 1)[-1] for one in self.fs.ls(base, detail=False)]
        except FileNotFoundError:
            return []

    def exists(self, kind: str, partition: str | None = None) -> bool:
        """Return whether a partition has a current version."""
        return bool(self.fs.exists(f"{self._base(kind, partition)}/{CURRENT}"))

    def current(self, kind: str, partition: str | None = None) -> Artifact:
        """Return the current version; raises ArtifactMissing."""
        return self.require(kind, [partition])[0]

    def require(self, kind: str, partitions: Sequence[str | None]) -> list[Artifact]:
        """Return the current version of each of these partitions.

        Raises:
            ArtifactMissing: names every absent partition.
        """
        found, missing = list[Artifact](), list[str]()
        for partition in partitions:
            version = self.version(kind, partition)
            artifact = self._open(kind, partition, version) if version else None
            if artifact is None:
                missing.append(partition or WHOLE)
            else:
                found.append(artifact)
        if missing:
            raise ArtifactMissing(
                f"{kind} is missing for {', '.join(missing)}: materialise "
                f"{'it' if missing == [WHOLE] else 'these partitions'} first"
            )
        return found

    def open(self, reference: Mapping[str, Any]) -> Artifact:
        """Open the version that a reference of another manifest names.

        Raises:
            ArtifactMissing: this version no longer exists.
        """
        found = self._open(reference["kind"], reference["partition"], version_of(reference))
        if found is None or found.digest != reference["digest"]:
            raise ArtifactMissing(
                f"{reference['kind']} [{reference['partition'] or WHOLE}] of digest "
                f"{reference['digest'][:16]} no longer exists; materialise it again"
            )
        return found

    def partitions(self, kind: str) -> list[str]:
        """Return the partitions of a kind that have a current version, sorted."""
        names = sorted(self._names(f"{self._prefix}/{kind}"))
        return [name for name in names if self.exists(kind, name)]

    def days_before(self, kind: str, day: str, most: int) -> list[str]:
        """Return up to ``most`` partitions before a day, oldest first."""
        # looks at no more partitions than it returns: a history of years has thousands
        names = sorted(self._names(f"{self._prefix}/{kind}"), reverse=True)
        earlier = (name for name in names if name < day and self.exists(kind, name))
        return [*islice(earlier, most)][::-1]

    # --- writing
    @staticmethod
    def fingerprint(code_version: str, inputs: Mapping[str, Any], params: Mapping[str, Any]) -> str:
        """Return the digest of code version, input digests and parameters."""

        def digest(value: Any) -> Any:
            if isinstance(value, Artifact):
                return value.digest
            return [digest(v) for v in value] if isinstance(value, (list, tuple)) else value

        return sha256_json(
            {
                "code": code_version,
                "inputs": {k: digest(v) for k, v in inputs.items()},
                "params": dict(params),
            }
        )

    @contextlib.contextmanager
    def stage(
        self,
        kind: str,
        partition: str | None = None,
        *,
        code_version: str = "1",
        inputs: Mapping[str, Artifact | Sequence[Artifact] | str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Iterator[Staged]:
        """Open a private directory to write into; without ``publish`` it is discarded.

        ``inputs`` maps a role to artifacts, or plain digests, that the new artifact is made from.
        """
        inputs, params = dict(inputs or {}), dict(params or {})
        staging = Path(self._prefix) / ".staging" if self.is_local else None
        if staging is not None:
            staging.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix="recsys-", dir=staging))
        fingerprint = self.fingerprint(code_version, inputs, params)
        references = {role: _referenced(value) for role, value in inputs.items()}
        try:
            yield Staged(self, kind, partition, fingerprint, code_version, references, params, path)
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _publish(self, staged: Staged, metrics: dict[str, Any]) -> Artifact:
        files: dict[str, FileEntry] = {}
        for path in sorted(p for p in staged.path.rglob("*") if p.is_file()):
            files[path.relative_to(staged.path).as_posix()] = {
                "sha256": sha256_file(path),
                "bytes": path.stat().st_size,
            }
        digest = sha256_json({name: entry["sha256"] for name, entry in files.items()})
        manifest: Manifest = {
            "kind": staged.kind,
            "partition": staged.partition,
            "digest": digest,
            "fingerprint": staged.fingerprint,
            "code": staged.code,
            "inputs": staged.inputs,
            "params": staged.params,
            "files": files,
            "metrics": metrics,
            "versions": staged.versions,
            "created": int(time.time()),
            "seconds": round(time.monotonic() - staged.started, 1),
        }
        version = f"{staged.fingerprint[:16]}-{digest[:8]}"
        base = self._base(staged.kind, staged.partition)
        target = f"{base}/{version}"
        if not self.fs.exists(f"{target}/{MANIFEST}"):
            if self.is_local:
                write_json(staged.path / MANIFEST, manifest)
                Path(base).mkdir(parents=True, exist_ok=True)
                # a directory without a manifest is incomplete
                shutil.rmtree(target, ignore_errors=True)
                os.replace(staged.path, target)
            else:
                for name in files:
                    self.fs.put_file(str(staged.path / name), f"{target}/{name}")
                self.fs.pipe_file(
                    f"{target}/{MANIFEST}", json.dumps(manifest, indent=2, default=str).encode()
                )
        self.make_current(staged.kind, staged.partition, version)
        artifact = self._open(staged.kind, staged.partition, version)
        assert artifact is not None
        return artifact

    def make_current(self, kind: str, partition: str | None, version: str) -> None:
        """Make a version the current one of its partition."""
        path = f"{self._base(kind, partition)}/{CURRENT}"
        if self.is_local:
            write_text(Path(path), version)
        else:
            self.fs.pipe_file(path, version.encode())

    def reuse(self, artifact: Artifact) -> Artifact:
        """Make an artifact of the store the current version, and return it."""
        self.make_current(artifact.kind, artifact.partition, Path(artifact.uri).name)
        return artifact


def _referenced(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [*map(_referenced, value)]
    return value.reference() if isinstance(value, Artifact) else value
