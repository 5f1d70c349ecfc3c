"""Compute digests of files and values; read JSON files and write them atomically."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of a value's JSON as hex; key order has no effect."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside a file that replaces the file atomically when the block ends.

    Readers see the old file or the new one. The folder is made. If the block raises, the old file
    stays and the new one is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically: readers see the old file or the new one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically: readers see the old file or the new one."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


class FileCorrupt(RuntimeError):
    """A file is missing, unlisted, invalid, or differs from its digest.

    The message names the file and the remedy.
    """


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        FileCorrupt: the file is not valid JSON.
    """
    try:
        return json.loads(path.read_bytes())  # bytes: Triton's stub has an ASCII locale
    except ValueError as error:
        raise FileCorrupt(
            f"{path} is not valid JSON ({error}); publish the release again"
        ) from error


def log_tail(log: str | Path, lines: int = 30) -> str:
    """Return the last lines of a log."""
    path = Path(log)
    if not path.is_file():
        return f"({path} does not exist)"
    with open(path, "rb") as stream:
        stream.seek(max(0, path.stat().st_size - 65_536))
        text = stream.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:]) or f"({path} is empty)"
