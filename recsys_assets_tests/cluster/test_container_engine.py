"""Test the image script with a real engine and registry, and the assembled images against theirs.

Debian's podman and docker-registry build and keep them. The base images are those of the cluster.
Packages come from the registry that this machine's pip uses.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.cluster.conftest import say
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.support.repository import commit_all
from tools.cluster.commands import wait_until
from tools.cluster.images.build import Built, base_of, build
from tools.cluster.images.layers import kept, key_of

PROGRAMS = ("podman", "skopeo", "docker-registry")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
NAME = "gateway"
#: What the image is made of beside Debian and Python.
FOLDERS = ("app", "usr/local/lib/python3.11/site-packages", "usr/local/bin")
LIMIT = 1800.0

pytestmark = pytest.mark.skipif(
    bool(absent := [program for program in PROGRAMS if shutil.which(program) is None]),
    reason=f"apt-get install --no-install-recommends {' '.join(absent)}",
)


@dataclass(frozen=True)
class Engine:
    """A container engine with a store of its own, and a registry."""

    registry: str
    environment: dict[str, str]

    def podman(self, *arguments: str) -> str:
        """Return what podman prints."""
        command = ["podman", *arguments]
        return subprocess.check_output(command, env=self.environment, text=True, timeout=LIMIT)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="recsys-engine-") as name:
        folder, registry = Path(name), f"127.0.0.1:{free_port()}"
        (folder / "registry.yml").write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
            f"http: {{addr: {registry}}}\n"
        )
        (folder / "registries.conf").write_text(
            f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n'
        )
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\n'
            f'graphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
        )
        environment = {
            **os.environ,
            "BUILDAH_ISOLATION": "chroot",  # no namespace is needed to run pip
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }
        server = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "registry.yml")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def answers() -> bool:
            try:
                return httpx.get(f"http://{registry}/v2/", trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(answers, "the registry", 30.0)
            here = Engine(registry, environment)
            yield here
            here.podman("image", "umount", "--all", "--force")
            here.podman("system", "reset", "--force")
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="module")
def base(engine: Engine) -> str:
    """Push the base image with this machine's certificates, and return its name by digest."""

    def trust(tree: Path) -> None:
        to = tree / CERTIFICATES.relative_to("/")
        to.parent.mkdir(parents=True)
        shutil.copy(CERTIFICATES, to)
        (tree / "etc/pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\ntimeout = 180\n")

    plain = base_of(NAME)
    trusted = kept(key_of(plain.layers[-1].key, CERTIFICATES.read_text()), trust)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        image = Built("base", (*plain.layers, trusted), plain.config)
        file = image.write(Path(folder, "base.tar"), "1")
        digest = Path(folder, "digest")
        command = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"--digestfile={digest}"]
        to = f"{engine.registry}/base"
        subprocess.run(
            [*command, f"oci-archive:{file}", f"docker://{to}:1"], check=True, timeout=LIMIT
        )
        return f"{to}@{digest.read_text()}"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clean checkout of what git knows or would know of this one."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=PROJECT_ROOT
    )
    for name in filter(None, listed.decode().split("\0")):
        if os.path.lexists(PROJECT_ROOT / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT_ROOT / name, folder / name, follow_symlinks=False)
    commit_all(folder)
    return folder


@pytest.fixture(scope="module")
def pushed(engine: Engine, base: str, checkout: Path) -> tuple[str, str]:
    """Build and push the image as a user does, and return its name by tag and by digest."""
    options = {
        "ENGINE": "podman",
        "IMAGES": NAME,
        "REGISTRY": f"{engine.registry}/shop",
        "PUSH": "yes",
        "BASE_PYTHON": base,
    }
    done = subprocess.run(
        ["bash", "scripts/images.sh"],
        cwd=checkout,
        env={**engine.environment, **options},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    name, digest = done.stdout.split()
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=checkout, text=True)
    assert name == f"{engine.registry}/shop/recsys-{NAME}:{commit[:12]}"
    return name, digest


def test_the_registry_has_the_image_that_the_script_names(
    engine: Engine, pushed: tuple[str, str]
) -> None:
    name, by_digest = pushed
    repository, _, tag = name.removeprefix(f"{engine.registry}/").partition(":")
    answer = httpx.get(
        f"http://{engine.registry}/v2/{repository}/manifests/{tag}",
        headers={"accept": "application/vnd.oci.image.manifest.v1+json"},
        trust_env=False,
    )
    digest = answer.headers["docker-content-digest"]
    assert by_digest == f"{engine.registry}/{repository}@{digest}"


def contents(tree: Path) -> dict[str, Path]:
    """Return name → file, of what no run of Python has written."""
    return {
        str(file.relative_to(tree)): file
        for folder in FOLDERS
        for file in (tree / folder).rglob("*")
        if not file.is_dir() and file.suffix != ".pyc"
    }


def noted_by_installers(name: str) -> bool:
    """Return whether pip and uv, which made the environment, write different things there."""
    path = Path(name)
    notes = ("RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json")
    return path.parent == Path("usr/local/bin") or path.name in notes


def test_the_assembled_image_is_that_of_the_engine(engine: Engine, pushed: tuple[str, str]) -> None:
    """What the cluster's tests run is what a user's registry gets."""
    name, _ = pushed
    assembled = build(NAME, say)
    theirs = contents(Path(engine.podman("image", "mount", name).strip()))
    ours: dict[str, Path] = {}
    for layer in assembled.layers:
        ours |= contents(layer.tree)
    assert len(ours) > 10_000
    assert set(theirs) == set(ours)
    different = [
        name
        for name in ours
        if not noted_by_installers(name)
        and not filecmp.cmp(ours[name], theirs[name], shallow=False)
    ]
    assert different == []
    config = json.loads(engine.podman("image", "inspect", "--format={{json .Config}}", name))
    labels = config.pop("Labels")
    assert config == assembled.config.described()
    assert "org.opencontainers.image.revision" in labels
