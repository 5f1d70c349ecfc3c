"""Test that what an image's programs import is in the tree that its Dockerfile copies."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import files
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.helm.test_images import closure
from recsys_assets_tests.support.moto_server import KEYS, moto_server
from tools.cluster.images.build import read
from tools.cluster.images.dockerfile import copy

#: Import modules by name; print the files of those that were loaded from this project.
IMPORTS = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps([m.__file__ for n, m in list(sys.modules.items())
    if n.split(".")[0] in ("recsys_assets", "feature_repo") and getattr(m, "__file__", None)]))
"""
LOADED = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
DEFINITIONS = """
from recsys_assets.definitions import defs
print(len(defs().resolve_asset_graph().get_all_asset_keys()))
"""
REGISTRY = """
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.settings import get_settings
print(open_store(get_settings(), online_only=True).registry.list_entities("recsys"))
"""


def assemble(image: str, target: Path) -> Path:
    """Copy what the COPY lines of an image's Dockerfile name; return the folder."""
    for instruction in read(image):
        if instruction.name == "COPY":
            copy(instruction, PROJECT_ROOT, target)
    return target


def run(tree: Path, python: Path, code: str, *arguments: str, **environment: str) -> str:
    """Run code by an environment's interpreter as in the image; return what it prints."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    done = subprocess.run(
        [str(python), "-c", code, *arguments],
        cwd=tree,
        env={**kept, "HOME": str(tree), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts).removesuffix(".__init__")


def commands(rendered: Callable[..., list[dict[str, Any]]]) -> set[str]:
    """Return the modules that the pods of the gateway image start or probe with."""
    text = yaml.safe_dump_all(rendered("recsys-gateway"), width=1_000)
    return set(re.findall(r"\brecsys_assets\.[a-z_.]+[a-z_]", text))


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not Settings().serving_python.exists():
        pytest.skip("no serving environment: make setup")
    return assemble("serving", tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble("gateway", tmp_path_factory.mktemp("gateway"))


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble("platform", tmp_path_factory.mktemp("platform"))


def test_the_serving_image_imports_what_its_models_import(serving: Path) -> None:
    models = sorted(PROJECT_ROOT.glob("triton_repo/*/model.py"))
    modules = sorted(
        {module_of(path) for path in closure(models) if path not in models}
        | {"recsys_assets.serving.triton.model_control"}  # the start command's
    )
    assert len(modules) > 20
    loaded = json.loads(run(serving, Settings().serving_python, IMPORTS, json.dumps(modules)))
    assert loaded and all(Path(file).is_relative_to(serving) for file in loaded)


def test_the_gateway_image_imports_what_its_pods_start(
    gateway: Path, rendered: Callable[..., list[dict[str, Any]]]
) -> None:
    modules = commands(rendered)
    assert modules == {
        "recsys_assets.serving.gateway",
        "recsys_assets.serving.gateway.app",
        "recsys_assets.serving.events.consumer",
        "recsys_assets.serving.events.consumer_probe",
    }
    python = PROJECT_ROOT / ".venvs" / "platform" / "bin" / "python"
    loaded = json.loads(run(gateway, python, IMPORTS, json.dumps(sorted(modules))))
    assert loaded and all(Path(file).is_relative_to(gateway) for file in loaded)


def test_the_gateway_image_leaves_out_only_what_its_pods_do_not_import(
    gateway: Path, rendered: Callable[..., list[dict[str, Any]]]
) -> None:
    (without,) = [
        value for one in read("gateway") for key, value in one.pairs.items() if key == "WITHOUT"
    ]
    held = {
        match[1]
        for match in re.finditer(
            r"^([a-z0-9-]+)==", (PROJECT_ROOT / "requirements/platform.lock").read_text(), re.M
        )
    }
    assert set(without.split()) <= held, "a name that the lock does not hold leaves nothing out"
    left_out = {
        name.split("/")[0].removesuffix(".py")
        for distribution in ("torch", *without.split())
        for name in map(str, files(distribution) or ())
        if ".dist-info" not in name and not name.startswith((".", "_"))
    }
    assert {"torch", "sentence_transformers", "implicit", "moto"} <= left_out
    python = PROJECT_ROOT / ".venvs" / "platform" / "bin" / "python"
    names = json.dumps(sorted(commands(rendered)))
    loaded = set(json.loads(run(gateway, python, LOADED, names)))
    assert "fastapi" in loaded
    assert loaded & left_out == set()


def test_the_platform_image_imports_the_commands(platform: Path) -> None:
    python = PROJECT_ROOT / ".venvs" / "platform" / "bin" / "python"
    loaded = json.loads(run(platform, python, IMPORTS, json.dumps(["recsys_assets.cli.main"])))
    assert loaded and all(Path(file).is_relative_to(platform) for file in loaded)


@pytest.mark.slow
def test_the_platform_image_loads_the_asset_graph(platform: Path) -> None:
    """Dagster finds the defs folder by pyproject.toml, which the image must hold."""
    python = PROJECT_ROOT / ".venvs" / "platform" / "bin" / "python"
    home = str(platform / "home")
    assert int(run(platform, python, DEFINITIONS, RECSYS_HOME=home, RECSYS_EXECUTOR="k8s")) >= 58


@pytest.fixture
def registry() -> Iterator[dict[str, str]]:
    """Return the environment of a serving pod whose Feast registry lies on S3."""
    from feast.protos.feast.core.Registry_pb2 import Registry

    with moto_server() as address:
        client = boto3.client("s3", region_name="us-east-1", endpoint_url=address, **KEYS)
        client.create_bucket(Bucket="serving-image")
        content = Registry(registry_schema_version="1", version_id="1")
        client.put_object(
            Bucket="serving-image", Key="feast/registry.db", Body=content.SerializeToString()
        )
        yield {
            **{name.upper(): value for name, value in KEYS.items()},
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "FEAST_S3_ENDPOINT_URL": address,
            "RECSYS_TARGET": "aws",
            "RECSYS_AWS_REGION": "us-east-1",
            "RECSYS_FEAST_REGISTRY": "s3://serving-image/feast/registry.db",
            "RECSYS_FEAST_OFFLINE_URI": "s3://serving-image/feast/offline",
            "RECSYS_ATHENA_STAGING_URI": "s3://serving-image/athena",
            "RECSYS_VALKEY_HOST": "valkey.example",
            "RECSYS_VALKEY_PASSWORD": "of-the-test",
        }


@pytest.mark.slow
def test_the_serving_image_reads_a_registry_on_s3(serving: Path, registry: dict[str, str]) -> None:
    assert run(serving, Settings().serving_python, REGISTRY, **registry) == "[]"
