"""Test ``recsys check eks``: its options, exit codes, and what it prints."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from recsys_assets.cli.check import app
from recsys_assets.operations.eks import installed
from recsys_assets.operations.eks.installed import Installed, NoCluster


def test_the_namespace_has_the_short_name_of_kubectl(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def read(namespace: str, context: str | None) -> Installed:
        asked.append((namespace, context))
        return Installed(namespace, (1, 34), {})

    monkeypatch.setattr(installed, "read", read)
    done = CliRunner().invoke(app, ["eks", "-n", "shop", "--no-pods"])
    assert asked == [("shop", None)]
    assert done.exit_code == 1
    assert "checks failed" in done.stdout


def test_a_cluster_that_cannot_be_asked_ends_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(namespace: str, context: str | None) -> Installed:
        raise NoCluster("the cluster does not answer")

    monkeypatch.setattr(installed, "read", read)
    done = CliRunner().invoke(app, ["eks"])
    assert done.exit_code == 2
    assert "the cluster does not answer" in done.stderr
