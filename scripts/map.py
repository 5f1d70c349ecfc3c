"""Draw the folders of `recsys_assets` and their imports.

`import_graph.py` says what rooms and arrows are. A room that imports no other room is on floor 0.
Any other room is one floor above the highest room that it imports. The rooms of a circle share a
floor.

Usage: map.py [PACKAGE ...] [--all] [--at GITREF] [--write FILE | --check | --json]
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: only this folder is on the path
    sys.path.insert(0, str(PROJECT_ROOT))

from scripts.import_graph import (  # noqa: E402
    HOUSE,
    Module,
    arrows,
    circles,
    floors,
    module_circles,
    named_circles,
    packages_of,
    reach,
    read_tree,
    reduced,
    room_graph,
    rooms,
)

DRAWN = (HOUSE, f"{HOUSE}/lib", f"{HOUSE}/serving")
DOCUMENT = "docs/architecture.md"
WIDTH = 100
#: The lines from one marker to the other.
MARKED = re.compile(r"^<!-- map -->\n(?:.*?\n)??<!-- /map -->$", re.MULTILINE | re.DOTALL)


# --- the drawing ----------------------------------------------------------------------------------
def wrapped(begin: str, words: Iterable[str]) -> str:
    """Return `begin` and the words, wrapped and indented by the width of `begin`."""
    return textwrap.fill(
        begin + ", ".join(words), WIDTH, subsequent_indent=" " * len(begin), break_long_words=False
    )


def table(tree: Mapping[str, Module], packages: Iterable[str]) -> str:
    """Return one line of counts per package.

    A module circle counts in each package that holds one of its members.
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


def floor_plan(tree: Mapping[str, Module], package: str) -> str:
    """Return a package's rooms from the top floor down; `*` marks circular imports."""
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
    """Return the table, the circles and one floor plan per package, as plain text."""
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
    """Return the map as JSON: rooms, arrows with imports, and circles per package."""
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
    """Return the document with the drawing between its markers.

    Raises:
        ValueError: the document does not have exactly one pair of markers.
    """
    if len(MARKED.findall(document)) != 1:
        raise ValueError(
            "the document needs one line <!-- map --> and below it one line <!-- /map -->, to hold "
            "the drawing"
        )
    return MARKED.sub(lambda _: f"<!-- map -->\n```text\n{text}```\n<!-- /map -->", document)


def problems(root: Path, tree: Mapping[str, Module], packages: list[str]) -> list[str]:
    """Return one line per circle, and one if the drawing in the document is stale."""
    found = [
        f"circle in {where}: {', '.join(members)}"
        for where, members in named_circles(tree, packages_of(tree))
    ]
    document = file.read_text(encoding="utf-8") if (file := root / DOCUMENT).exists() else ""
    if not MARKED.search(document) or with_drawing(document, drawing(tree, packages)) != document:
        found.append(f"the drawing in {DOCUMENT} is stale: run `make map WRITE={DOCUMENT}`")
    return found


def unpack(root: Path, ref: str, folder: Path) -> Path:
    """Write the Python modules and documents of a commit into a folder, and return it.

    Raises:
        ValueError: git has no such commit.
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
    """Print, write or check the map of a tree, and return the exit status.

    Raises:
        ValueError: a package has no modules.
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
            or "map: no circle, and the written drawing is up to date"
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
    """Run the command line and return the exit status: 2 if the input is invalid."""
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
        help="exit status 1 if there is a circle or the drawing is stale",
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
