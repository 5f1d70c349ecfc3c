"""Test ``recsys ingest --check``: exit codes, the page's path, and the command to run next."""

from __future__ import annotations

import fcntl
import html
import os
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from recsys_assets.cli.ingest import ingest
from recsys_assets.settings import get_settings


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RECSYS_START_DAY")  # the fixed calendar of the tests
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    get_settings.cache_clear()
    app = typer.Typer()
    app.command()(ingest)
    yield lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))
    get_settings.cache_clear()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "my log.csv"
    path.write_text(
        "the visitor,sku,ts,kind\n"
        + "".join(f"u{n % 3},i{n},2026-01-{n % 12 + 1:02d} 10:00,Look it's\n" for n in range(60))
        + ",i1,2026-01-01 10:00,Look it's\n"
    )
    return path


def options(log: Path) -> list[object]:
    maps = ("user_id=the visitor", "item_id=sku", "timestamp=ts", "event_type=kind")
    mapped = [word for one in maps for word in ("--map", one)]
    return [log, *mapped, "--event-type", "Look it's=View", "--time-zone", "Europe/Berlin"]


def next_command(page: str) -> list[str]:
    return shlex.split(html.unescape(re.search(r"<pre>(.*?)</pre>", page, re.DOTALL)[1]))


def test_the_command_of_the_page_ingests_what_the_page_says(run, log: Path, tmp_path: Path):
    done = run(*options(log), "--check")
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "home").exists()
    page = (tmp_path / "work/ingest-check.html").read_text()
    assert "61 rows read, 60 taken, 1 left out" in done.stdout
    assert str(tmp_path / "work/ingest-check.html") in done.stdout
    command = next_command(page)
    assert command[:2] == ["recsys", "ingest"] and "--check" not in command
    taken = run(*command[2:])
    assert taken.exit_code == 0, taken.output
    assert "landing zone: 60 events, 3 users, 60 items" in taken.stdout
    assert "rejected rows are kept" in taken.stdout


def test_a_refused_file_makes_a_page_and_ends_with_1(run, log: Path, tmp_path: Path):
    target = tmp_path / "pages/check.html"
    done = run(log, "--map", "user_id=the visitor", "--check", "--page", target)
    assert done.exit_code == 1
    assert "--map item_id=<column>" in done.stderr and "likely" in done.stderr
    page = target.read_text()
    assert "--map item_id=&lt;column&gt;" in page[: page.index("What to do next")]
    assert "Look it&#x27;s" in page  # the first rows are shown
    command = next_command(page)
    assert command[-1] == "--check" and str(log) in command


def test_a_refused_option_makes_a_page_with_the_first_rows(run, log: Path, tmp_path: Path):
    done = run(*options(log), "--event-type", "x=Buy", "--check")
    assert done.exit_code == 1 and "'Buy' is not one of" in done.stderr
    page = (tmp_path / "work/ingest-check.html").read_text()
    assert "&#x27;Buy&#x27; is not one of" in page and "the visitor" in page


def test_a_check_needs_no_lock_and_leaves_none(run, log: Path, tmp_path: Path):
    assert run(*options(log)).exit_code == 0
    landing = tmp_path / "home/landing"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "home").rglob("*")}
    folder = os.open(landing, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an ingest is running
        assert run(*options(log), "--check").exit_code == 0
    finally:
        os.close(folder)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "home").rglob("*")} == before


def test_a_home_with_a_simulated_shop_gets_a_fresh_one_in_the_command(run, log, tmp_path: Path):
    landing = tmp_path / "home/landing"
    landing.mkdir(parents=True)
    (landing / "simulation.json").write_text("{}")
    done = run(*options(log), "--check")
    assert done.exit_code == 0 and "simulated shop" in done.stdout
    page = (tmp_path / "work/ingest-check.html").read_text()
    assert next_command(page)[:4] == ["export", "RECSYS_HOME=$PWD/my-shop", "recsys", "ingest"]
    assert [path.name for path in landing.iterdir()] == ["simulation.json"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--page", "home"], "ends in .html"),
        (["--check", "--page", "LOG"], "ends in .html"),
        (["--check", "--page", "HOME/landing/a.html"], "lies in the landing zone"),
        (["--page", "a.html"], "add --check"),
        (["--check", "--page", "LOG/a.html"], "cannot be written"),
    ],
)
def test_a_wrong_page_is_refused_with_the_remedy(run, log, tmp_path, arguments, said: str):
    content = log.read_bytes()
    places = {"LOG": str(log), "HOME": str(tmp_path / "home")}
    for name, place in places.items():
        arguments = [one.replace(name, place) for one in arguments]
    done = run(*options(log), *arguments)
    assert done.exit_code == 1 and (said in done.stderr or "add --check" in done.stderr)
    assert log.read_bytes() == content and not (tmp_path / "home").exists()
