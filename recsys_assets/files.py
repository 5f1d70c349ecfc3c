"""Digests of files and values, and JSON files that are replaced as one."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any


def sha256_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_text(json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")
    os.replace(temporary, path)


class FileCorrupt(RuntimeError):
    """A file is missing, unlisted, differs from its digest or holds what it may not; the message
    names it and the remedy.
    """


def read_json(path: Path) -> Any:
    """Parse a JSON file; raises FileCorrupt naming it."""
    try:
        return json.loads(path.read_bytes())  # bytes: Triton's stub has an ASCII locale
    except ValueError as error:
        raise FileCorrupt(
            f"{path} is not valid JSON ({error}); publish the release again"
        ) from error
