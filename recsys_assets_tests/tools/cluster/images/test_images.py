"""Test the builder of images: Dockerfiles, layers and the OCI layout."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from tools.cluster import binaries
from tools.cluster.images import build
from tools.cluster.images.dockerfile import Instruction, copy, instructions
from tools.cluster.images.layers import content_key, kept
from tools.cluster.images.oci import Config, write_image, write_layer


@pytest.mark.parametrize("name", build.IMAGES)
def test_the_builder_knows_every_instruction_of_the_dockerfiles(name: str) -> None:
    read = build.read(name)
    assert [one.name for one in read].count("FROM") == 1
    assert next(one for one in read if one.name == "USER").arguments == "10001:10001"
    copied = [one for one in read if one.name == "COPY"]
    assert copied and all(
        (build.PROJECT / source).exists() for one in copied for source in one.words[:-1]
    )


def test_an_instruction_that_the_builder_does_not_know_is_named() -> None:
    with pytest.raises(ValueError, match="knows no HEALTHCHECK"):
        list(instructions("FROM a\nHEALTHCHECK CMD true\n"))


def test_debian_packages_are_those_of_the_dockerfiles() -> None:
    assert build.debian_packages() == ("libgomp1",)


def test_copy_does_what_docker_does(tmp_path: Path) -> None:
    context, tree = tmp_path / "context", tmp_path / "tree"
    (context / "folder/__pycache__").mkdir(parents=True)
    (context / "folder/in.py").write_text("in")
    (context / "folder/__pycache__/in.pyc").touch()
    (context / "one.txt").write_text("one")
    copy(Instruction("COPY", "folder other"), context, tree, "/app")
    copy(Instruction("COPY", "one.txt ./"), context, tree, "/app")
    copy(Instruction("COPY", "one.txt /etc/two.txt"), context, tree, "/app")
    copy(Instruction("COPY", "one.txt folder deep/"), context, tree, "/app")
    found = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    assert found == {
        "app/other/in.py",
        "app/one.txt",
        "etc/two.txt",
        "app/deep/one.txt",
        "app/deep/in.py",
    }


def test_the_same_files_give_the_same_layer(tmp_path: Path) -> None:
    digests = set()
    for number in (1, 2):
        tree = tmp_path / str(number)
        (tree / "a").mkdir(parents=True)
        (tree / "a/b").write_text("content")
        os.utime(tree / "a/b", (number, number))
        (tree / "link").symlink_to("a/b")
        digests.add(write_layer(tree, tmp_path / f"{number}.tar").digest)
    assert len(digests) == 1
    with tarfile.open(tmp_path / "1.tar") as tar:
        assert tar.getnames() == ["a", "link", "a/b"]


@pytest.mark.skipif(os.geteuid() != 0, reason="making the mark of a deletion needs root")
def test_a_deletion_becomes_the_mark_of_the_format(tmp_path: Path) -> None:
    (tmp_path / "tree/etc").mkdir(parents=True)
    os.mknod(tmp_path / "tree/etc/gone", 0o020000, os.makedev(0, 0))
    write_layer(tmp_path / "tree", tmp_path / "layer.tar")
    with tarfile.open(tmp_path / "layer.tar") as tar:
        assert tar.getnames() == ["etc", "etc/.wh.gone"]


def test_an_image_is_an_oci_layout(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/program").write_text("#!/bin/sh")
    layer = write_layer(tmp_path / "tree", tmp_path / "layer.tar")
    config = Config(
        environment={"A": "b"}, entrypoint=["/program"], user="10001:10001", folder="/app"
    )
    write_image("localhost/one:1", tmp_path / "image.tar", [layer], config)
    with tarfile.open(tmp_path / "image.tar") as tar:

        def read(path: str) -> dict:
            file = tar.extractfile(path)
            assert file is not None
            return json.loads(file.read())

        def blob(descriptor: dict) -> dict:
            path = f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"
            assert tar.getmember(path).size == descriptor["size"]
            return read(path)

        (named,) = read("index.json")["manifests"]
        assert named["annotations"] == {"io.containerd.image.name": "localhost/one:1"}
        manifest = blob(named)
        assert blob(manifest["config"])["config"] == {
            "Env": ["A=b"],
            "Entrypoint": ["/program"],
            "User": "10001:10001",
            "WorkingDir": "/app",
        }
        assert manifest["layers"][0]["digest"] == f"sha256:{layer.digest}"


def test_a_layer_is_made_once_per_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(binaries.CACHE_VARIABLE, str(tmp_path))
    made: list[Path] = []

    def fill(tree: Path) -> None:
        made.append(tree)
        (tree / "file").write_text("content")

    first = kept("key", fill)
    assert kept("key", fill).layer == first.layer and len(made) == 1
    (first.folder / "digest").unlink()  # as after a kill
    assert kept("key", fill).layer == first.layer and len(made) == 2


def test_a_changed_mode_is_another_content(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh")
    before = content_key([tmp_path])
    (tmp_path / "program").chmod(0o755)
    assert content_key([tmp_path]) != before
