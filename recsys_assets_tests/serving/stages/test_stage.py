from __future__ import annotations

import json

import numpy as np
import pytest

from recsys_assets.files import FileCorrupt, read_json
from recsys_assets.serving.stages.embedding_lookup import MultimodalEmbeddingLookup
from recsys_assets.serving.stages.ordering import SoftmaxSampling
from recsys_assets.serving.stages.stage import (
    StageInputInvalid,
    TensorSpec,
    read_matrix,
    shared,
    verify_files,
)
from recsys_assets_tests.support.tiny_payload import write_files_json


@pytest.fixture
def version(tmp_path):
    """A version directory as it is published."""
    (tmp_path / "a.json").write_text("[1]")
    (tmp_path / "b.bin").write_bytes(bytes(100))
    write_files_json(tmp_path)
    (tmp_path / "model.py").touch()
    (tmp_path / "__pycache__").touch()
    return tmp_path


def test_a_published_directory_is_accepted(version):
    verify_files(version, ["a.json", "b.bin"])


def test_one_changed_byte_is_refused_and_the_file_named(version):
    (version / "b.bin").write_bytes(bytes(99) + b"\x01")
    with pytest.raises(FileCorrupt, match=r"b\.bin differs from its digest"):
        verify_files(version, ["a.json"])


def test_a_missing_file_is_named(version):
    (version / "a.json").unlink()
    with pytest.raises(FileCorrupt, match=r"a\.json is missing though files.json lists it"):
        verify_files(version, [])


def test_a_file_that_nobody_listed_is_refused(version):
    (version / "model.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(FileCorrupt, match=r"model\.pkl is not listed"):
        verify_files(version, [])


def test_a_needed_file_must_be_listed(version):
    with pytest.raises(FileCorrupt, match=r"does not list index\.faiss"):
        verify_files(version, ["index.faiss"])


def test_a_directory_without_digests_is_refused(tmp_path):
    with pytest.raises(FileCorrupt, match=r"files\.json is missing"):
        verify_files(tmp_path, [])


def test_every_stage_verifies_before_it_opens(version, tmp_path_factory):
    directory = tmp_path_factory.mktemp("sampling")
    sampling = {
        "ranking_topk": 1,
        "diversity": "off",
        "temperature": 1.0,
        "mmr_lambda": 0.5,
        "category_cap": 0,
        "retrieval_weight": 3.0,
    }
    (directory / "sampling.json").write_text(json.dumps(sampling))
    write_files_json(directory)
    assert SoftmaxSampling.load(directory, None, 1).name == "softmax_sampling"
    (directory / "sampling.json").write_text(json.dumps({**sampling, "ranking_topk": 2}))
    with pytest.raises(FileCorrupt, match=r"sampling\.json differs"):
        SoftmaxSampling.load(directory, None, 1)


def test_pickled_arrays_are_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return pytest.fail, ("a pickle was loaded",)

    np.save(
        tmp_path / "embedding_table.npy", np.array([Payload()], dtype=object), allow_pickle=True
    )
    write_files_json(tmp_path)
    with pytest.raises(FileCorrupt, match=r"embedding_table\.npy is not a plain"):
        MultimodalEmbeddingLookup.load(tmp_path, None, 1)


@pytest.mark.parametrize(
    "matrix", [np.zeros((2, 4), np.float64), np.zeros((2, 3), np.float32), np.zeros(4, np.float32)]
)
def test_a_matrix_of_another_form_is_refused(tmp_path, matrix):
    np.save(tmp_path / "m.npy", matrix)
    with pytest.raises(FileCorrupt, match=r"m\.npy must be float32 \[rows, 4\]"):
        read_matrix(tmp_path / "m.npy", 4)


def test_broken_json_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(FileCorrupt, match=r"x\.json is not valid JSON"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    "value", [np.zeros(3, np.int64), np.zeros((2, 3), np.float32), np.zeros((2, 4), np.int32)]
)
def test_tensors_of_another_type_or_shape_are_named(value):
    with pytest.raises(StageInputInvalid, match=r"x must be INT32\[-1, 3\]"):
        TensorSpec("x", "INT32", (-1, 3)).check(value)


def test_a_varying_size_may_be_zero():
    TensorSpec("x", "INT32", (-1, 3)).check(np.zeros((0, 3), np.int32))


def test_unknown_types_are_refused_at_declaration():
    with pytest.raises(ValueError, match="x: dtype 'BYTES' is not one of"):
        TensorSpec("x", "BYTES", (1,))


def test_a_file_is_read_once_for_all_that_hold_it(tmp_path):
    class Table(list):
        """Plain lists take no weak references."""

    reads = []

    def read(path):
        reads.append(path.name)
        return Table(json.loads(path.read_text()))

    for name in ("a", "b"):
        (tmp_path / name).write_text("[1]")
    first = shared(tmp_path / "a", read)
    assert shared(tmp_path / "b", read) is first and reads == ["a"]
    (tmp_path / "b").write_text("[2]")
    assert shared(tmp_path / "b", read) == [2] and first == [1]
    del first
    assert shared(tmp_path / "a", read) == [1] and reads == ["a", "b", "a"]
