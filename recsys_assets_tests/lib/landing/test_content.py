"""Test the digests of landing files: content decides, and unchanged files are not read again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import fsspec
import polars as pl
import pytest

from recsys_assets.lib.landing import content as module
from recsys_assets.lib.landing.content import LandingContent

DAY = "2026-11-05"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a day with one old file."""
    folder = tmp_path / "landing" / "interactions" / DAY
    folder.mkdir(parents=True)
    write(folder / "log.parquet", b"first")
    return folder


def write(file: Path, content: bytes, age: float = 3_600) -> None:
    """Write a file in place, with a time in the past."""
    file.write_bytes(content)
    at = file.stat().st_mtime - age
    os.utime(file, (at, at))


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def opened(folder: Path, **arguments: object) -> LandingContent:
    return LandingContent(str(folder.parents[1]), **arguments)  # type: ignore[arg-type]


def test_every_parquet_file_is_digested_and_nothing_else(folder: Path) -> None:
    (folder / ".log.parquet.part").write_bytes(b"half")
    (folder / "folder.parquet").mkdir()
    (folder / "a.parquet").write_bytes(b"a")
    expected = {"a.parquet": sha(b"a"), "log.parquet": sha(b"first")}
    assert opened(folder).digests(DAY) == expected
    assert LandingContent(f"file://{folder.parents[1]}").digests(DAY) == expected
    assert opened(folder).digests("2026-11-06") == {}


def test_an_unchanged_file_is_not_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setattr(module, "SETTLED_SECONDS", 0.0)
    opened(folder, cache=cache).digests(DAY)
    monkeypatch.setattr(module, "sha256_file", lambda _: pytest.fail("read again"))
    assert opened(folder, cache=cache).digests(DAY) == {"log.parquet": sha(b"first")}


def test_the_same_size_and_time_with_other_content_is_noticed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLED_SECONDS", 0.0)
    before = (folder / "log.parquet").stat()
    opened(folder, cache=tmp_path / "cache").digests(DAY)
    (folder / "log.parquet").write_bytes(b"other")  # in place: the same inode
    os.utime(folder / "log.parquet", ns=(before.st_atime_ns, before.st_mtime_ns))
    after = (folder / "log.parquet").stat()
    assert (before.st_size, before.st_mtime_ns, before.st_ino) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ino,
    )
    assert opened(folder, cache=tmp_path / "cache").digests(DAY)["log.parquet"] == sha(b"other")


def test_a_file_of_this_moment_is_read_again(folder: Path, tmp_path: Path) -> None:
    """Its next change may fall into the same tick of the file system's clock."""
    (folder / "log.parquet").write_bytes(b"new 1")
    content = opened(folder, cache=tmp_path / "cache")
    content.digests(DAY)
    assert not (tmp_path / "cache" / f"{DAY}.json").exists()
    stamp = (folder / "log.parquet").stat()
    (folder / "log.parquet").write_bytes(b"new 2")
    os.utime(folder / "log.parquet", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert content.digests(DAY)["log.parquet"] == sha(b"new 2")


def test_a_broken_cache_is_made_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLED_SECONDS", 0.0)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / f"{DAY}.json").write_text("{")
    assert opened(folder, cache=cache).digests(DAY) == {"log.parquet": sha(b"first")}
    assert "log.parquet" in (cache / f"{DAY}.json").read_text()


def test_rows_come_from_the_footer(folder: Path) -> None:
    pl.DataFrame({"a": [1, 2, 3]}).write_parquet(folder / "three.parquet")
    content = opened(folder)
    assert content.rows(DAY, "three.parquet") == 3
    assert content.rows(DAY, "log.parquet") is None and content.rows(DAY, "none.parquet") is None


def test_files_of_an_object_store_are_digested_and_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fsspec.filesystem("memory")
    address = f"memory://{tmp_path.name}/landing"
    store.pipe_file(f"/{tmp_path.name}/landing/interactions/{DAY}/log.parquet", b"first")
    content = LandingContent(address, tmp_path / "cache")
    assert content.digests(DAY) == {"log.parquet": sha(b"first")}
    assert content.digests("2026-11-06") == {}
    monkeypatch.setattr(content._fs, "cat_file", lambda _: pytest.fail("read again"))
    assert content.digests(DAY) == {"log.parquet": sha(b"first")}
    monkeypatch.undo()
    store.pipe_file(f"/{tmp_path.name}/landing/interactions/{DAY}/log.parquet", b"other")
    assert content.digests(DAY) == {"log.parquet": sha(b"other")}


def test_the_files_of_the_catalogue_are_digested_and_missing_ones_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = tmp_path / "landing"
    for name, content in ((module.ITEMS_FILE, b"items"), (module.USERS_FILE, b"users")):
        (landing / name).parent.mkdir(parents=True)
        write(landing / name, content)
    expected = {module.ITEMS_FILE: sha(b"items"), module.USERS_FILE: sha(b"users")}
    monkeypatch.setattr(module, "SETTLED_SECONDS", 0.0)
    assert LandingContent(str(landing), tmp_path / "cache").catalogue() == expected
    assert LandingContent(f"file://{landing}").catalogue() == expected
    assert LandingContent(str(tmp_path / "empty")).catalogue() == {}
    monkeypatch.setattr(module, "sha256_file", lambda _: pytest.fail("read again"))
    assert LandingContent(str(landing), tmp_path / "cache").catalogue() == expected
