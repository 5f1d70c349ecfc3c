"""Files that models of a release have in common lie once in the live repository."""

from __future__ import annotations

import os

import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.files import FileCorrupt
from recsys_assets.lib.release.releases import Release, open_release
from recsys_assets.serving.stages.stage import verify_files
from recsys_assets.serving.triton.repository import ModelRepository
from recsys_assets_tests.support.small_triton import small_release, write_templates


@pytest.fixture
def repository(tmp_path):
    return ModelRepository(tmp_path / "live", write_templates(tmp_path / "templates"))


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "artifacts"))


def published(repository: ModelRepository, release: Release):
    """The files of the query tower and of the ranker, which are equal, and that of the index."""
    folders = [
        repository.publish(release, model)
        for model in ("query_tower", "faiss_retrieval", "dlrm_ranking")
    ]
    return [
        folder / name
        for folder, name in zip(folders, ("model.onnx", "index.faiss", "model.onnx"), strict=True)
    ]


@pytest.fixture
def release(store):
    small_release(store, 1, faiss_retrieval="another")
    return open_release(store, 1)


def test_equal_files_of_a_release_are_one(repository, release):
    tower, index, ranker = published(repository, release)
    assert tower.stat().st_ino == ranker.stat().st_ino and tower.stat().st_nlink == 2
    assert index.stat().st_nlink == 1
    for model in ("query_tower", "dlrm_ranking"):
        artifact = release.artifact.path(f"models/{model}/model.onnx")
        assert artifact.stat().st_ino != tower.stat().st_ino, "shares bytes with the artifact"
    for path in (tower, index, ranker):
        assert path.parent.joinpath("files.json").stat().st_nlink == 1
        verify_files(path.parent, [path.name])


def test_a_removed_version_leaves_the_other(repository, release):
    tower, _, ranker = published(repository, release)
    repository.remove_version("query_tower", 1)
    assert not tower.exists() and ranker.read_text() == "fine 1" and ranker.stat().st_nlink == 1
    verify_files(ranker.parent, ["model.onnx"])
    # published again, it is linked to the one that stayed
    assert repository.publish(release, "query_tower") == tower.parent
    assert tower.stat().st_ino == ranker.stat().st_ino


def test_a_changed_byte_is_found_in_both(repository, release):
    tower, _, ranker = published(repository, release)
    tower.write_text("fine 2")
    for path in (tower, ranker):
        with pytest.raises(FileCorrupt, match=r"model\.onnx differs from its digest"):
            verify_files(path.parent, [path.name])


def test_releases_do_not_share_files(repository, store, release):
    small_release(store, 2, query_tower="fine 1", dlrm_ranking="fine 1", faiss_retrieval="another")
    first, second = (published(repository, one) for one in (release, open_release(store, 2)))
    assert not {path.stat().st_ino for path in first} & {path.stat().st_ino for path in second}


def test_a_file_system_without_hard_links_gets_copies(repository, release, monkeypatch):
    def refuse(*_):
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    tower, _, ranker = published(repository, release)
    assert tower.stat().st_ino != ranker.stat().st_ino
    assert tower.read_text() == ranker.read_text() == "fine 1"
