"""Draw small figures as SVG, for the UI's metadata and for reports.

Dagster's Markdown shows images with ``data:`` addresses and runs no scripts. Each figure is an SVG
in such an address: sharp at any size, a few kilobytes, without a plotting library.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys_assets.lib.figures.canvas import (
    HEIGHT,
    NAMESPACE,
    NARROW,
    NARROW_SIZE,
    PALETTE,
    RIGHT,
    TOP,
    WIDTH,
    Canvas,
    Values,
    checked,
    data_range,
    neat_ticks,
    number_text,
    shortened,
)

MAX_POINTS = 3_000

Estimate = Mapping[str, Any]  # floats: "value", and the bounds "low" and "high" of its interval


@dataclass(frozen=True)
class Figure:
    """Holds a drawn figure; its title is the alternative text."""

    title: str
    svg: str  # a complete document, with its namespace

    def markdown(self) -> str:
        """Return an image with a ``data:`` address, for the Dagster UI."""
        # A bracket would end the alternative text.
        alt = self.title.replace("[", "(").replace("]", ")")
        return f"![{alt}](data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()})"

    def inline(self) -> str:
        """Return the element for an HTML page, where an SVG needs no namespace."""
        return self.svg.replace(f' xmlns="{NAMESPACE}"', "", 1)


def _figure(canvas: Canvas) -> Figure:
    return Figure(canvas.title, canvas.svg())


def line_chart(title: str, values: Values, labels: Sequence[str] | None = None) -> str:
    """Draw one series: values [N] in order, with labels [N] (default: 1 to N).

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    ys = checked(title, values)
    xs = np.arange(1, len(ys) + 1)
    canvas = Canvas(title, data_range(xs), data_range(ys))
    canvas.y_axis()
    canvas.x_labels(xs.tolist(), labels if labels is not None else [str(x) for x in xs])
    canvas.line(xs, ys, PALETTE[0])
    if len(ys) <= 60:
        for x, y in zip(xs, ys, strict=True):
            canvas.point(float(x), float(y), PALETTE[0], 2.5)
    return _figure(canvas).markdown()


def bar_chart(title: str, values: Mapping[str, float]) -> str:
    """Draw one bar per name, from zero, in the given order.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    heights = checked(title, list(values.values()))
    canvas = Canvas(title, (0.0, float(len(heights))), data_range(heights, include_zero=True))
    canvas.y_axis()
    zero = canvas.y(0.0)
    for i, height in enumerate(heights):
        left, right, end = canvas.x(i + 0.15), canvas.x(i + 0.85), canvas.y(height)
        canvas.bar(left, min(zero, end), right - left, abs(zero - end), PALETTE[0])
    canvas.x_labels([i + 0.5 for i in range(len(heights))], list(values))
    return _figure(canvas).markdown()


def horizontal_bars(title: str, values: Mapping[str, float], threshold: float | None = None) -> str:
    """Draw one horizontal bar per name with its value, from top to bottom.

    Bars above the threshold have another colour; the threshold is a dashed line.

    Raises:
        ValueError: there is no value, or one is negative or not finite.
    """
    lengths = checked(title, list(values.values()))
    if (lengths < 0).any():
        raise ValueError(f"figure {title!r} needs values of 0 or more")
    row, left = 20, 150
    canvas = Canvas(title, (0, 1), (0, 1), height=TOP + row * len(lengths) + 28)
    scale = (WIDTH - left - 60) / (max(float(lengths.max()), threshold or 0.0) or 1.0)
    for i, (name, length) in enumerate(values.items()):
        y = TOP + row * i
        colour = PALETTE[5] if threshold is not None and length > threshold else PALETTE[0]
        canvas.text(left - 6, y + 13, shortened(name, 24), anchor="end")
        canvas.bar(left, y + 3, length * scale, row - 6, colour)
        canvas.text(left + length * scale + 5, y + 13, number_text(length))
    if threshold is not None:
        x, bottom = left + threshold * scale, TOP + row * len(lengths)
        canvas.vertical(x, TOP, bottom, dashed=True)
        canvas.text(x, bottom + 16, f"threshold {number_text(threshold)}", anchor="middle")
    return _figure(canvas).markdown()


@dataclass(frozen=True)
class Panel:
    """Holds one chart of ``small_multiples``: shares [K] by value.

    Ordered values are columns, others are rows.
    """

    title: str
    shares: Mapping[str, float]
    ordered: bool


def small_multiples(title: str, panels: Sequence[Panel]) -> str:
    """Draw small bar charts, three per row, each with its own scale.

    Each title states the highest share.

    Raises:
        ValueError: a panel has no share, or one that is not finite.
    """
    columns, width, height, shown = 3, WIDTH / 3, 132, 6
    canvas = Canvas(title, (0, 1), (0, 1), height=TOP + height * -(-len(panels) // columns))
    for i, panel in enumerate(panels):
        shares = checked(f"{title}: {panel.title}", list(panel.shares.values()))
        names = list(panel.shares)
        if not panel.ordered:
            shares = shares[:shown]
        highest = float(shares.max()) or 1.0
        left, top = 12 + width * (i % columns), TOP + height * (i // columns)
        more = (
            f", {shown} of {len(names)} values" if not panel.ordered and len(names) > shown else ""
        )
        canvas.text(left, top + 12, f"{panel.title} (highest {highest:.1%}{more})", size=10)
        if panel.ordered:
            step, floor, room = (width - 24) / len(names), top + height - 26, height - 48
            for j, share in enumerate(shares):
                canvas.bar(
                    left + step * j,
                    floor - share / highest * room,
                    max(step - 1, 1),
                    share / highest * room,
                    PALETTE[0],
                )
            canvas.text(left, floor + 13, names[0], size=9)
            canvas.text(left + width - 24, floor + 13, names[-1], anchor="end", size=9)
            continue
        for j, (name, share) in enumerate(zip(names[:shown], shares, strict=True)):
            y = top + 18 + 17 * j
            canvas.text(left + 88, y + 11, shortened(name, 15), anchor="end", size=9)
            canvas.bar(left + 92, y + 2, share / highest * (width - 120), 12, PALETTE[0])
    return _figure(canvas).markdown()


def scatter_map(title: str, points: np.ndarray, labels: Sequence[str]) -> str:
    """Draw points [N, 2] coloured by label [N], with a legend.

    At most MAX_POINTS points are drawn, evenly spaced.

    Raises:
        ValueError: shapes disagree, or a value is not finite.
    """
    points = checked(title, points)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(labels):
        raise ValueError(
            f"figure {title!r} needs points [N, 2] and N labels; got {points.shape} and "
            f"{len(labels)}"
        )
    counts = Counter(labels)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
    canvas = Canvas(
        title, data_range(points[:, 0]), data_range(points[:, 1]), height=420, right=150
    )
    for row in np.unique(np.linspace(0, len(points) - 1, min(MAX_POINTS, len(points))).astype(int)):
        canvas.point(points[row, 0], points[row, 1], colours[labels[row]], 3)
    shown = names[: len(PALETTE)]
    for i, name in enumerate(shown):
        y = TOP + 6 + i * 17
        canvas.elements.append(
            f'<rect x="{WIDTH - 138}" y="{y - 8}" width="10" height="10" fill="{colours[name]}"/>'
        )
        canvas.text(WIDTH - 122, y + 1, name)
    if len(names) > len(shown):
        canvas.text(WIDTH - 138, TOP + 6 + len(shown) * 17, f"and {len(names) - len(shown)} more")
    return _figure(canvas).markdown()


def reliability_figure(title: str, table: Sequence[Mapping[str, float]]) -> Figure:
    """Draw predicted against observed rates; the dashed diagonal is perfect.

    Args:
        title: the figure's title.
        table: rows of ``evaluation.reliability``.

    Raises:
        ValueError: there is no row, or a value is not finite.
    """
    predicted = checked(title, [row["predicted"] for row in table])
    observed = checked(title, [row["observed"] for row in table])
    ticks = neat_ticks(np.concatenate([predicted, observed]))
    both = (ticks[0], ticks[-1])
    canvas = Canvas(title, both, both, height=380, left=52, width=NARROW, size=NARROW_SIZE)
    canvas.y_axis(ticks)
    canvas.x_labels(ticks, [number_text(tick) for tick in ticks])
    canvas.line(both, both, "#999999", dashed=True)
    canvas.line(predicted, observed, PALETTE[0])
    for x, y in zip(predicted, observed, strict=True):
        canvas.point(x, y, PALETTE[0], 3.5)
    canvas.text(NARROW - RIGHT, 380 - 8, "predicted (across), observed (up)", anchor="end")
    return _figure(canvas)


def reliability_chart(title: str, table: Sequence[Mapping[str, float]]) -> str:
    """Return ``reliability_figure`` as Markdown."""
    return reliability_figure(title, table).markdown()


def _bounds(title: str, estimates: Iterable[Estimate]) -> np.ndarray:
    """Return float64 [N, 3]: low, value, high."""
    table = np.array(
        [[one["low"], one["value"], one["high"]] for one in estimates], np.float64
    ).reshape(-1, 3)
    return checked(title, table)


def interval_plot(
    title: str, rows: Mapping[str, Mapping[str, Estimate]], threshold: float | None = None
) -> Figure:
    """Draw estimates with intervals, one row per name (a forest plot), from zero.

    Args:
        title: the figure's title.
        rows: name → series → estimate; with several series, there is a legend.
        threshold: position of a dashed line across all rows.

    Raises:
        ValueError: there is no estimate, or a value is not finite.
    """
    series = list(dict.fromkeys(name for row in rows.values() for name in row))
    bounds = _bounds(title, (one for row in rows.values() for one in row.values()))
    legend = 18 * -(-len(series) // 3) + 8 if len(series) > 1 else 0
    step, top = max(24, 13 * len(series) + 9), TOP + legend
    bottom = top + step * len(rows)
    values = np.append(bounds.ravel(), [] if threshold is None else [threshold])
    ticks = neat_ticks(values)
    canvas = Canvas(
        title,
        (ticks[0], ticks[-1]),
        (0, 1),
        height=bottom + 30,
        left=128,
        right=56 if not legend else 20,
        width=NARROW,
        size=NARROW_SIZE,
    )
    for tick in ticks:
        x = canvas.x(tick)
        canvas.vertical(x, top, bottom)
        canvas.text(x, bottom + 18, number_text(tick), anchor="middle")
    if threshold is not None:
        canvas.vertical(canvas.x(threshold), top, bottom, dashed=True)
    if legend:
        canvas.legend(series)
    _interval_rows(canvas, rows, series, top, step)
    return _figure(canvas)


def _interval_rows(
    canvas: Canvas,
    rows: Mapping[str, Mapping[str, Estimate]],
    series: Sequence[str],
    top: int,
    step: int,
) -> None:
    """Draw the rows of ``interval_plot``; a single series has its values as text."""
    several = len(series) > 1
    for i, (name, row) in enumerate(rows.items()):
        if i and several:
            edge = top + step * i
            canvas.elements.append(
                f'<line x1="8" y1="{edge}" x2="{NARROW - 8}" y2="{edge}" stroke="#e5e5e5"/>'
            )
        canvas.text(120, top + step * (i + 0.5) + 4, shortened(name, 18), anchor="end")
        for j, (which, one) in enumerate(row.items()):
            number = series.index(which)
            y = top + step * i + step * (j + 1) / (len(row) + 1)
            low, high = canvas.x(one["low"]), canvas.x(one["high"])
            canvas.elements.append(
                f'<line x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}" stroke-width="2" '
                f'stroke="{PALETTE[number % len(PALETTE)]}"/>'
            )
            canvas.mark(canvas.x(one["value"]), y, number)
            if not several:
                canvas.text(NARROW - 4, y + 4, f"{one['value']:.3f}", anchor="end")


def curves(title: str, labels: Sequence[str], series: Mapping[str, Sequence[Estimate]]) -> Figure:
    """Draw lines with their intervals as bands, from zero.

    Args:
        title: the figure's title.
        labels: N labels at equal distances.
        series: name → N estimates.

    Raises:
        ValueError: a series has another length, there is no estimate, or a value is not finite.
    """
    bounds = {name: _bounds(title, estimates) for name, estimates in series.items()}
    if any(len(table) != len(labels) for table in bounds.values()):
        raise ValueError(
            f"figure {title!r} has {len(labels)} labels and series of "
            f"{[len(table) for table in bounds.values()]} values"
        )
    legend = 18 * -(-len(series) // 3) + 8
    every = checked(title, np.concatenate(list(bounds.values())) if bounds else [])
    xs = np.arange(len(labels), dtype=np.float64)
    ticks = neat_ticks(every)
    canvas = Canvas(
        title,
        data_range(xs),
        (ticks[0], ticks[-1]),
        height=HEIGHT + legend,
        right=28,
        left=52,
        width=NARROW,
        size=NARROW_SIZE,
        top=TOP + legend,
    )
    canvas.y_axis(ticks)
    canvas.x_labels(xs.tolist(), labels, most=6)
    canvas.legend(list(series))
    for i, table in enumerate(bounds.values()):
        colour = PALETTE[i % len(PALETTE)]
        edge = zip(np.append(xs, xs[::-1]), np.append(table[:, 0], table[::-1, 2]), strict=True)
        points = " ".join(f"{canvas.x(x):.1f},{canvas.y(y):.1f}" for x, y in edge)
        canvas.elements.append(f'<polygon points="{points}" fill="{colour}" fill-opacity="0.15"/>')
        canvas.line(xs, table[:, 1], colour)
        for x, y in zip(xs, table[:, 1], strict=True):
            canvas.mark(canvas.x(x), canvas.y(y), i)
    return _figure(canvas)
