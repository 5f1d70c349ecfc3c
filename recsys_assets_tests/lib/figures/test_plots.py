"""Test that each figure is a Markdown image of a well-formed SVG with the right data."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from recsys_assets.lib.figures import plots

SVG = "{http://www.w3.org/2000/svg}"


def parsed(markdown: str) -> ET.Element:
    found = re.fullmatch(
        r"!\[([^\[\]]+)\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", markdown
    )
    assert found is not None
    return ET.fromstring(base64.b64decode(found[2]))


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_line_chart():
    root = parsed(
        plots.line_chart("Click rate <by day> [UTC]", [0.1, 0.3, 0.2], ["d1", "d2", "d3"])
    )
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
    heights = [
        float(bar.get("height", 0))
        for bar in root.iter(f"{SVG}rect")
        if bar.get("fill") == plots.PALETTE[0]
    ]
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
    assert (
        len(markdown) < 500_000
        and len(list(parsed(markdown).iter(f"{SVG}circle"))) == plots.MAX_POINTS
    )
    assert "and 64 more" in texts(parsed(markdown))


def test_reliability_chart_has_the_diagonal():
    table = [
        {"predicted": 0.1, "observed": 0.12, "rows": 10},
        {"predicted": 0.4, "observed": 0.3, "rows": 10},
    ]
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
    root = parsed(
        plots.horizontal_bars(
            "drift",
            {"age": 0.02, "a feature of a rather long name": 0.08, "price": 0.0},
            threshold=0.06,
        )
    )
    bars = [bar for bar in root.iter(f"{SVG}rect")][1:]  # after the background
    assert [bar.get("fill") for bar in bars] == [
        plots.PALETTE[0],
        plots.PALETTE[5],
        plots.PALETTE[0],
    ]
    widths = [float(bar.get("width", 0)) for bar in bars]
    assert widths[1] == pytest.approx(4 * widths[0], abs=0.5) and widths[2] == 0
    (line,) = root.iter(f"{SVG}line")
    assert float(line.get("x1", 0)) - float(bars[0].get("x", 0)) == pytest.approx(
        3 * widths[0], abs=0.5
    )
    assert {"age", "0.08", "threshold 0.06"} <= set(texts(root)) and all(
        len(text) <= 24 for text in texts(root)
    )


def test_bars_without_a_threshold_and_without_any_length():
    root = parsed(plots.horizontal_bars("nothing", {"a": 0.0}))
    assert not list(root.iter(f"{SVG}line"))
    with pytest.raises(ValueError, match="0 or more"):
        plots.horizontal_bars("negative", {"a": -1.0})


def test_small_multiples_hold_a_chart_each_inside_the_figure():
    panels = [
        plots.Panel("hour", {"0": 0.25, "1": 0.5, "2": 0.25}, ordered=True),
        plots.Panel("item", {f"i{n}": 0.1 for n in range(10)}, ordered=False),
        *(plots.Panel(f"p{n}", {"only": 1.0}, ordered=False) for n in range(3)),
    ]
    root = parsed(plots.small_multiples("Shares", panels))
    bars = [bar for bar in root.iter(f"{SVG}rect")][1:]
    assert len(bars) == 3 + 6 + 3  # of many unordered values the first six
    heights = [float(bar.get("height", 0)) for bar in bars[:3]]
    assert heights[1] == pytest.approx(2 * heights[0]) == pytest.approx(2 * heights[2])
    assert {"hour (highest 50.0%)", "item (highest 10.0%, 6 of 10 values)", "i5", "only"} <= set(
        texts(root)
    ) and "i6" not in texts(root)
    height = float(root.get("height", 0))
    for bar in bars:
        x, y, wide, high = (float(bar.get(name, 0)) for name in ("x", "y", "width", "height"))
        assert 0 <= x and x + wide <= plots.WIDTH and 0 <= y and y + high <= height


def estimate(value: float, half: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def test_interval_plot_draws_value_interval_and_threshold_to_scale():
    figure = plots.interval_plot(
        "nDCG <@10>",
        {"served": {"n": estimate(0.16)}, "item-kNN & co": {"n": estimate(0.08)}},
        threshold=0.15,
    )
    root = parsed(figure.markdown())
    assert root.get("role") == "img" and root.get("aria-label") == "nDCG <@10>"
    served, other = (float(mark.get("cx", 0)) for mark in root.iter(f"{SVG}circle"))
    zero = min(float(line.get("x1", 0)) for line in root.iter(f"{SVG}line"))
    assert (served - zero) == pytest.approx(2 * (other - zero), abs=0.2)
    whiskers = [line for line in root.iter(f"{SVG}line") if line.get("stroke") == plots.PALETTE[0]]
    low, high = (float(whiskers[0].get(end, 0)) for end in ("x1", "x2"))
    assert (low + high) / 2 == pytest.approx(served, abs=0.1) and low < served < high
    (dashed,) = [line for line in root.iter(f"{SVG}line") if line.get("stroke-dasharray")]
    assert float(dashed.get("x1", 0)) == pytest.approx(
        low, abs=0.1
    )  # 0.15 is the lower bound of the first
    assert {"served", "item-kNN & co", "0.160", "0.080"} <= set(texts(root))


def test_interval_plot_of_several_series_tells_them_apart_by_shape():
    rows = {
        "night": {"served": estimate(0.2), "popularity": estimate(0.1)},
        "morning": {"popularity": estimate(0.1)},
    }
    root = parsed(plots.interval_plot("slices", rows).markdown())
    assert (
        len(list(root.iter(f"{SVG}circle"))) == 2 and len(list(root.iter(f"{SVG}polygon"))) == 3
    )  # each one more in the legend
    assert {"served", "popularity", "night", "morning"} <= set(texts(root))
    for element in root.iter(f"{SVG}line"):
        assert 0 <= float(element.get("x1", 0)) <= plots.NARROW and 0 <= float(
            element.get("y1", 0)
        ) <= float(root.get("height", 0))


def test_curves_have_a_band_a_series():
    root = parsed(
        plots.curves(
            "quality by day",
            ["d1", "d2", "d3"],
            {"served": [estimate(0.1), estimate(0.2), estimate(0.3)], "EASE": [estimate(0.1)] * 3},
        ).markdown()
    )
    first, second = root.iter(f"{SVG}polyline")
    heights = [float(point.split(",")[1]) for point in first.get("points", "").split()]
    assert (
        heights == sorted(heights, reverse=True)
        and len({p.split(",")[1] for p in second.get("points", "").split()}) == 1
    )
    assert len([p for p in root.iter(f"{SVG}polygon") if p.get("fill-opacity")]) == 2
    assert {"d1", "d2", "d3", "served", "EASE", "0", "0.1", "0.3"} <= set(texts(root))


def test_intervals_and_curves_refuse_what_cannot_be_drawn():
    with pytest.raises(ValueError, match="'q' needs finite values"):
        plots.interval_plot("q", {"a": {"n": estimate(float("nan"))}})
    with pytest.raises(ValueError, match="'q' needs finite values"):
        plots.interval_plot("q", {})
    with pytest.raises(ValueError, match=r"'q' has 2 labels and series of \[1\]"):
        plots.curves("q", ["a", "b"], {"s": [estimate(1)]})


def test_an_inline_figure_needs_no_address():
    figure = plots.interval_plot("q", {"a": {"n": estimate(0.5)}})
    assert "http" in figure.svg and "http" not in figure.inline()
