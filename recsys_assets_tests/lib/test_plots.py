"""Each figure is a Markdown image that holds a well-formed SVG with the data where they belong."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from recsys_assets.lib import plots

SVG = "{http://www.w3.org/2000/svg}"


def parsed(markdown: str) -> ET.Element:
    found = re.fullmatch(r"!\[([^\[\]]+)\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert found is not None
    return ET.fromstring(base64.b64decode(found[2]))


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_line_chart():
    root = parsed(plots.line_chart("Click rate <by day> [UTC]", [0.1, 0.3, 0.2], ["d1", "d2", "d3"]))
    (line,) = root.iter(f"{SVG}polyline")
    points = [tuple(map(float, p.split(","))) for p in line.get("points", "").split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points) and len(points) == 3
    ys = [y for _, y in points]
    assert ys[1] < ys[2] < ys[0]  # the highest value is nearest to the top
    assert {"Click rate <by day> [UTC]", "d1", "d2", "d3", "0.1", "0.3"} <= set(texts(root))


def test_line_chart_without_labels_and_with_many_points():
    root = parsed(plots.line_chart("loss", np.linspace(5, 1, 300)))
    assert len([t for t in texts(root) if t.isdigit()]) <= 20  # labels do not overlap
    parsed(plots.line_chart("one", [2.0]))


def test_bar_chart_heights_are_proportional():
    root = parsed(plots.bar_chart("clicks", {"a": 1.0, "b": 4.0, "c": -2.0}))
    heights = [float(bar.get("height", 0)) for bar in root.iter(f"{SVG}rect") if bar.get("fill") == plots.PALETTE[0]]
    assert heights[1:] == pytest.approx([4 * heights[0], 2 * heights[0]], rel=0.02)


def test_scatter_map_colours_by_label():
    points = np.random.default_rng(0).standard_normal((90, 2))
    root = parsed(plots.scatter_map("map", points, ["shoes"] * 60 + ["hats & caps"] * 30))
    colours = [c.get("fill") for c in root.iter(f"{SVG}circle")]
    assert colours == [plots.PALETTE[0]] * 60 + [plots.PALETTE[1]] * 30  # the commonest label first
    assert {"shoes", "hats & caps"} <= set(texts(root))


def test_scatter_map_of_a_large_catalogue_stays_small():
    points = np.random.default_rng(0).standard_normal((20_000, 2))
    markdown = plots.scatter_map("map", points, [f"category {i % 84}" for i in range(20_000)])
    assert len(markdown) < 500_000 and len(list(parsed(markdown).iter(f"{SVG}circle"))) == plots.MAX_POINTS
    assert "and 64 more" in texts(parsed(markdown))


def test_reliability_chart_has_the_diagonal():
    table = [{"predicted": 0.1, "observed": 0.12, "rows": 10}, {"predicted": 0.4, "observed": 0.3, "rows": 10}]
    root = parsed(plots.reliability_chart("calibration", table))
    diagonal, line = root.iter(f"{SVG}polyline")
    assert diagonal.get("stroke-dasharray") and not line.get("stroke-dasharray")
    assert len(list(root.iter(f"{SVG}circle"))) == 2


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_values_that_cannot_be_drawn_are_named(values):
    with pytest.raises(ValueError, match="figure 'loss' needs finite values"):
        plots.line_chart("loss", values)
    with pytest.raises(ValueError, match=r"points \[N, 2\] and N labels"):
        plots.scatter_map("map", np.zeros((3, 2)), ["a"])


def test_horizontal_bars_mark_what_exceeds_the_threshold():
    root = parsed(plots.horizontal_bars("drift", {"age": 0.02, "a feature of a rather long name": 0.08, "price": 0.0}, threshold=0.06))
    bars = [bar for bar in root.iter(f"{SVG}rect")][1:]  # after the background
    assert [bar.get("fill") for bar in bars] == [plots.PALETTE[0], plots.PALETTE[5], plots.PALETTE[0]]
    widths = [float(bar.get("width", 0)) for bar in bars]
    assert widths[1] == pytest.approx(4 * widths[0], abs=0.5) and widths[2] == 0
    (line,) = root.iter(f"{SVG}line")
    assert float(line.get("x1", 0)) - float(bars[0].get("x", 0)) == pytest.approx(3 * widths[0], abs=0.5)
    assert {"age", "0.08", "threshold 0.06"} <= set(texts(root)) and all(len(text) <= 24 for text in texts(root))


def test_bars_without_a_threshold_and_without_any_length():
    root = parsed(plots.horizontal_bars("nothing", {"a": 0.0}))
    assert not list(root.iter(f"{SVG}line"))
    with pytest.raises(ValueError, match="0 or more"):
        plots.horizontal_bars("negative", {"a": -1.0})


def test_small_multiples_hold_a_chart_each_inside_the_figure():
    panels = [plots.Panel("hour", {"0": 0.25, "1": 0.5, "2": 0.25}, ordered=True),
              plots.Panel("item", {f"i{n}": 0.1 for n in range(10)}, ordered=False),
              *(plots.Panel(f"p{n}", {"only": 1.0}, ordered=False) for n in range(3))]
    root = parsed(plots.small_multiples("Shares", panels))
    bars = [bar for bar in root.iter(f"{SVG}rect")][1:]
    assert len(bars) == 3 + 6 + 3  # of many unordered values the first six
    heights = [float(bar.get("height", 0)) for bar in bars[:3]]
    assert heights[1] == pytest.approx(2 * heights[0]) == pytest.approx(2 * heights[2])
    assert {"hour (highest 50.0%)", "item (highest 10.0%, 6 of 10 values)", "i5", "only"} <= set(texts(root)) and "i6" not in texts(root)
    height = float(root.get("height", 0))
    for bar in bars:
        x, y, wide, high = (float(bar.get(name, 0)) for name in ("x", "y", "width", "height"))
        assert 0 <= x and x + wide <= plots.WIDTH and 0 <= y and y + high <= height
