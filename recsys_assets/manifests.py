"""Declare the form of ``manifest.json`` and the versions that it records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from recsys_assets.versions import installed

#: Distributions of the platform environment whose version can change the content of an artifact.
LIBRARIES = (
    "polars",
    "numpy",
    "pyarrow",
    "scipy",
    "implicit",
    "torch",
    "sentence-transformers",
    "open-clip-torch",
    "pillow",
    "faiss-cpu",
    "onnxruntime",
    "duckdb",
)


class FileEntry(TypedDict):
    """One file of an artifact: its SHA-256 as hex, and its size in bytes."""

    sha256: str
    bytes: int


class Reference(TypedDict):
    """One version of an artifact, as other manifests record it."""

    kind: str
    partition: str | None
    digest: str
    uri: str


class Manifest(TypedDict):
    """The content of ``manifest.json``.

    ``inputs`` maps a role to a ``Reference``, a list of them, or a plain digest. ``created`` is in
    unix seconds. Manifests of older versions lack ``versions`` and ``seconds``.
    """

    kind: str
    partition: str | None
    digest: str
    fingerprint: str
    code: str
    inputs: dict[str, Any]
    params: dict[str, Any]
    files: dict[str, FileEntry]
    metrics: dict[str, Any]
    versions: NotRequired[dict[str, str]]
    created: int
    seconds: NotRequired[float]


def library_versions() -> dict[str, str]:
    """Return library → version of the platform environment, without importing any."""
    return installed(*LIBRARIES)


def version_of(reference: Mapping[str, Any]) -> str:
    """Return the version that a reference names.

    Only the name counts, not the folder: a store can be moved, for example from a laptop to S3.
    """
    return str(reference["uri"]).rstrip("/").rsplit("/", 1)[-1]
