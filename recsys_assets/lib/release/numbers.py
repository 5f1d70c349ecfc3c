"""Gives out release numbers."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.release.lines import RECOMMENDER, ReleaseLine


def allocate_number(store: ArtifactStore, line: ReleaseLine = RECOMMENDER) -> int:
    """Return the next release number of a line.

    No number is given twice, not even to two writers at once: each creates the number's file
    exclusively.
    """
    prefix = f"{fsspec.core.url_to_fs(store.root)[1]}/{line.numbers}"
    while True:
        # a cached listing would offer a taken number again and again
        taken = store.fs.ls(prefix, detail=False, refresh=True) if store.fs.exists(prefix) else []
        names = [Path(path).name for path in taken] + store.partitions(line.kind)
        number = max(map(int, names), default=0) + 1
        path = f"{prefix}/{number:06d}"
        try:
            if store.is_local:
                Path(prefix).mkdir(parents=True, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            else:
                store.fs.pipe_file(path, b"", mode="create")  # S3: If-None-Match
        except FileExistsError:
            continue
        return number
