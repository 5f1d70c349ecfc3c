"""Digest the landing files of a day or of the catalogue; read only those that may have changed.

A digest is kept with size, times and inode of its file. While these stay, the file is not read
again, so that a year of days is looked at in a fraction of a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from recsys_assets.files import sha256_file, write_json
from recsys_assets.lib.landing.zone import (
    CATEGORIES_FILE,
    IMAGES_FILE,
    INTERACTIONS_FOLDER,
    ITEMS_FILE,
    SERVED_FOLDER,
    USERS_FILE,
)

#: What raw/items and raw/users read.
CATALOGUE_FILES = (ITEMS_FILE, IMAGES_FILE, CATEGORIES_FILE, USERS_FILE)

#: A file that changed this recently may change again without another time, so its digest is not
#: kept: file systems round times, mostly to some milliseconds.
SETTLED_SECONDS = 2.0

#: What identifies an unchanged file: size, times and inode, or those of an object.
Stamp = list[Any]


class LandingContent:
    """Digests the files of days and of the catalogue.

    The files of a day are its interactions, and its log of answers as ``served/<file>``.

    Args:
        landing: the landing zone, a folder or an fsspec address.
        cache: folder that keeps the digests, one file per day and one of the catalogue; None: keep
            none.
    """

    def __init__(self, landing: str, cache: Path | None = None) -> None:
        self._fs, self._prefix = fsspec.core.url_to_fs(landing.rstrip("/"))
        self._local = "://" not in landing
        self._cache = cache

    def digests(self, day: str) -> dict[str, str]:
        """Return file → sha256 of the Parquet files of a day (ISO), by name; empty without one.

        A file that disappears meanwhile is left out.
        """
        return self._digested(day, self._stamps(day), lambda name: self._path(day, name))

    def catalogue(self) -> dict[str, str]:
        """Return file → sha256 of CATALOGUE_FILES; those that are missing are left out."""
        return self._digested("catalogue", self._catalogue_stamps(), self._zone_path)

    def _digested(
        self, key: str, stamps: Mapping[str, Stamp], path: Callable[[str], str]
    ) -> dict[str, str]:
        """Return file → sha256 of stamped files.

        Args:
            key: names the file of the cache.
            stamps: file → stamp.
            path: returns the path of a file.
        """
        kept = self._kept(key) if stamps else {}
        found: dict[str, str] = {}
        keep: dict[str, tuple[Stamp, str]] = {}
        for name, stamp in sorted(stamps.items()):
            before = kept.get(name)
            if before is not None and before[0] == stamp:
                digest = before[1]
            else:
                with contextlib.suppress(FileNotFoundError):
                    found[name] = digest = self._digest(path(name))
                if name not in found:
                    continue
                if self._local and _changed_at(stamp) > time.time() - SETTLED_SECONDS:
                    continue
            found[name] = digest
            keep[name] = (stamp, digest)
        if self._cache is not None and {name: tuple(one) for name, one in kept.items()} != keep:
            write_json(self._cache / f"{key}.json", keep)
        return found

    def rows(self, day: str, name: str) -> int | None:
        """Return the number of rows of a file, from its footer; None if it cannot be read."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with self._fs.open(self._path(day, name), "rb") as stream:
                return int(pq.read_metadata(stream).num_rows)
        except (OSError, pa.ArrowException):
            return None

    def _path(self, day: str, name: str) -> str:
        """Return the path of a file; that of an answer's log begins with its folder."""
        folder, _, file = name.rpartition("/")
        return f"{self._prefix}/{folder or INTERACTIONS_FOLDER}/{day}/{file}"

    def _zone_path(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _catalogue_stamps(self) -> dict[str, Stamp]:
        """Return file → stamp of the files of the catalogue."""
        if not self._local:
            self._fs.invalidate_cache()
        found = {}
        for name in CATALOGUE_FILES:
            with contextlib.suppress(FileNotFoundError):
                path = self._zone_path(name)
                found[name] = (
                    _stamp(os.stat(path)) if self._local else _object_stamp(self._fs.info(path))
                )
        return found

    def _stamps(self, day: str) -> dict[str, Stamp]:
        """Return file → stamp of the Parquet files of a day."""
        found = self._folder_stamps(f"{self._prefix}/{INTERACTIONS_FOLDER}/{day}")
        if day in self._served_days:
            served = self._folder_stamps(f"{self._prefix}/{SERVED_FOLDER}/{day}")
            found |= {f"{SERVED_FOLDER}/{name}": stamp for name, stamp in served.items()}
        return found

    @cached_property
    def _served_days(self) -> frozenset[str]:
        """Return the days with a log of answers, so that no other day's folder is looked for."""
        folder = f"{self._prefix}/{SERVED_FOLDER}"
        with contextlib.suppress(FileNotFoundError):
            listed = self._fs.ls(folder, detail=False)
            return frozenset(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in listed)
        return frozenset()

    def _folder_stamps(self, folder: str) -> dict[str, Stamp]:
        """Return file → stamp of the Parquet files of a folder."""
        if self._local:
            try:
                with os.scandir(folder) as entries:
                    files = [one for one in entries if one.name.endswith(".parquet")]
                    return {one.name: _stamp(one.stat()) for one in files if one.is_file()}
            except FileNotFoundError:
                return {}
        self._fs.invalidate_cache()
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for info in self._fs.ls(folder, detail=True):
                name = str(info["name"]).rsplit("/", 1)[-1]
                if name.endswith(".parquet") and info["type"] == "file":
                    found[name] = _object_stamp(info)
        return found

    def _kept(self, key: str) -> dict[str, Any]:
        path = None if self._cache is None else self._cache / f"{key}.json"
        try:
            return dict(json.loads(path.read_bytes())) if path is not None else {}
        except (FileNotFoundError, ValueError):  # a cache: what cannot be read is made again
            return {}

    def _digest(self, path: str) -> str:
        if self._local:
            return sha256_file(Path(path))
        return hashlib.sha256(self._fs.cat_file(path)).hexdigest()


def _stamp(at: os.stat_result) -> Stamp:
    # the time of the inode too, because a program can set the other one back
    return [at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino]


def _object_stamp(info: Mapping[str, Any]) -> Stamp:
    """Return the stamp of a file in another file system."""
    stated = [info.get(key) for key in ("ETag", "LastModified", "mtime", "created")]
    return [info["size"], *map(str, stated)]


def _changed_at(stamp: Stamp) -> float:
    """Return the unix seconds of the last change of a local file."""
    return float(max(stamp[1], stamp[2])) / 1e9
