"""Serving and training read the same: a real training, real servers, and real clicks."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.bench.loop import skew
from recsys_assets.settings import Settings


@pytest.mark.services
@pytest.mark.training
@pytest.mark.slow
def test_what_serving_reads_is_what_training_computes(tmp_path: Path) -> None:
    said: list[str] = []
    home = Settings(home=tmp_path / "home")
    found = skew.measure(home, tmp_path, said.append, visitors=20, rounds=3)
    assert found["answers"] == 60 and len(said) == 1
    assert found["compared"] == 60 and found["rows"] > 5 * 60
    assert (found["skewed"], found["shares"]) == (0, {})
