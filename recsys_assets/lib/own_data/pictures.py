"""Read the pictures of a catalogue from a folder.

A file is found by the catalogue's ``image`` column, or by item id.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from recsys_assets.columns import ITEM_ID
from recsys_assets.lib.landing.zone import IngestError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
UNREADABLE = "not a readable PNG, JPEG, WebP or GIF"
SCHEMA = pa.schema([("image", pa.string()), ("content", pa.binary())])
_GROUP = 128  # pictures in memory at the same time
_PROBE = (64, 64)  # a JPEG is decoded at about this size, which is enough to find a broken file


@dataclass(frozen=True)
class Pictures:
    """Holds the catalogue with its pictures, and the counts for the report."""

    items: pl.DataFrame  # ``image`` names a picture of the target file, or is empty
    read: int
    without: int  # items without a picture
    unreadable: list[str]  # file names
    ambiguous: list[str]  # names that several files have, with those files


class _Folder:
    """Finds files by the names that catalogues give them.

    A name is a relative path, a file name or a web address. Where no file has it, case does not
    count, and then the extension does not: bag.jpg is found as BAG.JPG and as bag.webp.
    """

    def __init__(self, folder: Path) -> None:
        self._files = sorted(
            Path(root, name)
            for root, _, names in os.walk(folder)
            for name in names
            if name.lower().endswith(SUFFIXES)
        )
        if not self._files:
            archive = " unpack an archive first." if folder.is_file() else ""
            raise IngestError(
                f"--images {folder}: no such folder, or none of its files ends in "
                f"{', '.join(SUFFIXES)};{archive} give the folder of the pictures"
            )
        self._by: list[dict[str, list[Path]]] = [{} for _ in _NAMES]
        for file in self._files:
            relative = file.relative_to(folder).as_posix()
            for names, name_of in zip(self._by, _NAMES, strict=True):
                names.setdefault(name_of(relative), []).append(file)
        self.ambiguous: dict[str, list[Path]] = {}

    def find(self, image: str) -> Path | None:
        """Return the file that a catalogue names; None if there is none, or several."""
        name = image.strip().replace("\\", "/")
        if "://" in name:
            name = PurePosixPath(unquote(urlsplit(name).path)).name
        for names, name_of in zip(self._by, _NAMES, strict=True):
            if found := names.get(name_of(name)):
                return self._one(image, found)
        return None

    def find_item(self, item_id: str) -> Path | None:
        """Return the file that is named by an item's id."""
        for suffix in SUFFIXES:
            if found := self._by[1].get(item_id + suffix):
                return self._one(item_id, found)
        for suffix in SUFFIXES:
            if found := self._by[3].get((item_id + suffix).lower()):
                return self._one(item_id, found)
        return None

    def _one(self, name: str, found: list[Path]) -> Path | None:
        """Return the one file; of one picture in several formats, the first of SUFFIXES."""
        if len({file.parent for file in found}) == 1:
            rank = {suffix: n for n, suffix in enumerate(SUFFIXES)}
            return min(found, key=lambda file: rank[file.suffix.lower()])
        self.ambiguous[name] = found
        return None


def _stem(path: str) -> str:
    suffix = PurePosixPath(path).suffix
    return path.removesuffix(suffix) if suffix.lower() in SUFFIXES else path


#: From a relative path to the names by which it is found, the most exact first.
_NAMES: tuple[Callable[[str], str], ...] = (
    lambda path: path,
    lambda path: PurePosixPath(path).name,
    lambda path: path.lower(),
    lambda path: PurePosixPath(path).name.lower(),
    lambda path: _stem(path).lower(),
    lambda path: _stem(PurePosixPath(path).name).lower(),
)


def _sound(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            picture.draft("RGB", _PROBE)
            picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        # Pillow raises each of these for a broken file.
        return False
    return True


def read_pictures(
    folder: Path, items: pl.DataFrame, kept: Path | None, target: Path | None
) -> Pictures:
    """Write the pictures of all items that have one in the folder.

    The target file has the columns {image: String, content: Binary}.

    Args:
        folder: the folder with the pictures, searched whole.
        items: RAW_ITEMS; ``image`` as the catalogue gives it (a name, a relative path, or empty).
        kept: an older file of pictures; a picture that an item still names is kept.
        target: the file to write; memory holds one group of pictures at a time. None: write none.

    Raises:
        IngestError: the folder has no picture.
    """
    files = _Folder(folder)
    found = [
        (files.find(image) if image.strip() else None) or files.find_item(item_id)
        for image, item_id in items.select("image", ITEM_ID).iter_rows()
    ]
    names: dict[Path, str] = {}
    unreadable: list[str] = []
    with _writer(target) as writer:
        group: list[tuple[str, bytes]] = []
        for file in dict.fromkeys(path for path in found if path is not None):
            content, name = file.read_bytes(), file.relative_to(folder).as_posix()
            if not _sound(content):
                unreadable.append(name)
                continue
            names[file] = name
            group.append((name, content))
            if len(group) == _GROUP:
                _write(writer, group)
                group = []
        _write(writer, group)
        images = [names.get(file) if file is not None else None for file in found]
        old = [
            image if file is None else None
            for image, file in zip(items["image"], found, strict=True)
        ]
        still = _keep(writer, kept, {name for name in old if name} - set(names.values()))
    column = pl.Series(
        "image",
        [
            new or (before if before in still else "") or ""
            for new, before in zip(images, old, strict=True)
        ],
        dtype=pl.String,
    )
    ambiguous = [
        f"{name}: {', '.join(one.relative_to(folder).as_posix() for one in several)}"
        for name, several in files.ambiguous.items()
    ]
    without = int((column == "").sum())
    return Pictures(items.with_columns(column), len(names), without, unreadable, ambiguous)


def _writer(target: Path | None) -> AbstractContextManager[pq.ParquetWriter | None]:
    if target is None:
        return nullcontext()
    target.parent.mkdir(parents=True, exist_ok=True)
    # Pictures do not get smaller by compression.
    writer: AbstractContextManager[pq.ParquetWriter] = pq.ParquetWriter(
        target, SCHEMA, compression="none"
    )
    return writer


def _write(writer: pq.ParquetWriter | None, group: list[tuple[str, bytes]]) -> None:
    if group and writer is not None:
        writer.write_table(
            pa.table(
                {"image": [name for name, _ in group], "content": [one for _, one in group]},
                schema=SCHEMA,
            )
        )


def _keep(writer: pq.ParquetWriter | None, kept: Path | None, wanted: set[str]) -> set[str]:
    """Copy the wanted pictures from an older file; return the names that were found."""
    still: set[str] = set()
    if kept is None or not kept.exists() or not wanted:
        return still
    with pq.ParquetFile(kept) as file:
        for batch in file.iter_batches(batch_size=_GROUP, columns=SCHEMA.names):
            group = [
                (row["image"], row["content"])
                for row in batch.to_pylist()
                if row["image"] in wanted
            ]
            still |= {name for name, _ in group}
            _write(writer, group)
    return still


def without_folder(items: pl.DataFrame, kept: Path | None) -> pl.DataFrame:
    """Return the catalogue with ``image`` limited to pictures that are already landed.

    This is for an ingest without ``--images``.
    """
    if kept is None or not kept.exists():
        return items.with_columns(image=pl.lit(""))
    have = pl.read_parquet(kept, columns=["image"])["image"].implode()
    names = [pl.col("image"), *(pl.col(ITEM_ID) + suffix for suffix in SUFFIXES)]
    return items.with_columns(
        image=pl.coalesce(*(pl.when(name.is_in(have)).then(name) for name in names), pl.lit(""))
    )
