"""Read and write the items similar to each item: ``<home>/serving/similar.npz``.

The file belongs to the promoted release. Ids and neighbours are in one file, replaced by one
rename, so that they are always of one release: ``release`` int64, ``item_ids`` uint8 (JSON),
``neighbours`` int32 [I, S] (Categorify indices, best first, -1 for none). It holds no pickles, and
none are read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from recsys_assets.columns import VOCABULARY_START
from recsys_assets.files import replacing
from recsys_assets.serving.published.live_file import LiveFile
from recsys_assets.settings import Settings


class SimilarMissing(RuntimeError):
    """No release was promoted yet, or its file cannot be read."""


def similar_path(settings: Settings) -> Path:
    """Return the path of the file."""
    return settings.home / "serving" / "similar.npz"


def write_similar(target: Path, release: int, item_ids: Path, neighbours: Path) -> None:
    """Write the ids and neighbours of a release into one file, atomically.

    Args:
        target: the file to replace.
        release: the release's number.
        item_ids: path of its item_ids.json.
        neighbours: path of its similar_items.npy.
    """
    with replacing(target) as temporary, open(temporary, "wb") as stream:
        np.savez(
            stream,
            release=np.int64(release),
            item_ids=np.frombuffer(item_ids.read_bytes(), np.uint8),
            neighbours=np.load(neighbours, allow_pickle=False),
        )


@dataclass(frozen=True)
class Similar:
    """The neighbours of each item of a release.

    Attributes:
        release: its number; None before a file was read.
        item_ids: I ids in index order.
        rows: item id → its row of ``neighbours``.
        neighbours: int32 [I, S], Categorify indices, best first, -1 for none.
    """

    release: int | None = None
    item_ids: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    neighbours: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int32))

    def of(self, item_id: str, k: int) -> list[str] | None:
        """Return at most k similar ids, best first; None for an unknown item."""
        row = self.rows.get(item_id)
        if row is None:
            return None
        return [
            self.item_ids[index - VOCABULARY_START]
            for index in self.neighbours[row, : max(k, 0)].tolist()
            if index >= VOCABULARY_START
        ]


def read_similar(path: Path) -> Similar:
    """Read a file of similar items.

    Raises:
        SimilarMissing: the file is missing or invalid; the message names it and the remedy.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            release, neighbours = int(stored["release"]), stored["neighbours"]
            item_ids: list[str] = json.loads(stored["item_ids"].tobytes())
    except FileNotFoundError as error:
        raise SimilarMissing(f"{path} is missing: promote a release first") from error
    except (ValueError, KeyError, EOFError, OSError, BadZipFile) as error:
        raise SimilarMissing(
            f"{path} is not a release's file of similar items ({error!r}): promote a release again"
        ) from error
    if (
        neighbours.ndim != 2
        or len(neighbours) != len(item_ids)
        or neighbours.max(initial=-1) >= VOCABULARY_START + len(item_ids)
    ):
        raise SimilarMissing(
            f"{path}: neighbours {list(neighbours.shape)} are not of its {len(item_ids)} items: "
            "promote a release again"
        )
    return Similar(release, item_ids, {item: row for row, item in enumerate(item_ids)}, neighbours)


class LiveSimilar:
    """The similar items of the promoted release, read again after each promotion."""

    def __init__(self, settings: Settings) -> None:
        self._file = LiveFile(similar_path(settings), read_similar, Similar())

    def of(self, item_id: str, k: int) -> list[str] | None:
        """Return at most k similar ids, best first; None for an unknown item.

        Raises:
            SimilarMissing: no release was promoted yet, or the file is invalid.
        """
        return self.current().of(item_id, k)

    def current(self) -> Similar:
        """Return all similar items.

        Raises:
            SimilarMissing: no release was promoted yet, or the file is invalid.
        """
        found = self._file.current()
        if not self._file.was_read:
            raise SimilarMissing(f"{self._file.path} is missing: promote a release first")
        return found
