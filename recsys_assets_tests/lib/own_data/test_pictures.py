"""Test how the files of pictures are found."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.pictures import read_pictures


def found(folder: Path, image: str, item_id: str = "id", *files: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    for name in files:
        (folder / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "p" / name).write_bytes(buffer.getvalue())
    items = pl.DataFrame({"item_id": [item_id], "image": [image]})
    return read_pictures(folder / "p", items, None, folder / "out/x.parquet").items["image"][0]


@pytest.mark.parametrize(
    ("image", "files", "expected"),
    [
        ("a.jpg", ["a.jpg", "b/a.jpg"], "a.jpg"),
        ("a.jpg", ["A.JPG", "a.png"], "A.JPG"),
        ("a.jpg", ["a.webp", "a.gif"], "a.webp"),
        ("a", ["a.gif"], "a.gif"),
        ("b\\a.jpg", ["b/a.jpg", "c/a.jpg"], "b/a.jpg"),
        ("https://x.example/a%20b.jpg?w=2", ["a b.jpg"], "a b.jpg"),
        ("a.jpg", ["b/a.jpg", "c/a.jpg"], ""),
        ("", ["ID.JPEG"], "ID.JPEG"),
        ("gone.jpg", ["id.png", "id.jpg"], "id.png"),
        ("v1.2", ["v1.2.png"], "v1.2.png"),
    ],
)
def test_a_file_is_found_by_the_most_exact_name(
    tmp_path: Path, image: str, files: list[str], expected: str
):
    assert found(tmp_path, image, "id", *files) == expected


def test_names_of_several_files_are_reported(tmp_path: Path):
    found(tmp_path, "a.png", "id", "b/a.png", "c/a.png")
    items = pl.DataFrame({"item_id": ["id"], "image": ["a.png"]})
    read = read_pictures(tmp_path / "p", items, None, tmp_path / "out/y.parquet")
    assert read.ambiguous == ["a.png: b/a.png, c/a.png"] and read.without == 1


def test_an_archive_is_no_folder(tmp_path: Path):
    (tmp_path / "p").write_bytes(b"PK")
    items = pl.DataFrame({"item_id": ["id"], "image": [""]})
    with pytest.raises(IngestError, match="unpack an archive"):
        read_pictures(tmp_path / "p", items, None, tmp_path / "out/y.parquet")
