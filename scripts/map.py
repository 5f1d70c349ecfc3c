"""Draw the folders of `recsys_assets` and their imports, floor by floor, for
`docs/architecture.md`.

A room of a package is one of its direct children: a module, or a folder with modules.
`feature_repo` is a room of the house too. An arrow leads from a room to another room that it
imports, at the top of a module or inside a function. Imports under `if TYPE_CHECKING` do not count;
the map cannot see `import_module`. A room that imports no other room is on floor 0, any other room
is one floor above the highest room that it imports. The rooms of a circle share a floor.

Usage: map.py [PACKAGE ...] [--all] [--at GITREF] [--write FILE | --check | --json]
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
HOUSE = "recsys_assets"
#: Packages beside the house; each is one room of it.
BESIDE = ("feature_repo",)
DRAWN = (HOUSE, f"{HOUSE}/lib", f"{HOUSE}/serving")
DOCUMENT = "docs/architecture.md"
WIDTH = 100
#: From one marker's line to the other's.
MARKED = re.compile(r"^<!-- map -->\n(?:.*?\n)??<!-- /map -->$", re.MULTILINE | re.DOTALL)

Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class Module:
    """Hold a module's number of lines, and the modules and packages of the tree that it imports."""

    lines: int
    imports: frozenset[str]


# --- imports of a tree ----------------------------------------------------------------------------
def import_statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield each import at any depth, without those under `if TYPE_CHECKING`."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield node
        return
    for_types = isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )
    for part in (
        node.orelse if isinstance(node, ast.If) and for_types else ast.iter_child_nodes(node)
    ):
        yield from import_statements(part)


def imported(statement: ast.Import | ast.ImportFrom, package: str, known: set[str]) -> set[str]:
    """Return the names among `known` that a statement in a module of `package` imports."""
    if isinstance(statement, ast.Import):
        return {alias.name for alias in statement.names} & known
    parents = package.split(".")
    above = parents[: len(parents) - statement.level + 1] if statement.level else []
    base = ".".join([*above, *filter(None, [statement.module])])
    return {
        name if (name := f"{base}.{alias.name}") in known else base for alias in statement.names
    } & known


def read_tree(root: Path) -> dict[str, Module]:
    """Return every module below `root` by its dotted name, without an `__init__` that holds no
    code.
    """
    sources = {
        path: path.read_text(encoding="utf-8")
        for top in (HOUSE, *BESIDE)
        for path in sorted((root / top).rglob("*.py"))
    }
    packages = {path: ".".join(path.relative_to(root).parent.parts) for path in sources}
    names = {
        path: packages[path] if path.stem == "__init__" else f"{packages[path]}.{path.stem}"
        for path in sources
    }
    known = set(names.values()) | set(packages.values())
    tree: dict[str, Module] = {}
    for path, source in sources.items():
        parsed, name = ast.parse(source, str(path)), names[path]
        if path.stem == "__init__" and all(
            isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
            for part in parsed.body
        ):
            continue
        found = [
            imported(statement, packages[path], known) for statement in import_statements(parsed)
        ]
        tree[name] = Module(len(source.splitlines()), frozenset(set().union(*found) - {name}))
    return tree


# --- rooms and arrows -----------------------------------------------------------------------------
def room_of(name: str, package: str) -> str | None:
    """Return the room of `package` that holds a module, None for a module outside."""
    if name == package:
        return "__init__"
    if name.startswith(f"{package}."):
        return name[len(package) + 1 :].split(".")[0]
    top = name.split(".")[0]
    return top if package == HOUSE and top in BESIDE else None


def rooms(tree: Mapping[str, Module], package: str) -> dict[str, list[str]]:
    """Return the rooms of a dotted package, each with the names of its modules."""
    found: dict[str, list[str]] = {}
    for name in sorted(tree):
        if (room := room_of(name, package)) is not None:
            found.setdefault(room, []).append(name)
    return found


def arrows(
    tree: Mapping[str, Module], package: str
) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Return (room, imported room) of a package, each with the (module, imported module) that make
    the arrow.
    """
    inside = rooms(tree, package)
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for room, names in inside.items():
        for name in names:
            for target in sorted(tree[name].imports):
                if (other := room_of(target, package)) in inside and other != room:
                    found.setdefault((room, str(other)), []).append((name, target))
    return dict(sorted(found.items()))


def room_graph(tree: Mapping[str, Module], package: str) -> dict[str, set[str]]:
    """Return which other rooms each room of a package imports."""
    pairs = arrows(tree, package)
    return {
        room: {other for begin, other in pairs if begin == room} for room in rooms(tree, package)
    }


def packages_of(tree: Mapping[str, Module]) -> list[str]:
    """Return the packages, at any depth, that have more than one room."""
    parents = {name.rsplit(".", depth)[0] for name in tree for depth in range(name.count(".") + 1)}
    return sorted(package for package in parents if len(rooms(tree, package)) > 1)


# --- circles, floors, reduction -------------------------------------------------------------------
def reach(graph: Graph) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return per node what it reaches (itself too), and its strongly connected component."""
    reached = {node: {node} for node in graph}
    for start, found in reached.items():
        waiting = [start]
        while waiting:
            new = graph[waiting.pop()] - found
            found |= new
            waiting.extend(new)
    return reached, {
        node: {other for other in found if node in reached[other]}
        for node, found in reached.items()
    }


def circles(graph: Graph) -> list[list[str]]:
    """Return the strongly connected components of more than one node, each with its sorted
    members.
    """
    return [
        list(circle)
        for circle in sorted(
            {tuple(sorted(one)) for one in reach(graph)[1].values() if len(one) > 1}
        )
    ]


def module_circles(tree: Mapping[str, Module]) -> list[list[str]]:
    """Return the circles of modules over the whole tree."""
    return circles({name: set(module.imports & tree.keys()) for name, module in tree.items()})


def floors(graph: Graph) -> dict[str, int]:
    """Return each node's floor: 0 without imports, else one above the highest import outside its
    own circle.
    """
    reached, component = reach(graph)
    found: dict[str, int] = {}
    # what a node imports outside its circle reaches fewer nodes, so it comes first
    for node in sorted(graph, key=lambda node: len(reached[node])):
        found[node] = 1 + max(
            (found[other] for other in reached[node] - component[node]), default=-1
        )
    return found


def reduced(graph: Graph) -> dict[str, set[str]]:
    """Return the graph without the arrows that follow from others (transitive reduction; arrows
    inside a circle stay).
    """
    reached, component = reach(graph)
    return {
        node: {
            other
            for other in graph[node]
            if other in component[node]
            or not any(
                other in reached[between]
                for between in reached[node] - component[node] - component[other]
            )
        }
        for node in graph
    }


# --- the drawing ----------------------------------------------------------------------------------
def wrapped(begin: str, words: Iterable[str]) -> str:
    """Return the words behind `begin`, continued below their own column."""
    return textwrap.fill(
        begin + ", ".join(words), WIDTH, subsequent_indent=" " * len(begin), break_long_words=False
    )


def table(tree: Mapping[str, Module], packages: Iterable[str]) -> str:
    """Return one line per package with its counts; a module circle counts where one of its members
    is inside.
    """
    lines = [
        f"{'package':<32}{'rooms':>8}{'floors':>8}{'arrows':>8}{'circles':>9}{'module circles':>16}"
    ]
    for package in packages:
        graph = room_graph(tree, package)
        inside = {name for names in rooms(tree, package).values() for name in names}
        touching = sum(not inside.isdisjoint(circle) for circle in module_circles(tree))
        lines.append(
            f"{package:<32}{len(graph):>8}{1 + max(floors(graph).values()):>8}"
            f"{sum(map(len, graph.values())):>8}{len(circles(graph)):>9}{touching:>16}"
        )
    return "\n".join(lines)


def named_circles(
    tree: Mapping[str, Module], packages: Iterable[str]
) -> list[tuple[str, list[str]]]:
    """Return (where, members) of every circle of rooms in the packages and of every circle of
    modules.
    """
    return [
        *(
            (package, circle)
            for package in packages
            for circle in circles(room_graph(tree, package))
        ),
        *(("modules", circle) for circle in module_circles(tree)),
    ]


def floor_plan(tree: Mapping[str, Module], package: str) -> str:
    """Return a package's rooms from the top floor down; `*` marks an import inside a circle."""
    graph, inside = room_graph(tree, package), rooms(tree, package)
    level, shown, component = floors(graph), reduced(graph), reach(graph)[1]
    wide = max(map(len, [*graph, "room"]))
    lines, above = [package, f"floor  {'room':<{wide}}  modules   lines  imports"], -1
    for room in sorted(graph, key=lambda room: (-level[room], room)):
        floor, above = "" if level[room] == above else level[room], level[room]
        length = sum(tree[name].lines for name in inside[room])
        begin = f"{floor:>5}  {room:<{wide}}  {len(inside[room]):>7}  {length:>6}  "
        lines.append(
            wrapped(
                begin,
                (
                    f"{other}*" if other in component[room] else other
                    for other in sorted(shown[room])
                ),
            )
        )
    return "\n".join(lines)


def drawing(tree: Mapping[str, Module], packages: list[str]) -> str:
    """Return the table, the named circles and one floor plan per package, as plain text."""
    found = [
        wrapped(f"circle in {where}: ", members) for where, members in named_circles(tree, packages)
    ]
    legend = (
        "A room imports rooms of lower floors; an import that follows from the others is left out."
        + (" * is on a circle." if found else "")
    )
    return (
        "\n\n".join(
            [
                table(tree, packages),
                *(["\n".join(found)] if found else []),
                textwrap.fill(legend, WIDTH),
                *(floor_plan(tree, package) for package in packages),
            ]
        )
        + "\n"
    )


def as_json(tree: Mapping[str, Module], packages: Iterable[str]) -> str:
    """Return the map as JSON: per package its rooms, every arrow with its imports, and its
    circles.
    """
    houses: dict[str, object] = {}
    for package in packages:
        graph, inside = room_graph(tree, package), rooms(tree, package)
        level = floors(graph)
        houses[package] = {
            "rooms": {
                room: {
                    "floor": level[room],
                    "modules": len(names),
                    "lines": sum(tree[name].lines for name in names),
                    "imports": sorted(graph[room]),
                }
                for room, names in inside.items()
            },
            "arrows": [
                {"from": room, "to": other, "imports": pairs}
                for (room, other), pairs in arrows(tree, package).items()
            ],
            "circles": circles(graph),
        }
    return json.dumps({"packages": houses, "module_circles": module_circles(tree)}, indent=1) + "\n"


# --- the document, a commit, the command ----------------------------------------------------------
def with_drawing(document: str, text: str) -> str:
    """Return the document with the drawing between its markers; raises ValueError without one pair
    of markers.
    """
    if len(MARKED.findall(document)) != 1:
        raise ValueError(
            "the document needs one line <!-- map --> and below it one line <!-- /map -->, where "
            "the drawing belongs"
        )
    return MARKED.sub(lambda _: f"<!-- map -->\n```text\n{text}```\n<!-- /map -->", document)


def problems(root: Path, tree: Mapping[str, Module], packages: list[str]) -> list[str]:
    """Return one line per circle, in any package, and one where the drawing in the document is
    stale.
    """
    found = [
        f"circle in {where}: {', '.join(members)}"
        for where, members in named_circles(tree, packages_of(tree))
    ]
    document = file.read_text(encoding="utf-8") if (file := root / DOCUMENT).exists() else ""
    if not MARKED.search(document) or with_drawing(document, drawing(tree, packages)) != document:
        found.append(f"{DOCUMENT} does not hold today's drawing: run `make map WRITE={DOCUMENT}`")
    return found


def unpack(root: Path, ref: str, folder: Path) -> Path:
    """Write the Python modules and documents of a commit into a folder; raises ValueError where git
    has no such commit.
    """
    done = subprocess.run(
        ["git", "-C", str(root), "archive", "--format=tar", ref], capture_output=True
    )
    if done.returncode:
        raise ValueError(f"git archive {ref}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(
            folder,
            [one for one in archive if one.isfile() and one.name.endswith((".py", ".md"))],
            filter="data",
        )
    return folder


def run(root: Path, options: argparse.Namespace) -> int:
    """Print, write or check the map of a tree: the exit status. Raises ValueError for a package
    without modules.
    """
    tree = read_tree(root)
    packages = (
        packages_of(tree)
        if options.all
        else [one.strip("/").replace("/", ".") for one in options.packages or DRAWN]
    )
    if empty := [package for package in packages if not rooms(tree, package)]:
        raise ValueError(
            f"no Python module in {', '.join(empty)}; packages with rooms: "
            f"{', '.join(packages_of(tree))}"
        )
    if options.check:
        found = problems(root, tree, packages)
        print(
            "\n".join(f"map: {line}" for line in found)
            or "map: no circle, and the written drawing is today's"
        )
        return int(bool(found))
    if options.write:
        file = root / options.write
        file.write_text(
            with_drawing(file.read_text(encoding="utf-8"), drawing(tree, packages)),
            encoding="utf-8",
        )
    else:
        sys.stdout.write(as_json(tree, packages) if options.json else drawing(tree, packages))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and run it; one line and exit status 2 for what cannot be read."""
    parser = argparse.ArgumentParser(
        prog="map.py", description="Draw the folders of recsys_assets and their imports."
    )
    parser.add_argument(
        "packages",
        nargs="*",
        metavar="PACKAGE",
        help=f"folders to draw (default: {' '.join(DRAWN)})",
    )
    parser.add_argument(
        "--all", action="store_true", help="draw every package that has more than one room"
    )
    parser.add_argument("--at", metavar="GITREF", help="read a commit and not the working tree")
    parser.add_argument(
        "--root", type=Path, default=PROJECT_ROOT, help="the folder that holds recsys_assets"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "--write",
        metavar="FILE",
        help=f"put the drawing between the markers of a document, as {DOCUMENT}",
    )
    output.add_argument(
        "--check",
        action="store_true",
        help="exit status 1 where there is a circle or the drawing is stale",
    )
    output.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if options.at and options.write:
        parser.error("--write takes the working tree: leave out --at")
    try:
        with tempfile.TemporaryDirectory(prefix="map-") as folder:
            return run(
                unpack(options.root, options.at, Path(folder)) if options.at else options.root,
                options,
            )
    except (OSError, SyntaxError, ValueError) as error:
        print(f"map: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
