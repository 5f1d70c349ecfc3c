"""Test artifacts: atomic writes, verified files, and reuse for equal inputs."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import NoReturn

import boto3
import polars as pl
import pytest
import s3fs

from recsys_assets.artifacts import ArtifactCorrupt, ArtifactError, ArtifactMissing, ArtifactStore
from recsys_assets.manifests import library_versions
from recsys_assets.orchestration.reporting import metadata_of
from recsys_assets_tests.support.moto_server import client_environment, moto_server


def write(store: ArtifactStore, text: str, partition: str | None = None, **stage):
    """Publish an artifact with one file."""
    with store.stage("raw/things", partition, **stage) as staged:
        (staged.path / "sub").mkdir()
        (staged.path / "sub" / "a.txt").write_text(text)
        return staged.publish({"rows": len(text)})


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a store on S3's wire protocol, served by moto."""
    with moto_server() as address:
        for name, value in client_environment(address).items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="recsys")
        # an instance remembers the address of an earlier test's server
        s3fs.S3FileSystem.clear_instance_cache()
        yield ArtifactStore(f"s3://recsys/{tmp_path.name}", cache=tmp_path / "cache")


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """Return an empty store, local or remote."""
    return (
        ArtifactStore(tmp_path / "artifacts")
        if request.param == "local"
        else request.getfixturevalue("remote")
    )


def test_what_was_published_is_read_back(store: ArtifactStore) -> None:
    made = write(store, "hello", "2026-01-01")
    again = store.current("raw/things", "2026-01-01")
    assert again.digest == made.digest and again.metrics == {"rows": 5}
    assert again.path("sub/a.txt").read_text() == "hello"
    assert store.partitions("raw/things") == ["2026-01-01"]
    assert store.open(made.reference()).digest == made.digest
    with pytest.raises(ArtifactError, match=r"no file 'b.txt'.*sub/a.txt"):
        again.path("b.txt")


def test_missing_days_are_all_named(store: ArtifactStore) -> None:
    write(store, "x", "2026-01-02")
    with pytest.raises(ArtifactMissing, match="raw/things is missing for 2026-01-01, 2026-01-03"):
        store.require("raw/things", ["2026-01-01", "2026-01-02", "2026-01-03"])


def test_an_abandoned_write_leaves_nothing(store: ArtifactStore) -> NoReturn:
    with pytest.raises(RuntimeError, match="power cut"), store.stage("raw/things", "d") as staged:
        (staged.path / "a.txt").write_text("half")
        raise RuntimeError("power cut")
    assert not store.exists("raw/things", "d")
    assert store.partitions("raw/things") == []


def test_same_content_same_digest_and_a_found_fingerprint(store: ArtifactStore) -> None:
    upstream = write(store, "up")
    first = write(store, "same", "d", inputs={"up": upstream}, params={"n": 1})
    second = write(store, "same", "d", inputs={"up": upstream}, params={"n": 1})
    other = write(store, "same", "d", inputs={"up": upstream}, params={"n": 2})
    assert first.digest == second.digest == other.digest
    assert (
        first.manifest["fingerprint"]
        == second.manifest["fingerprint"]
        != other.manifest["fingerprint"]
    )
    assert store.find("raw/things", "d", first.manifest["fingerprint"]).uri == first.uri
    assert store.find("raw/things", "d", "0" * 64) is None


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    made = write(store, "hello")
    made.path("sub/a.txt").write_text("hellO")
    with pytest.raises(ArtifactCorrupt, match=r"sub/a\.txt differs from its manifest"):
        made.verify()


def test_a_directory_without_a_manifest_does_not_exist(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    made = write(store, "hello", "d")
    os.remove(made.local / "manifest.json")
    with pytest.raises(ArtifactMissing):
        store.current("raw/things", "d")
    assert (
        write(store, "hello", "d").path("sub/a.txt").read_text() == "hello"
    )  # and can be made again


def test_the_manifest_says_what_it_was_made_from(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    upstream = write(store, "up")
    made = write(store, "x", "d", inputs={"up": upstream, "many": [upstream, upstream]})
    manifest = json.loads((made.local / "manifest.json").read_text())
    assert manifest["inputs"]["up"]["digest"] == upstream.digest
    assert len(manifest["inputs"]["many"]) == 2
    assert manifest["versions"] == library_versions() == made.versions
    assert (
        library_versions()["polars"] == pl.__version__
        and library_versions()["python"] == platform.python_version()
    )
    assert metadata_of(made)["library versions"] == ", ".join(
        f"{name} {version}" for name, version in sorted(library_versions().items())
    )
