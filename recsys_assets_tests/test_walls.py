"""Test which packages and modules may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.clock.run import KNOW_TIME
from scripts import map as house_map

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
    """Yield the names that a module imports."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(folder: str) -> list[Path]:
    """Return the modules of a folder."""
    found = sorted((PACKAGE / folder).rglob("*.py"))
    assert found, f"{folder} has no module: has it moved?"
    return found


def offenders(folder: str, forbidden: set[str], *, top_level_only: bool = False) -> list[str]:
    """Return one line per forbidden import in a folder."""
    return [
        f"{path.relative_to(PROJECT_ROOT)} imports {name}"
        for path in modules(folder)
        for name in imports(path, top_level_only=top_level_only)
        if any(name == f or name.startswith(f + ".") for f in forbidden)
    ]


#: Folder → what it may not import. Each is a reason of its own: lib is tested without Dagster, the
#: serving image has no orchestration, and only the command line may measure or hurt the product.
WALLS = {
    "lib": "dagster dagster_k8s dagster_aws defs definitions orchestration serving operations"
    " training bench drills cli feature_repo",
    "serving": "dagster dagster_k8s dagster_aws defs definitions orchestration operations training"
    " bench drills cli",
    "training": "dagster dagster_k8s dagster_aws lib serving orchestration operations defs bench",
    "orchestration": "serving operations defs definitions training bench drills cli",
    "defs": "training operations bench drills cli",
    "operations": "training bench drills cli",
    "bench": "drills cli",
    "drills": "training cli",
}
OUTSIDE = {"dagster", "dagster_k8s", "dagster_aws", "feature_repo"}


@pytest.mark.parametrize("folder", WALLS)
def test_a_folder_imports_only_what_lies_below_it(folder: str) -> None:
    forbidden = {
        name if name in OUTSIDE else f"recsys_assets.{name}" for name in WALLS[folder].split()
    }
    assert offenders(folder, forbidden) == []


def test_no_import_runs_in_a_circle() -> None:
    """There is no circle of rooms or modules; scripts/map.py draws them."""
    tree = house_map.read_tree(PROJECT_ROOT)
    packages = house_map.packages_of(tree)
    assert {"recsys_assets", "recsys_assets.lib", "recsys_assets.serving"} <= set(packages)
    assert house_map.named_circles(tree, packages) == []


def test_no_two_classes_share_a_name() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert len(found) > 200
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


#: Tests of the whole: they have no module of their own.
OF_THE_WHOLE = {"survival", "helm", "clock", "cluster", "test_end_to_end.py", "test_walls.py"}


def test_a_test_lies_at_the_path_of_what_it_tests() -> None:
    """``a/b/test_x.py`` and ``a/b/test_x_aspect.py`` test ``a/b/x.py`` or ``a/x/…``."""
    tests = PROJECT_ROOT / "recsys_assets_tests"
    astray = []
    for path in sorted(tests.rglob("test_*.py")):
        relative = path.relative_to(tests)
        if relative.parts[0] in OF_THE_WHOLE:
            continue
        root = (
            PROJECT_ROOT
            if relative.parts[0] in ("scripts", "feature_repo", "triton_repo", "tools")
            else PACKAGE
        )
        folder = root / relative.parent
        names = {
            module.stem for module in folder.iterdir() if module.suffix in (".py", ".sh", ".yaml")
        }
        words = path.stem.removeprefix("test_").split("_")
        candidates = {"_".join(words[: n + 1]) for n in range(len(words))}
        if not candidates & (names | {folder.name}):
            astray.append(str(relative))
    assert astray == []


def test_the_clock_tests_exist() -> None:
    """A test that was moved would else be missed only by ``make test-clock``."""
    for one in KNOW_TIME:
        path, _, name = one.partition("::")
        assert f"def {name}" in (PROJECT_ROOT / path).read_text(), one


#: What every environment can import: the standard library alone, valid Python 3.10.
GROUND = (
    "ads_columns",
    "ads_parameters",
    "columns",
    "exits",
    "files",
    "hyper_parameters",
    "local_time",
    "release_files",
    "versions",
)


def test_training_imports_only_the_ground_of_this_project() -> None:
    allowed = tuple(f"recsys_assets.{name}" for name in ("training", *GROUND))
    names = [
        (path, name) for path in modules("training") for name in imports(path, top_level_only=False)
    ]
    assert [
        f"{path.name} imports {name}"
        for path, name in names
        if name.startswith("recsys_assets.") and not name.startswith(allowed)
    ] == []


def test_what_runs_in_the_peers_environment_imports_only_the_ground() -> None:
    """The peers' environment has none of the platform's packages."""
    own = "recsys_assets.bench.peers.process"
    allowed = (own, *(f"recsys_assets.{name}" for name in GROUND))
    outside = {"numpy", "pandas", "scipy", "threadpoolctl", "implicit", "rectools"}
    outside |= {"pytorch_lightning", *sys.stdlib_module_names}
    assert [
        f"{path.name} imports {name}"
        for path in modules("bench/peers/process")
        for name in imports(path, top_level_only=False)
        if not (name.startswith(allowed) or name.split(".")[0] in outside)
    ] == []


@pytest.mark.parametrize("name", GROUND)
def test_the_ground_needs_nothing_but_itself_and_the_standard_library(name: str) -> None:
    own = tuple(f"recsys_assets.{one}" for one in GROUND)
    assert [
        one
        for one in imports(PACKAGE / f"{name}.py", top_level_only=False)
        if one.split(".")[0] not in sys.stdlib_module_names and not one.startswith(own)
    ] == []


def test_training_and_the_ground_are_valid_python_3_10() -> None:
    for path in [*modules("training"), *(PACKAGE / f"{name}.py" for name in GROUND)]:
        ast.parse(path.read_text(), feature_version=(3, 10))


def test_defs_load_nothing_heavy() -> None:
    assert offenders("defs", HEAVY, top_level_only=True) == []


def test_only_settings_reads_the_environment() -> None:
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


def test_no_pickle_is_read_anywhere_but_in_training() -> None:
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


def test_definitions_load_without_anything_heavy(tmp_path: Path) -> None:
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


def test_modules_stay_small() -> None:
    long = {
        str(path.relative_to(PROJECT_ROOT)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_public_functions_and_classes_are_documented():
    found = [
        (f"{path.relative_to(PROJECT_ROOT)}:{node.lineno} {node.name}", ast.get_docstring(node))
        for path in [*PACKAGE.rglob("*.py"), *(PROJECT_ROOT / "feature_repo").glob("*.py")]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and not node.name.startswith("_")
    ]
    assert len(found) > 1_500
    missing = [name for name, text in found if not text]
    assert len(missing) <= 0.05 * len(found), missing
