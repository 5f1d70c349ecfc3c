"""Check that the documents name only what the repository has.

The documents are the Markdown files of the root, of `docs/` and of `.github/`, and the issue forms.
In them this module checks:

- relative links and their anchors,
- paths of files and folders, and names of modules,
- keys of assets,
- targets of `make`, commands of `recsys` and variables `RECSYS_…`,
- the length of lines of prose (100 columns).

The changelog may name what no longer exists: only its links and lines are checked.

Usage: docs.py [--root FOLDER]
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
HOUSE, TESTS = "recsys_assets", "recsys_assets_tests"
WIDTH = 100
CHANGELOG = "CHANGELOG.md"
#: Endings of files that lie in the repository. Files of other kinds may be generated.
SOURCE = (".py", ".sh", ".md", ".toml", ".yaml", ".yml", ".pbtxt", ".Dockerfile", ".lock", ".in")

FENCE = re.compile(r"^\s*(```|~~~)")
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*/?")
MODULE = re.compile(r"\b(?:recsys_assets|recsys_assets_tests|feature_repo|scripts)(?:\.\w+)+")
MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")
COMMAND = re.compile(r"(?:^|[\s/$])recsys ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")
SETTING = re.compile(r"\bRECSYS_[A-Z0-9_]*[A-Z0-9]")


@dataclass(frozen=True)
class Line:
    """Hold one line of a document; `fenced` says whether it lies in a block of code."""

    document: Path
    number: int
    text: str
    fenced: bool

    @property
    def code(self) -> list[str]:
        """Return the pieces of code in the line."""
        return [self.text] if self.fenced else SPAN.findall(self.text)


def documents(root: Path) -> list[Path]:
    """Return the documents of a repository, sorted."""
    forms = [*root.glob(".github/**/*.md"), *root.glob(".github/**/*.yml")]
    return sorted([*root.glob("*.md"), *root.glob("docs/**/*.md"), *forms])


def lines(document: Path) -> Iterator[Line]:
    """Yield the lines of a document, without the fences themselves."""
    fenced = False
    for number, text in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        if FENCE.match(text):
            fenced = not fenced
        else:
            yield Line(document, number, text, fenced)


def slug(heading: str) -> str:
    """Return GitHub's anchor of a heading.

    >>> slug("## `recsys bench data` → `bench/data.json`")
    'recsys-bench-data--benchdatajson'
    """
    words = heading.lstrip("#").strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings."""
    return {slug(one.text) for one in lines(document) if not one.fenced and one.text[:1] == "#"}


def top_level_names(source: str) -> set[str]:
    """Return the names that a module defines or imports at its top level."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((one.asname or one.name).split(".")[0] for one in node.names)
        else:
            found.update(
                one.id
                for one in ast.walk(node)
                if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
            )
    return found


class Repository:
    """Answers whether a name in a document exists.

    Args:
        root: the folder that holds `recsys_assets`, `docs` and the Makefile.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bases = (root, root / HOUSE, root / TESTS)

    def _read(self, path: str) -> str:
        file = self.root / path
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    @cached_property
    def file_names(self) -> set[str]:
        """Return the names of all files outside hidden folders."""
        return {
            path.name
            for top in self.root.iterdir()
            if not top.name.startswith(".")
            for path in (top.rglob("*") if top.is_dir() else [top])
        }

    @cached_property
    def targets(self) -> set[str]:
        """Return the targets of the Makefile."""
        return set(re.findall(r"^([a-z-]+):", self._read("Makefile"), re.MULTILINE))

    @cached_property
    def asset_keys(self) -> set[str]:
        """Return the keys `stage/name` that the assets declare."""
        sources = "\n".join(
            path.read_text(encoding="utf-8") for path in self.root.glob(f"{HOUSE}/defs/**/*.py")
        )
        return {
            f"{stage}/{name}"
            for stage, name in re.findall(r'\["(\w+)", "(\w+)"\]', sources)
            if (self.root / HOUSE / "defs" / stage).is_dir()
        }

    @cached_property
    def settings(self) -> set[str]:
        """Return the variables `RECSYS_…` of the settings."""
        return {
            f"RECSYS_{field.target.id.upper()}"
            for path in (self.root / HOUSE).glob("*settings.py")
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ClassDef)
            for field in node.body
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        }

    @cached_property
    def commands(self) -> dict[str, set[str]]:
        """Return the commands of `recsys`, each with its subcommands."""
        found: dict[str, set[str]] = {}
        main = self._read(f"{HOUSE}/cli/main.py")
        added = main + self._read(f"{HOUSE}/cli/landing_app.py")
        for name in decorated(main) | set(re.findall(r"app\.command\([^()]*\)\((\w+)\)", added)):
            found[name.replace("_", "-")] = set()
        for module, name in re.findall(r'add_typer\((\w+)\.app, name="([\w-]+)"\)', main):
            alias = re.search(rf"import (\w+) as {module}\b", main)
            source = self._read(f"{HOUSE}/cli/{alias[1] if alias else module}.py")
            found[name] = {one.replace("_", "-") for one in decorated(source)}
        return found

    # --- what is checked
    def has_path(self, name: str) -> bool:
        """Return whether a path exists below the root, `recsys_assets` or its tests."""
        return any(True for base in self.bases for _ in base.glob(name.rstrip("/")))

    def has_module(self, name: str) -> bool:
        """Return whether a dotted name is a module, a package or a name in a module."""
        parts = name.split(".")
        for end in range(len(parts), 0, -1):
            path, rest = self.root.joinpath(*parts[:end]), parts[end:]
            if path.is_dir():
                return not rest
            if (file := path.with_suffix(".py")).is_file():
                return not rest or rest[0] in top_level_names(file.read_text(encoding="utf-8"))
        return False

    def fault_of_path(self, span: str) -> str | None:
        """Return what is wrong with a span that looks like a path, an asset key or a module."""
        if not PATH.fullmatch(span):
            return None
        first, _, rest = span.partition("/")
        if not rest and not span.endswith("/"):
            house = self.root / HOUSE / span.split(".")[0]
            if span.endswith(".py"):
                return None if span in self.file_names else f"no file is named {span}"
            if re.fullmatch(r"[a-z]\w*(\.\w+)+", span) and house.is_dir():
                name = f"{HOUSE}.{span}"
                known = span.endswith((*SOURCE, ".json")) or self.has_module(name)
                return None if known else f"no module {span}"
            return None
        if self.has_path(span):
            return None
        if re.fullmatch(r"\w+/\w+", span) and (self.root / HOUSE / "defs" / first).is_dir():
            return None if span in self.asset_keys else f"no asset and no path {span}"
        in_repository = (self.root / first).exists() or span.endswith(SOURCE)
        return f"no path {span}" if in_repository else None

    def fault_of_link(self, document: Path, target: str) -> str | None:
        """Return what is wrong with a link."""
        if re.match(r"[a-z]+:", target):
            return None
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        if not file.exists():
            return f"no file for the link {target}"
        if anchor and file.suffix == ".md" and anchor not in anchors(file):
            return f"no heading for the link {target}"
        return None

    def faults_of_code(self, code: str) -> Iterator[str]:
        """Yield what is wrong with a span or a line of code."""
        for name in MODULE.findall(code):
            if not self.has_module(name):
                yield f"no module {name}"
        for target in MAKE.findall(code):
            if target not in self.targets:
                yield f"no target `make {target}`"
        for command, sub in COMMAND.findall(code):
            if command not in self.commands:
                yield f"no command `recsys {command}`"
            elif sub and self.commands[command] and sub not in self.commands[command]:
                yield f"no command `recsys {command} {sub}`"

    def faults_of_names(self, line: Line) -> Iterator[str]:
        """Yield the names in a line that do not exist."""
        for code in line.code:
            yield from self.faults_of_code(code)
            if not line.fenced and (fault := self.fault_of_path(code)):
                yield fault
        for name in SETTING.findall(line.text):
            if name not in self.settings:
                yield f"no setting {name}"

    def faults(self, line: Line) -> Iterator[str]:
        """Yield what is wrong with one line of a document."""
        if line.document.name != CHANGELOG:
            yield from self.faults_of_names(line)
        if line.fenced or line.document.suffix != ".md":
            return
        for target in LINK.findall(SPAN.sub("", line.text)):
            if fault := self.fault_of_link(line.document, target):
                yield fault
        if len(line.text) > WIDTH and " " in line.text.strip() and line.text.lstrip()[:1] != "|":
            yield f"{len(line.text)} columns, at most {WIDTH}"


def decorated(source: str) -> set[str]:
    """Return the functions of a module that `@app.command(…)` decorates."""
    return {
        node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(one).startswith("app.command") for one in node.decorator_list)
    }


def problems(root: Path) -> list[str]:
    """Return one line per fault in the documents of a repository."""
    repository = Repository(root)
    return [
        f"{document.relative_to(root)}:{line.number}: {fault}"
        for document in documents(root)
        for line in lines(document)
        for fault in repository.faults(line)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Print the faults; return exit status 1 where there is one."""
    parser = argparse.ArgumentParser(
        prog="docs.py", description="Check that the documents name only what the repository has."
    )
    parser.add_argument("--root", type=Path, default=PROJECT_ROOT, help="the repository")
    found = problems(parser.parse_args(arguments).root.resolve())
    print("\n".join(found) or "docs: every name, path and link exists")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
