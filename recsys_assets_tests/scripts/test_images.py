"""Test the script that builds the images: what it refuses, and what it asks of which program.

No container engine runs here: it and the scanner are programs that note how they were called. `make
cluster-test` builds the images from the same Dockerfiles.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.support.repository import commit_all
from tools.cluster.images.build import IMAGES

DIGEST = "sha256:" + "a" * 64
BASES = {name: f"base-of-{name.lower()}@{DIGEST}" for name in ("PYTHON", "TRITON", "MERLIN")}
NOTES = '#!/bin/sh\necho "$(basename "$0") $*" >> "$NOTES"\n'


class Checkout:
    """A repository of one commit that holds the script, and programs that note their calls."""

    def __init__(self, folder: Path) -> None:
        self.root, self.notes = folder / "checkout", folder / "notes"
        (self.root / "scripts").mkdir(parents=True)
        shutil.copy2(PROJECT_ROOT / "scripts" / "images.sh", self.root / "scripts")
        self.programs = folder / "programs"
        self.programs.mkdir()
        for name in ("docker", "trivy", "cosign"):
            self.program(name)
        commit_all(self.root)

    def program(self, name: str, more: str = "") -> None:
        path = self.programs / name
        path.write_text(NOTES + more)
        path.chmod(0o755)

    @property
    def commit(self) -> str:
        command = ["git", "rev-parse", "--short=12", "HEAD"]
        return subprocess.check_output(command, cwd=self.root, text=True).strip()

    def build(self, **options: str) -> subprocess.CompletedProcess[str]:
        """Run the script with all bases and other options."""
        bases = {f"BASE_{name}": base for name, base in BASES.items()}
        path = f"{self.programs}:/usr/bin:/bin"
        return subprocess.run(
            ["bash", str(self.root / "scripts" / "images.sh")],
            env={
                "PATH": path,
                "HOME": str(self.root),
                "NOTES": str(self.notes),
                **bases,
                **options,
            },
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self, program: str) -> list[str]:
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [line for line in lines if line.startswith(f"{program} ")]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_each_image_is_built_on_its_base_and_tagged_by_commit(checkout: Checkout) -> None:
    done = checkout.build()
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"recsys-{image}:{checkout.commit}" for image in IMAGES_BUILT]
    builds = checkout.calls("docker build")
    bases = {"platform": "PYTHON", "gateway": "PYTHON", "training": "MERLIN", "serving": "TRITON"}
    assert set(bases) == set(IMAGES)
    for image, line in zip(IMAGES_BUILT, builds, strict=True):
        assert f"--file helm/images/{image}.Dockerfile" in line
        assert f"--build-arg BASE={BASES[bases[image]]}" in line
        assert f"--tag recsys-{image}:{checkout.commit}" in line
    assert not checkout.calls("trivy") and not checkout.calls("docker push")


IMAGES_BUILT = ("platform", "gateway", "training", "serving")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"BASE_TRITON": ""}, "BASE_TRITON is empty: name the base of serving by digest"),
        ({"BASE_PYTHON": "python:3.11-slim"}, "BASE_PYTHON is python:3.11-slim: name the base"),
        ({"IMAGES": "web"}, "there is no image web: platform gateway training serving"),
        ({"SIGN": "yes"}, "SIGN=yes signs what is pushed: set PUSH=yes"),
        ({"PUSH": "yes"}, "PUSH=yes needs a registry: set REGISTRY"),
        ({"ENGINE": "no-such-engine"}, "no no-such-engine to build with"),
    ],
)
def test_what_is_refused_before_the_first_build(
    checkout: Checkout, options: dict[str, str], message: str
) -> None:
    done = checkout.build(**options)
    assert done.returncode != 0
    assert message in done.stderr
    assert not checkout.calls("docker")


def test_a_checkout_with_changes_has_no_commit_that_names_its_images(checkout: Checkout) -> None:
    (checkout.root / "new").touch()
    assert "commit them" in checkout.build().stderr
    assert not checkout.calls("docker")


def test_an_image_with_faults_is_neither_pushed_nor_signed(checkout: Checkout) -> None:
    checkout.program("trivy", "exit 1\n")
    options = {"REGISTRY": "registry.example", "IMAGES": "gateway"}
    done = checkout.build(SCAN="yes", PUSH="yes", SIGN="yes", **options)
    assert done.returncode != 0
    assert "has high or critical faults that have a fix" in done.stderr
    assert checkout.calls("trivy") and not checkout.calls("docker push")
    assert not checkout.calls("cosign")


def test_what_was_pushed_is_signed_by_digest(checkout: Checkout) -> None:
    pushed = f"registry.example/shop/recsys-gateway@{DIGEST}"
    elsewhere = f"elsewhere.example/recsys-gateway@{DIGEST}"  # pushed there before
    checkout.program("docker", f'[ "$1" != image ] || printf "%s\\n" {elsewhere} {pushed}\n')
    options = {"REGISTRY": "registry.example/shop/", "COSIGN_KEY": "key"}
    done = checkout.build(SCAN="yes", PUSH="yes", SIGN="yes", IMAGES="gateway", **options)
    assert done.returncode == 0, done.stderr
    name = f"registry.example/shop/recsys-gateway:{checkout.commit}"
    assert done.stdout.strip() == f"{name} {pushed}"
    assert f"docker push {name}" in checkout.calls("docker")
    assert checkout.calls("cosign") == [f"cosign sign --yes --key key {pushed}"]


def test_podman_s_digest_is_that_of_the_push(checkout: Checkout) -> None:
    """Its store names another one, of layers that are not compressed."""
    checkout.program("podman", f'[ "$1 $2" != "push --digestfile" ] || printf {DIGEST} > "$3"\n')
    options = {"ENGINE": "podman", "REGISTRY": "registry.example", "IMAGES": "gateway"}
    done = checkout.build(PUSH="yes", **options)
    assert done.returncode == 0, done.stderr
    name, digest = done.stdout.split()
    assert digest == f"registry.example/recsys-gateway@{DIGEST}"
    assert checkout.calls("podman")[-1].endswith(f" {name}")


def test_a_push_without_a_digest_is_not_signed(checkout: Checkout) -> None:
    options = {"REGISTRY": "registry.example", "IMAGES": "gateway"}
    done = checkout.build(PUSH="yes", SIGN="yes", **options)
    assert done.returncode != 0
    assert "docker names no digest of registry.example/recsys-gateway" in done.stderr
    assert not checkout.calls("cosign")


def test_the_workflow_builds_every_image_with_what_the_script_reads() -> None:
    text = (PROJECT_ROOT / ".github" / "workflows" / "images.yml").read_text()
    job = yaml.safe_load(text)["jobs"]["images"]
    assert set(job["strategy"]["matrix"]["image"]) == set(IMAGES)
    script = (PROJECT_ROOT / "scripts" / "images.sh").read_text()
    given = job["steps"][-1]["env"]
    assert all(name in script for name in given)
    assert {"BASE_PYTHON", "BASE_TRITON", "BASE_MERLIN", "SCAN", "PUSH", "SIGN"} <= set(given)
    assert os.access(PROJECT_ROOT / "scripts" / "images.sh", os.X_OK)
