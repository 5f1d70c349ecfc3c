"""Test that the arms of a shop's experiment are compared by visitor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets.lib.drift.arms import ARMS_FIGURE, arms_of, write_arms

SCHEMA = {"answer_id": pl.String, "unit": pl.String, "arm": pl.String, "label": pl.Int8}


def rows_of(clicks: dict[tuple[str | None, str], list[int]]) -> pl.DataFrame:
    """Return two shown items per answer; clicks: (arm, visitor) → clicks of each answer, 0 to 2."""
    rows = [
        (f"{arm}-{visitor}-{n}", visitor, arm, int(item < count))
        for (arm, visitor), counts in clicks.items()
        for n, count in enumerate(counts)
        for item in range(2)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def test_clicks_per_answer_are_compared_with_the_first_arm() -> None:
    found = arms_of(
        rows_of(
            {
                ("b", "u"): [2, 2, 0],
                ("b", "v"): [1],
                ("a", "w"): [1, 0],
                ("a", "x"): [0],
                (None, "y"): [2],
            }
        )
    )
    assert [*found] == ["a", "b"]
    a, b = found["a"], found["b"]
    assert (a["answers"], a["visitors"], a["clicks"], a["minus_first"]) == (3, 2, 1, None)
    assert (b["answers"], b["visitors"], b["clicks"]) == (4, 2, 5)
    mean, more = b["clicks_per_answer"], b["minus_first"]
    assert mean is not None and more is not None
    assert mean["value"] == pytest.approx(5 / 4)
    assert more["value"] == pytest.approx(5 / 4 - 1 / 3)
    assert more["low"] < more["value"] < more["high"]


def test_the_interval_is_by_visitor() -> None:
    """A visitor with many equal answers is one visitor."""
    rng = np.random.default_rng(5)
    rates = {"a": 0.3, "b": 0.5}
    inside = 0
    for _ in range(300):
        clicks = {
            (arm, f"{arm}{n}"): [int(rng.random() < rate)] * int(rng.integers(1, 9))
            for arm, rate in rates.items()
            for n in range(150)
        }
        more = arms_of(rows_of(clicks))["b"]["minus_first"]
        assert more is not None
        inside += more["low"] <= 0.2 <= more["high"]
    assert inside / 300 > 0.91  # of 0.95: by answers it would be 0.7


def test_one_visitor_has_no_interval_and_no_arm_has_no_figures(tmp_path: Path) -> None:
    assert arms_of(rows_of({(None, "u"): [1]})) == {}
    found = arms_of(rows_of({("a", "u"): [1, 0], ("b", "v"): [1], ("b", "w"): [0]}))
    assert found["a"]["clicks_per_answer"] is None
    write_arms(found, tmp_path)
    table = (tmp_path / ARMS_FIGURE).read_text()
    assert "minus a" in table and "0.5000 [" in table
