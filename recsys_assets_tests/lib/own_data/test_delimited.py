"""Test what is told from the first lines: delimiter, header, names."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pytest

from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.batch import TextForm
from recsys_assets.lib.own_data.delimited import DELIMITERS, DelimitedFile, detect_delimiter

WORDS = 'red blue; green, shoe | bag "5" inch 12,50 1.234,00 Home > Kitchen & Pans: new/old'.split()


@pytest.mark.parametrize("seed", range(40))
def test_the_delimiter_is_told(seed: int):
    rng = random.Random(seed)
    delimiter, columns = rng.choice(DELIMITERS), rng.randrange(2, 9)
    buffer = io.StringIO()
    writer = csv.writer(
        buffer, delimiter=delimiter, quoting=rng.choice([0, 1]), lineterminator="\n"
    )
    writer.writerow([f"name_{n}" for n in range(columns)])
    for _ in range(rng.choice([1, 3, 40])):
        writer.writerow(
            [f"sku-{rng.randrange(999)}"]
            + [" ".join(rng.choices(WORDS, k=rng.randrange(1, 12))) for _ in range(columns - 1)]
        )
    assert detect_delimiter(buffer.getvalue().splitlines()) == delimiter


def names(path: Path, content: str, form: TextForm | None = None) -> list[str]:
    path.write_text(content)
    return DelimitedFile(path, form or TextForm()).names


def test_columns_without_a_name_get_their_number(tmp_path: Path):
    assert names(tmp_path / "a.csv", "a,,b,\n1,2,3,4\n") == ["a", "column 2", "b", "column 4"]
    assert names(tmp_path / "a.csv", "a,b\n1,2,\n3,4,\n") == ["a", "b", "column 3"]


def test_given_names_must_fit(tmp_path: Path):
    form = TextForm(("a", "b"))
    assert names(tmp_path / "a.csv", "1;2\n3;4\n", form) == ["a", "b"]
    with pytest.raises(IngestError, match=r"names 2 columns, and the first line .* has 3"):
        names(tmp_path / "a.csv", "1,2,3\n", form)
    with pytest.raises(IngestError, match="is a header"):
        names(tmp_path / "a.csv", "A,c\n1,2\n", form)


def test_an_empty_file_has_no_names(tmp_path: Path):
    assert names(tmp_path / "a.csv", "") == names(tmp_path / "a.csv", " \n\n\t\n") == []


def test_a_header_that_cannot_be_decoded_is_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes("é\né\né\n".encode() + b"x\n")
    assert DelimitedFile(tmp_path / "a.csv", TextForm()).names == ["é"]
    (tmp_path / "a.csv").write_bytes(b"\xe9\n" + "é\né\né\n".encode())
    with pytest.raises(IngestError, match="name it with --encoding"):
        DelimitedFile(tmp_path / "a.csv", TextForm())
