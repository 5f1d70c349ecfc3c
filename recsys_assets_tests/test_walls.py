"""Who may import whom: the walls of the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_assets.settings import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "recsys_assets"
HEAVY = {
    "tensorflow",
    "torch",
    "nvtabular",
    "merlin",
    "faiss",
    "sentence_transformers",
    "open_clip",
    "feast",
    "transformers",
}


def imports(path: Path, *, top_level_only: bool) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(folder: str) -> list[Path]:
    found = sorted((PACKAGE / folder).rglob("*.py"))
    assert found, f"{folder} has no module: has it moved?"
    return found


def offenders(folder: str, forbidden: set[str], *, top_level_only: bool = False) -> list[str]:
    return [
        f"{path.relative_to(PROJECT_ROOT)} imports {name}"
        for path in modules(folder)
        for name in imports(path, top_level_only=top_level_only)
        if any(name == f or name.startswith(f + ".") for f in forbidden)
    ]


@pytest.mark.parametrize("folder", ["lib", "serving", "training"])
def test_no_dagster_outside_the_orchestration(folder: str):
    assert (
        offenders(
            folder,
            {
                "dagster",
                "dagster_k8s",
                "dagster_aws",
                "recsys_assets.defs",
                "recsys_assets.definitions",
                "recsys_assets.orchestration.reporting",
                "recsys_assets.orchestration.resources",
                "recsys_assets.orchestration.pipes",
            },
        )
        == []
    )


@pytest.mark.parametrize("folder", ["lib", "serving", "defs"])
def test_nobody_imports_training(folder: str):
    assert offenders(folder, {"recsys_assets.training"}) == []


#: What every environment can import: the standard library alone, valid Python 3.10.
GROUND = ("columns", "exits", "files", "hyper_parameters", "release_files", "versions")


def test_training_imports_only_the_ground_of_this_project():
    allowed = tuple(f"recsys_assets.{name}" for name in ("training", *GROUND))
    names = [
        (path, name) for path in modules("training") for name in imports(path, top_level_only=False)
    ]
    assert [
        f"{path.name} imports {name}"
        for path, name in names
        if name.startswith("recsys_assets.") and not name.startswith(allowed)
    ] == []


@pytest.mark.parametrize("name", GROUND)
def test_the_ground_needs_nothing_but_the_standard_library(name: str):
    found = {one.split(".")[0] for one in imports(PACKAGE / f"{name}.py", top_level_only=False)}
    assert found <= sys.stdlib_module_names


def test_training_and_the_ground_are_valid_python_3_10():
    for path in [*modules("training"), *(PACKAGE / f"{name}.py" for name in GROUND)]:
        ast.parse(path.read_text(), feature_version=(3, 10))


def test_only_the_command_line_and_the_drills_import_the_benchmarks():
    allowed = {"bench", "drills", "cli"}
    product = [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in allowed
    ]
    assert len(product) > 100, "the product has few modules: has it moved?"
    assert [
        f"{path.relative_to(PROJECT_ROOT)} imports {name}"
        for path in product
        for name in imports(path, top_level_only=False)
        if name == "recsys_assets.bench" or name.startswith("recsys_assets.bench.")
    ] == []


def test_defs_load_nothing_heavy():
    assert offenders("defs", HEAVY, top_level_only=True) == []


def test_only_settings_reads_the_environment():
    reading = [
        f"{path.relative_to(PROJECT_ROOT)}:{node.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if path.name != "settings.py"
        and "training" not in path.parts
        and isinstance(node, ast.Attribute)
        and node.attr == "getenv"
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]
    assert reading == []


def test_no_pickle_is_read_anywhere_but_in_training():
    forbidden = {"pickle", "cloudpickle", "joblib", "dill"}
    assert (
        offenders("lib", forbidden)
        == offenders("serving", forbidden)
        == offenders("defs", forbidden)
        == []
    )
    allowing = [
        str(path) for path in PACKAGE.rglob("*.py") if "allow_pickle=True" in path.read_text()
    ]
    assert allowing == []


def test_definitions_load_without_anything_heavy(tmp_path: Path):
    code = (
        "import sys\nfrom recsys_assets.definitions import defs\ndefs().resolve_all_job_defs()\n"
        f"print([m for m in {sorted(HEAVY)!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "RECSYS_HOME": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_modules_stay_small():
    long = {
        str(path.relative_to(PROJECT_ROOT)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 500
    }
    assert long == {}
