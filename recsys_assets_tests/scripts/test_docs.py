"""Tests of scripts/docs.py: the documents name only what exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.settings import PROJECT_ROOT
from scripts import docs

FILES = {
    "Makefile": "check: lint\n\techo\nlint:  ## rules\n",
    "recsys_assets/settings.py": "class Settings:\n    home: str\n",
    "recsys_assets/cli/main.py": (
        "from recsys_assets.cli import drill as drill_command\n"
        "app.add_typer(drill_command.app, name='x')\n"
        'app.add_typer(drill_command.app, name="drill")\n'
        "@app.command()\ndef ingest_day(): ...\n"
    ),
    "recsys_assets/cli/drill.py": "@app.command()\ndef outage(): ...\n",
    "recsys_assets/defs/raw/items.py": '@dg.asset(key=["raw", "items"])\ndef items(): ...\n',
    "recsys_assets/lib/index.py": "LIMIT = 3\n\n\ndef choose(): ...\n",
    "docs/other.md": "# A title: `x`\n",
}


def faults(root: Path, text: str, name: str = "README.md") -> list[str]:
    for path, content in {**FILES, name: text}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return [line.removeprefix(f"{name}:") for line in docs.problems(root)]


def test_every_document_names_only_what_exists():
    assert len(docs.documents(PROJECT_ROOT)) >= 15
    assert docs.problems(PROJECT_ROOT) == []


@pytest.mark.parametrize(
    "text",
    [
        "[a](docs/other.md) [b](docs/other.md#a-title-x) [c](https://example.org/x)",
        "`recsys_assets/lib/` `lib/index.py` `recsys_assets/*/index.py` `index.py`",
        "`recsys_assets.lib.index` `recsys_assets.lib.index.choose` `lib.index.LIMIT`",
        "`raw/items`, `serving/display.json` and `landing/quarantine/<table>`",
        "`make check` and `recsys ingest-day DAY`, `recsys drill outage`",
        "`RECSYS_HOME`, a variable `RECSYS_…` and `application/json`",
        "| " + "a cell " * 20 + "|",
        "```\n" + "code " * 30 + "\n```",
    ],
)
def test_what_exists_passes(tmp_path: Path, text: str):
    assert faults(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("see [a](docs/gone.md)", "no file for the link docs/gone.md"),
        ("see [a](docs/other.md#gone)", "no heading for the link docs/other.md#gone"),
        ("`recsys_assets/gone/`", "no path recsys_assets/gone/"),
        ("`lib/gone.py`", "no path lib/gone.py"),
        ("`gone.py`", "no file is named gone.py"),
        ("`recsys_assets.lib.gone`", "no module recsys_assets.lib.gone"),
        ("`lib.index.gone`", "no module lib.index.gone"),
        ("`raw/gone`", "no asset and no path raw/gone"),
        ("`make gone`", "no target `make gone`"),
        ("`recsys gone`", "no command `recsys gone`"),
        ("`recsys drill gone`", "no command `recsys drill gone`"),
        ("`RECSYS_GONE`", "no setting RECSYS_GONE"),
        ("a word " * 15, "105 columns, at most 100"),
    ],
)
def test_what_does_not_exist_is_named_with_its_line(tmp_path: Path, text: str, fault: str):
    assert faults(tmp_path, f"# Title\n\n{text}\n") == [f"3: {fault}"]


def test_commands_in_blocks_of_code_are_checked(tmp_path: Path):
    text = "```sh\nmake gone\n$ recsys gone\npython -m recsys_assets.gone\n```\n"
    assert faults(tmp_path, text) == [
        "2: no target `make gone`",
        "3: no command `recsys gone`",
        "4: no module recsys_assets.gone",
    ]


def test_issue_forms_are_checked(tmp_path: Path):
    form = ".github/ISSUE_TEMPLATE/bug.yml"
    assert faults(tmp_path, "value: run `make gone`\n", form) == ["1: no target `make gone`"]


def test_the_changelog_may_name_what_is_gone(tmp_path: Path):
    text = "`raw/gone`, [a](gone.md)\n"
    assert faults(tmp_path, text, "CHANGELOG.md") == ["1: no file for the link gone.md"]


def test_the_exit_status_says_whether_a_fault_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    faults(tmp_path, "`make check`\n")
    assert docs.main(["--root", str(tmp_path)]) == 0
    faults(tmp_path, "`make gone`\n")
    assert docs.main(["--root", str(tmp_path)]) == 1
    assert "README.md:1: no target `make gone`" in capsys.readouterr().out
