"""Each image holds the modules of this project that its programs import."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from recsys_assets.settings import PROJECT_ROOT
from tools.cluster.images.build import read


def copied(image: str) -> list[str]:
    """Paths below the repository's root that a Dockerfile copies."""
    return [path for one in read(image) if one.name == "COPY" for path in one.words[:-1]]


def imported(path: Path) -> set[Path]:
    """Modules of this project that a module imports, at the top or inside of a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.startswith("recsys_assets."):
                found |= {
                    file
                    for file in (
                        PROJECT_ROOT / f"{name.replace('.', '/')}.py",
                        PROJECT_ROOT / name.replace(".", "/") / "__init__.py",
                    )
                    if file.is_file()
                }
    return found


def closure(start: Iterable[Path]) -> set[Path]:
    todo, found = list(start), set()
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += imported(path)
    return found


@pytest.mark.parametrize(
    ("image", "programs"),
    [("training", "recsys_assets/training/**/*.py"), ("serving", "triton_repo/*/model.py")],
)
def test_an_image_holds_every_module_that_its_programs_import(image: str, programs: str) -> None:
    start = sorted(PROJECT_ROOT.glob(programs))
    assert start, f"no file is {programs}: have they moved?"
    needed = {str(path.relative_to(PROJECT_ROOT)) for path in closure(start)} - {
        str(path.relative_to(PROJECT_ROOT)) for path in start
    }
    held = copied(image)
    assert (
        needed
        and sorted(
            path
            for path in needed
            if not any(path == one or path.startswith(f"{one}/") for one in held)
        )
        == []
    )
