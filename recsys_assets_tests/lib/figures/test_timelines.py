"""Test the figure of estimates by day."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from recsys_assets.lib.figures.timelines import timeline

DAYS = [f"2026-03-{day:02d}" for day in range(1, 9)]


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02}


def test_a_gap_breaks_the_line_and_marks_are_named() -> None:
    values = [estimate(0.7 + 0.01 * n) for n in range(8)]
    with_gap = [*values[:3], None, *values[4:]]
    figure = timeline(
        "served", DAYS, {"auc": with_gap, "ndcg": values}, {DAYS[2]: "4 full", "2020-01-01": "no"}
    )
    root = ET.fromstring(figure.svg)
    tag = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{tag}polyline")) == 3  # two parts of auc, one of ndcg
    assert len(root.findall(f"{tag}polygon[@fill-opacity]")) == 3
    dashed = [one for one in root.findall(f"{tag}line") if one.get("stroke-dasharray")]
    assert len(dashed) == 1
    texts = [one.text for one in root.findall(f"{tag}text")]
    assert "4 full" in texts and "no" not in texts
    assert figure.markdown().startswith("![served](data:image/svg+xml;base64,")


def test_the_axis_shows_small_changes() -> None:
    """Both days lie a third of the frame apart, although they differ by 0.05."""
    figure = timeline("t", DAYS[:2], {"auc": [estimate(0.70), estimate(0.75)]}, {})
    root = ET.fromstring(figure.svg)
    [line] = root.findall("{http://www.w3.org/2000/svg}polyline")
    first, second = (float(pair.split(",")[1]) for pair in line.get("points", "").split())
    assert first - second > 80


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"8 days and series of \[1\]"):
        timeline("t", DAYS, {"auc": [estimate(0.5)]}, {})
    with pytest.raises(ValueError, match="needs finite values, at least one"):
        timeline("t", DAYS[:1], {"auc": [None]}, {})
