"""Test how the setting finds a text encoder, its version, and the errors of a wrong one."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

from recsys_assets.lib.embeddings.text import embed_texts
from recsys_assets.lib.embeddings.text_encoder import (
    TextEncoder,
    TextEncoderError,
    find_text_encoder,
    open_model,
)
from recsys_assets_tests.support.small_text_encoder import WORDS, save_text_encoder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_encoder(tmp_path_factory.mktemp("encoder"), [WORDS["el"]], width=48)


def test_the_default_is_the_model_of_the_package():
    encoder = find_text_encoder(None)
    assert encoder.key == encoder.name == "all-MiniLM-L6-v2"  # older caches stay
    assert (encoder.folder / "model.safetensors").is_file()
    assert encoder.params["text_encoder_version"].startswith("package")


def test_a_folder_of_any_width_is_an_encoder(saved: Path):
    encoder = find_text_encoder(str(saved))
    texts = ["Κόκκινη δερμάτινη τσάντα", "μαχαίρι κουζίνας", "τσάντα " * 200]
    vectors = embed_texts(texts, None, encoder)
    assert vectors.shape == (3, 48) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(embed_texts(texts[::-1], None, encoder)[::-1], vectors, atol=1e-5)


def test_the_version_follows_the_files_and_not_the_place(saved: Path, tmp_path: Path):
    version = find_text_encoder(str(saved)).version
    moved = tmp_path / "moved"
    shutil.copytree(saved, moved)
    (moved / "README.md").write_text("another text")
    (moved / ".cache").mkdir()
    (moved / ".cache/x").write_text("x")
    assert find_text_encoder(str(moved)).version == version
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\1\2\3\4")
    assert find_text_encoder(str(moved)).version != version


def test_a_name_on_the_hub_has_its_commit_as_version(saved: Path, tmp_path, monkeypatch):
    snapshot = tmp_path / "snapshots/c0ffee"
    asked = []

    def download(name: str, **options: object) -> str:
        asked.append((name, options["local_files_only"]))
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    encoder = find_text_encoder("some-org/greek")
    assert encoder == TextEncoder("some-org/greek", "some-org/greek@c0ffee", snapshot)
    assert find_text_encoder("greek", network=False).name == "sentence-transformers/greek"
    assert asked == [("some-org/greek", False), ("sentence-transformers/greek", True)]


def test_a_hub_out_of_reach_names_the_setting_and_the_remedy(monkeypatch):
    def download(name: str, **_: object) -> str:
        raise ConnectionError("Name or service not known\nat some place")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(TextEncoderError) as raised:
        find_text_encoder("some-org/greek")
    said = str(raised.value)
    assert said.startswith("RECSYS_TEXT_ENCODER=some-org/greek: there is no such folder")
    assert "copy the model here and name its folder" in said and "\n" not in said


@pytest.mark.parametrize("setting", ["/no/such/folder", "a/b/c", "s3://bucket/model", ""])
def test_what_is_neither_folder_nor_name_is_refused(setting: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TextEncoderError, match="RECSYS_TEXT_ENCODER="):
        find_text_encoder(setting)


def test_a_folder_or_file_without_a_model_is_refused(tmp_path: Path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x")
    for place in (tmp_path, file):
        with pytest.raises(TextEncoderError, match="no folder of a saved model"):
            find_text_encoder(str(place))


def test_broken_weights_are_refused_with_the_remedy(saved: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(saved, broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(TextEncoderError, match=r"RECSYS_TEXT_ENCODER: broken in .* no Sentence"):
        open_model(find_text_encoder(str(broken)))
