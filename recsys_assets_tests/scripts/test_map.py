"""Test the map on small trees: imports, arrows, floors, circles and drawing."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.support.repository import commit_all
from scripts import map as house_map

#: cli -> work -> ground, with one import inside a function, and a room beside the house.
HOUSE = {
    "recsys_assets/__init__.py": "",
    "recsys_assets/cli.py": "from recsys_assets.work import make\nfrom recsys_assets import "
    "ground\n",
    "recsys_assets/work/__init__.py": "",
    "recsys_assets/work/make.py": "def make():\n    from recsys_assets.ground import VALUE\n    "
    "return VALUE\n",
    "recsys_assets/work/read.py": "from .make import make\n",
    "recsys_assets/ground.py": "VALUE = 1\n",
    "feature_repo/features.py": "import recsys_assets.ground\n",
}
DOCUMENT = "# Architecture\n\n<!-- map -->\n<!-- /map -->\n\nThe end.\n"


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below a folder, and return it."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def graph_of(
    root: Path, files: Mapping[str, str], package: str = "recsys_assets"
) -> dict[str, set[str]]:
    """Return the room graph of a tree."""
    return house_map.room_graph(house_map.read_tree(write(root, files)), package)


def run(root: Path, *options: str) -> int:
    """Run the command line on a tree."""
    return house_map.main(["recsys_assets", "recsys_assets/work", "--root", str(root), *options])


# --- imports --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import recsys_assets.a.deep\n", {"recsys_assets.a.deep"}),
        ("import recsys_assets.b as other, json\n", {"recsys_assets.b"}),
        ("from recsys_assets.a import deep\n", {"recsys_assets.a.deep"}),
        ("from recsys_assets.a.deep import VALUE, OTHER\n", {"recsys_assets.a.deep"}),
        ("from recsys_assets.a.deep import *\n", {"recsys_assets.a.deep"}),
        ("from recsys_assets import a, b\n", {"recsys_assets.a", "recsys_assets.b"}),
        ("from . import near\n", {"recsys_assets.c.near"}),
        ("from .near import VALUE\n", {"recsys_assets.c.near"}),
        ("from .. import b\n", {"recsys_assets.b"}),
        ("from ..a.deep import VALUE\n", {"recsys_assets.a.deep"}),
        ("def f():\n    from recsys_assets.b import VALUE\n", {"recsys_assets.b"}),
        (
            "class C:\n    def f(self):\n        with stack:\n            import recsys_assets.b\n",
            {"recsys_assets.b"},
        ),
        ("if TYPE_CHECKING:\n    import recsys_assets.b\n", set()),
        (
            "if typing.TYPE_CHECKING:\n    import recsys_assets.b\nelse:\n    import "
            "recsys_assets.a.deep\n",
            {"recsys_assets.a.deep"},
        ),
        ("if READY: ...\nelif TYPE_CHECKING:\n    import recsys_assets.b\n", set()),
        ("if not typing.TYPE_CHECKING:\n    import recsys_assets.b\n", {"recsys_assets.b"}),
        (
            "import json\nfrom recsys_assets_tests import b\nfrom nowhere.recsys_assets import b\n",
            set(),
        ),
        ("'import recsys_assets.b'  # import recsys_assets.b\n", set()),
    ],
)
def test_imports_are_resolved_to_modules(tmp_path: Path, text: str, expected: set[str]) -> None:
    write(
        tmp_path,
        {
            "recsys_assets/a/__init__.py": "",
            "recsys_assets/a/deep.py": "",
            "recsys_assets/b.py": "",
            "recsys_assets/c/near.py": "",
            "recsys_assets/c/here.py": text,
        },
    )
    assert house_map.read_tree(tmp_path)["recsys_assets.c.here"].imports == expected


def test_an_init_imports_from_its_own_package(tmp_path: Path) -> None:
    tree = house_map.read_tree(
        write(
            tmp_path,
            {
                "recsys_assets/a/__init__.py": "from .deep import VALUE\n",
                "recsys_assets/a/deep.py": "",
            },
        )
    )
    assert tree["recsys_assets.a"].imports == {"recsys_assets.a.deep"}


# --- rooms, arrows, floors ------------------------------------------------------------------------
def test_rooms_are_modules_and_folders_with_modules(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            **HOUSE,
            "recsys_assets/page/index.html": "",
            "recsys_assets/nothing/__init__.py": '"""No code."""\n',
        },
    )
    tree = house_map.read_tree(tmp_path)
    assert house_map.rooms(tree, "recsys_assets") == {
        "feature_repo": ["feature_repo.features"],
        "cli": ["recsys_assets.cli"],
        "ground": ["recsys_assets.ground"],
        "work": ["recsys_assets.work.make", "recsys_assets.work.read"],
    }
    assert set(house_map.rooms(tree, "recsys_assets.work")) == {"make", "read"}
    assert house_map.packages_of(tree) == ["recsys_assets", "recsys_assets.work"]


def test_an_init_with_code_is_a_room(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        {
            "recsys_assets/__init__.py": "READY = True\n",
            "recsys_assets/a.py": "from recsys_assets import READY\n",
        },
    )
    assert graph == {"__init__": set(), "a": {"__init__"}}


def test_an_arrow_names_the_imports_that_make_it(tmp_path: Path) -> None:
    assert house_map.arrows(house_map.read_tree(write(tmp_path, HOUSE)), "recsys_assets") == {
        ("cli", "ground"): [("recsys_assets.cli", "recsys_assets.ground")],
        ("cli", "work"): [("recsys_assets.cli", "recsys_assets.work.make")],
        ("feature_repo", "ground"): [("feature_repo.features", "recsys_assets.ground")],
        ("work", "ground"): [("recsys_assets.work.make", "recsys_assets.ground")],
    }


def test_an_import_of_a_folder_is_an_arrow_to_its_room(tmp_path: Path) -> None:
    assert graph_of(
        tmp_path, {**HOUSE, "recsys_assets/cli.py": "from recsys_assets import work\n"}
    )["cli"] == {"work"}


def test_floors_stand_on_what_they_import() -> None:
    assert house_map.floors({"d": {"c", "a"}, "c": {"b"}, "b": {"a"}, "a": set(), "x": {"a"}}) == {
        "a": 0,
        "b": 1,
        "x": 1,
        "c": 2,
        "d": 3,
    }


def test_the_rooms_of_a_circle_share_a_floor() -> None:
    graph = {"ground": set(), "a": {"b"}, "b": {"a", "ground"}, "top": {"a"}}
    assert house_map.floors(graph) == {"ground": 0, "a": 1, "b": 1, "top": 2}
    assert house_map.floors({"a": {"b"}, "b": {"a"}}) == {"a": 0, "b": 0}


# --- circles, reduction ---------------------------------------------------------------------------
def test_circles_are_named_with_their_members() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert house_map.circles(graph) == [["a", "b", "c"], ["d", "e"]]
    assert house_map.circles({"a": {"b"}, "b": set()}) == []


def test_a_circle_of_rooms_need_not_be_a_circle_of_modules(tmp_path: Path) -> None:
    files = {
        "recsys_assets/a/one.py": "from recsys_assets.b import two\n",
        "recsys_assets/b/two.py": "",
        "recsys_assets/b/three.py": "from recsys_assets.a import four\n",
        "recsys_assets/a/four.py": "",
    }
    tree = house_map.read_tree(write(tmp_path, files))
    assert house_map.circles(house_map.room_graph(tree, "recsys_assets")) == [["a", "b"]]
    assert house_map.module_circles(tree) == []


def test_a_circle_of_modules_inside_one_room_is_found(tmp_path: Path) -> None:
    late = "def make():\n    from recsys_assets.work import read\n"
    tree = house_map.read_tree(write(tmp_path, {**HOUSE, "recsys_assets/work/make.py": late}))
    assert house_map.module_circles(tree) == [
        ["recsys_assets.work.make", "recsys_assets.work.read"]
    ]
    assert house_map.circles(house_map.room_graph(tree, "recsys_assets")) == []
    assert (
        "circle in modules: recsys_assets.work.make, recsys_assets.work.read"
        in house_map.drawing(tree, ["recsys_assets"])
    )


def test_an_import_that_follows_from_others_is_left_out() -> None:
    assert house_map.reduced({"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}) == {
        "a": {"b"},
        "b": {"c"},
        "c": {"d"},
        "d": set(),
    }


def test_imports_inside_a_circle_stay() -> None:
    graph = {"a": {"b", "ground"}, "b": {"a", "middle"}, "middle": {"ground"}, "ground": set()}
    assert house_map.reduced(graph) == {
        "a": {"b"},
        "b": {"a", "middle"},
        "middle": {"ground"},
        "ground": set(),
    }


@pytest.mark.parametrize("seed", range(20))
def test_the_reduction_reaches_what_the_graph_reaches_and_is_minimal(seed: int) -> None:
    chance = random.Random(seed)
    nodes = "abcdefghij"
    with_circles = seed % 2
    graph: dict[str, set[str]] = {node: set() for node in nodes}
    for one, other in itertools.permutations(nodes, 2):
        if chance.random() < 0.2 and (with_circles or one < other):
            graph[one].add(other)
    small = house_map.reduced(graph)
    reached = house_map.reach(graph)
    assert house_map.reach(small) == reached
    assert house_map.floors(small) == house_map.floors(graph)
    if not with_circles:
        for one, other in [(begin, end) for begin in nodes for end in small[begin]]:
            assert house_map.reach({**small, one: small[one] - {other}}) != reached, (
                f"{one} -> {other} follows from others"
            )


# --- the drawing ----------------------------------------------------------------------------------
def test_the_drawing_of_a_small_house(tmp_path: Path) -> None:
    assert (
        house_map.drawing(house_map.read_tree(write(tmp_path, HOUSE)), ["recsys_assets"])
        == """\
package                            rooms  floors  arrows  circles  module circles
recsys_assets                          4       3       4        0               0

A room imports rooms of lower floors; an import that follows from the others is left out.

recsys_assets
floor  room          modules   lines  imports
    2  cli                 1       2  work
    1  feature_repo        1       1  ground
       work                2       4  ground
    0  ground              1       1
"""
    )


def test_a_long_line_is_continued_below_its_column(tmp_path: Path) -> None:
    files = {f"recsys_assets/a_module_with_a_long_name_{number}.py": "" for number in range(9)}
    names = [Path(name).stem for name in files]
    tree = house_map.read_tree(
        write(
            tmp_path,
            {**files, "recsys_assets/top.py": f"from recsys_assets import {', '.join(names)}\n"},
        )
    )
    lines = house_map.drawing(tree, ["recsys_assets"]).splitlines()
    assert max(map(len, lines)) <= house_map.WIDTH
    column = lines[
        next(number for number, line in enumerate(lines) if line.startswith("floor"))
    ].index("imports")
    continued = [line for line in lines if line.startswith(" " * column)]
    assert len(continued) > 3
    assert all(line == line.rstrip() and "```" not in line for line in lines)


def test_an_import_of_a_circle_is_marked(tmp_path: Path) -> None:
    tree = house_map.read_tree(
        write(
            tmp_path,
            {**HOUSE, "recsys_assets/ground.py": "def f():\n    import recsys_assets.cli\n"},
        )
    )
    drawn = house_map.drawing(tree, ["recsys_assets"])
    assert "circle in recsys_assets: cli, ground, work" in drawn
    assert "ground*, work*" in drawn


def test_json_holds_every_arrow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write(tmp_path, HOUSE), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["recsys_assets"]["rooms"]["cli"] == {
        "floor": 2,
        "modules": 1,
        "lines": 2,
        "imports": ["ground", "work"],
    }
    assert len(found["packages"]["recsys_assets"]["arrows"]) == 4
    assert found["module_circles"] == found["packages"]["recsys_assets"]["circles"] == []


def test_all_draws_every_package_with_rooms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert house_map.main(["--all", "--json", "--root", str(write(tmp_path, HOUSE))]) == 0
    assert list(json.loads(capsys.readouterr().out)["packages"]) == [
        "recsys_assets",
        "recsys_assets.work",
    ]


def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert house_map.main(["recsys_assets/attic", "--root", str(write(tmp_path, HOUSE))]) == 2
    assert "recsys_assets.attic" in capsys.readouterr().err


# --- the document ---------------------------------------------------------------------------------
def test_write_replaces_the_text_between_the_markers_and_nothing_else(tmp_path: Path) -> None:
    document = DOCUMENT.replace("-->\n<", "-->\nold\n\n```\nold\n```\n<")
    file = write(tmp_path, {**HOUSE, "docs/architecture.md": document}) / house_map.DOCUMENT
    assert run(tmp_path, "--write", house_map.DOCUMENT) == 0
    once = file.read_text()
    assert once.startswith("# Architecture\n\n<!-- map -->\n```text\npackage ")
    assert once.endswith("\n```\n<!-- /map -->\n\nThe end.\n")
    assert "old" not in once
    assert run(tmp_path, "--write", house_map.DOCUMENT) == 0
    assert file.read_text() == once


@pytest.mark.parametrize(
    "document",
    [
        "# Architecture\n",
        "<!-- map -->\n",
        DOCUMENT + DOCUMENT,
        "see `<!-- map -->` and `<!-- /map -->`\n",
    ],
)
def test_write_names_the_markers_that_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], document: str
) -> None:
    write(tmp_path, {**HOUSE, "docs/architecture.md": document})
    assert run(tmp_path, "--write", house_map.DOCUMENT) == 2
    assert "<!-- /map -->" in capsys.readouterr().err
    assert (tmp_path / house_map.DOCUMENT).read_text() == document


def test_check_passes_on_a_house_without_circles_and_todays_drawing(tmp_path: Path) -> None:
    run(write(tmp_path, {**HOUSE, "docs/architecture.md": DOCUMENT}), "--write", house_map.DOCUMENT)
    assert run(tmp_path, "--check") == 0


def test_check_fails_on_a_stale_drawing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, HOUSE)
    assert run(tmp_path, "--check") == 1, "no document"
    write(tmp_path, {"docs/architecture.md": DOCUMENT})
    assert run(tmp_path, "--check") == 1, "nothing between the markers"
    run(tmp_path, "--write", house_map.DOCUMENT)
    write(tmp_path, {"recsys_assets/attic.py": ""})
    capsys.readouterr()
    assert run(tmp_path, "--check") == 1
    assert f"make map WRITE={house_map.DOCUMENT}" in capsys.readouterr().out


def test_check_names_every_circle_also_in_packages_that_are_not_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        tmp_path,
        {
            **HOUSE,
            "docs/architecture.md": DOCUMENT,
            "recsys_assets/lib/a.py": "import recsys_assets.lib.b\n",
            "recsys_assets/lib/b.py": "import recsys_assets.lib.a\n",
        },
    )
    run(tmp_path, "--write", house_map.DOCUMENT)
    assert run(tmp_path, "--check") == 1
    assert capsys.readouterr().out.splitlines() == [
        "map: circle in recsys_assets.lib: a, b",
        "map: circle in modules: recsys_assets.lib.a, recsys_assets.lib.b",
    ]


# --- a commit, the command ------------------------------------------------------------------------
def test_at_reads_a_commit_and_leaves_the_tree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "clone", HOUSE)
    commit_all(root)
    assert run(root) == 0
    before = capsys.readouterr().out
    write(root, {"recsys_assets/later.py": "import recsys_assets.cli\n"})
    assert run(root, "--at", "HEAD") == 0
    assert capsys.readouterr().out == before
    assert run(root) == 0
    assert "later" in capsys.readouterr().out


def test_at_names_a_commit_that_git_does_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit_all(write(tmp_path, HOUSE))
    assert run(tmp_path, "--at", "no-such-branch") == 2
    assert "no-such-branch" in capsys.readouterr().err


def test_at_writes_no_document(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(write(tmp_path, HOUSE), "--at", "HEAD", "--write", house_map.DOCUMENT)


def test_the_script_draws_this_project() -> None:
    done = subprocess.run(
        [sys.executable, str(PROJECT_ROOT / "scripts" / "map.py")], text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= house_map.WIDTH
