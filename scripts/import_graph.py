"""Read the imports of `recsys_assets` as a graph of modules and rooms.

A room of a package is one of its direct children: a module, or a folder with modules.
`feature_repo` is a room of `recsys_assets` too. An arrow leads from a room to another room that it
imports, at the top of a module or inside a function. Imports under `if TYPE_CHECKING` and calls of
`import_module` do not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HOUSE = "recsys_assets"
#: Packages that count as rooms of the house.
BESIDE = ("feature_repo",)

Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class Module:
    """A module's number of lines, and what it imports of the tree."""

    lines: int
    imports: frozenset[str]


# --- imports of a tree ----------------------------------------------------------------------------
def import_statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield all import statements, except those under `if TYPE_CHECKING`."""
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
    """Return the names of `known` that a statement in a module of `package` imports."""
    if isinstance(statement, ast.Import):
        return {alias.name for alias in statement.names} & known
    parents = package.split(".")
    above = parents[: len(parents) - statement.level + 1] if statement.level else []
    base = ".".join([*above, *filter(None, [statement.module])])
    return {
        name if (name := f"{base}.{alias.name}") in known else base for alias in statement.names
    } & known


def read_tree(root: Path) -> dict[str, Module]:
    """Return the modules below `root` by dotted name.

    An `__init__` without code is left out.
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
    """Return the room of `package` that holds a module; None if the module is outside."""
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
    """Return (room, imported room) → the (module, imported module) pairs between them."""
    inside = rooms(tree, package)
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for room, names in inside.items():
        for name in names:
            for target in sorted(tree[name].imports):
                if (other := room_of(target, package)) in inside and other != room:
                    found.setdefault((room, str(other)), []).append((name, target))
    return dict(sorted(found.items()))


def room_graph(tree: Mapping[str, Module], package: str) -> dict[str, set[str]]:
    """Return room → other rooms of the package that it imports."""
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
    """Return what each node reaches (itself too), and its strong component."""
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
    """Return the strongly connected components of more than one node, sorted."""
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
    """Return each node's floor.

    It is 0 without imports, and else one above the highest import outside the node's own circle.
    """
    reached, component = reach(graph)
    found: dict[str, int] = {}
    # imports outside of a node's circle reach fewer nodes, so they come first
    for node in sorted(graph, key=lambda node: len(reached[node])):
        found[node] = 1 + max(
            (found[other] for other in reached[node] - component[node]), default=-1
        )
    return found


def reduced(graph: Graph) -> dict[str, set[str]]:
    """Return the transitive reduction of the graph; arrows inside a circle stay."""
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


def named_circles(
    tree: Mapping[str, Module], packages: Iterable[str]
) -> list[tuple[str, list[str]]]:
    """Return (where, members) of all circles of rooms in the packages, and of modules."""
    return [
        *(
            (package, circle)
            for package in packages
            for circle in circles(room_graph(tree, package))
        ),
        *(("modules", circle) for circle in module_circles(tree)),
    ]
