"""Digest the files and options of a source, by which an ingest recognises it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from recsys_assets.files import sha256_file, sha256_json


def digest_of(files: Sequence[Path], options: Mapping[str, object]) -> str:
    """Return the digest (16 hexadecimal digits) of the files' content and the options.

    File names do not count.
    """
    return sha256_json({"files": sorted(sha256_file(file) for file in files), **options})[:16]


def digest_of_ids(ids: pl.Series) -> str:
    """Return the digest of distinct ids, in any order."""
    return hashlib.sha256("\0".join(ids.sort()).encode()).hexdigest()


def given_options(**options: object) -> dict[str, object]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value}
