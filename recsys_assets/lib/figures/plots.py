"""Small figures as Markdown with the picture inside, for the metadata of the Dagster UI.

Dagster's Markdown allows images with data: addresses and nothing that runs; so each figure is an
SVG in such an
address: sharp at any size, some kilobytes, no plotting library.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 640, 320
#: Figures that are read on a phone too: shrunk to its width, their letters are still ten pixels
#: high.
NARROW, NARROW_SIZE = 440, 13
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 36, 44
#: Okabe and Ito's colours, which colour-blind readers can tell apart, then lighter ones for many
#: categories.
PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#666666",
    "#7F9FC9",
    "#F2C879",
    "#7FC9B4",
    "#E3B8CF",
    "#A8D8F4",
    "#E8A37F",
    "#B8AF3A",
    "#B0B0B0",
    "#004B75",
    "#8F6300",
    "#00634A",
    "#80476A",
)
MAX_POINTS = 3_000
_NAMESPACE = "http://www.w3.org/2000/svg"

Values = Sequence[float] | np.ndarray
Estimate = Mapping[str, float]  # "value" and the bounds "low" and "high" of its interval


@dataclass(frozen=True)
class Figure:
    """A drawn figure: an SVG whose title is its alternative text."""

    title: str
    svg: str  # with its namespace: a document of its own

    def markdown(self) -> str:
        """An image with a data: address, for the Dagster UI."""
        # brackets would end the alternative text early
        alt = self.title.replace("[", "(").replace("]", ")")
        return f"![{alt}](data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()})"

    def inline(self) -> str:
        """The element inside an HTML page, where an SVG needs no namespace."""
        return self.svg.replace(f' xmlns="{_NAMESPACE}"', "", 1)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    return np.linspace(low, high, count).tolist()


def _neat_ticks(values: np.ndarray) -> list[float]:
    """Three to seven round numbers (steps of 1, 2 or 5) from zero, or below, to beyond the highest
    value.
    """
    low, high = _range(values, include_zero=True)
    rough = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * min(n for n in (1, 2, 5, 10) if n * power >= rough * 0.9999)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(f"{n * step:.10g}") for n in np.arange(first, last + 1)]


def _range(values: np.ndarray, include_zero: bool = False) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if include_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _checked(title: str, values: Values) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if not array.size or not np.isfinite(array).all():
        raise ValueError(
            f"figure {title!r} needs finite values, at least one; got {array.size}, "
            f"{int((~np.isfinite(array)).sum())} of them not finite"
        )
    return array


class _Canvas:
    """Collects SVG elements; x and y map data to pixels inside the frame."""

    def __init__(
        self,
        title: str,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        height: int = HEIGHT,
        right: int = _RIGHT,
        left: int = _LEFT,
        width: int = WIDTH,
        size: int = 11,
        top: int = _TOP,
    ) -> None:
        self.height, self.right, self.x_range, self.y_range = height, right, x_range, y_range
        self.title, self.left, self.top, self.width, self.size = title, left, top, width, size
        self.elements = [f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
        self.text(_LEFT if width == WIDTH else 8, 22, title, size=14, weight="bold")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        anchor: str = "start",
        size: int | None = None,
        weight: str = "normal",
    ) -> None:
        self.elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size or self.size}" '
            f'font-weight="{weight}" fill="#333333">{escape(text)}</text>'
        )

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return (
            self.height
            - _BOTTOM
            - (value - low) / (high - low) * (self.height - self.top - _BOTTOM)
        )

    def y_axis(self, ticks: Sequence[float] | None = None) -> None:
        for value in _ticks(*self.y_range) if ticks is None else ticks:
            y = self.y(value)
            end = self.width - self.right
            self.elements.append(
                f'<line x1="{self.left}" y1="{y:.1f}" x2="{end}" y2="{y:.1f}" stroke="#e5e5e5"/>'
            )
            self.text(self.left - 6, y + 4, _number(value), anchor="end")

    def x_labels(self, positions: Sequence[float], labels: Sequence[str], most: int = 10) -> None:
        every = max(1, -(-len(labels) // most))  # about ten labels have room
        for position, label in list(zip(positions, labels, strict=True))[::every]:
            self.text(self.x(position), self.height - _BOTTOM + 18, label, anchor="middle")

    def line(self, xs: Values, ys: Values, colour: str, dashed: bool = False) -> None:
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys, strict=True))
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.elements.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )

    def point(self, x: float, y: float, colour: str, radius: float) -> None:
        self.elements.append(
            f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius}" fill="{colour}" '
            'fill-opacity="0.8"/>'
        )

    def bar(self, left: float, top: float, width: float, height: float, colour: str) -> None:
        """In pixels."""
        self.elements.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{colour}"/>'
        )

    def figure(self) -> Figure:
        return Figure(
            self.title,
            f'<svg xmlns="{_NAMESPACE}" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" '
            f'height="{self.height}" font-family="sans-serif" role="img" '
            f'aria-label="{escape(self.title)}">'
            f"{''.join(self.elements)}</svg>",
        )

    def markdown(self) -> str:
        return self.figure().markdown()


def line_chart(title: str, values: Values, labels: Sequence[str] | None = None) -> str:
    """One series: values [N] in order; labels [N] below it, else 1 to N."""
    ys = _checked(title, values)
    xs = np.arange(1, len(ys) + 1)
    canvas = _Canvas(title, _range(xs), _range(ys))
    canvas.y_axis()
    canvas.x_labels(xs.tolist(), labels if labels is not None else [str(x) for x in xs])
    canvas.line(xs, ys, PALETTE[0])
    if len(ys) <= 60:
        for x, y in zip(xs, ys, strict=True):
            canvas.point(float(x), float(y), PALETTE[0], 2.5)
    return canvas.markdown()


def bar_chart(title: str, values: Mapping[str, float]) -> str:
    """One bar a name, from zero, in the order given."""
    heights = _checked(title, list(values.values()))
    canvas = _Canvas(title, (0.0, float(len(heights))), _range(heights, include_zero=True))
    canvas.y_axis()
    zero = canvas.y(0.0)
    for i, height in enumerate(heights):
        left, right, end = canvas.x(i + 0.15), canvas.x(i + 0.85), canvas.y(height)
        canvas.bar(left, min(zero, end), right - left, abs(zero - end), PALETTE[0])
    canvas.x_labels([i + 0.5 for i in range(len(heights))], list(values))
    return canvas.markdown()


def horizontal_bars(title: str, values: Mapping[str, float], threshold: float | None = None) -> str:
    """One bar a name, downwards in the order given, with its value; bars beyond the threshold (a
    line) stand out.
    """
    lengths = _checked(title, list(values.values()))
    if (lengths < 0).any():
        raise ValueError(f"figure {title!r} needs values of 0 or more")
    row, left = 20, 150
    canvas = _Canvas(title, (0, 1), (0, 1), height=_TOP + row * len(lengths) + 28)
    scale = (WIDTH - left - 60) / (max(float(lengths.max()), threshold or 0.0) or 1.0)
    for i, (name, length) in enumerate(values.items()):
        y = _TOP + row * i
        colour = PALETTE[5] if threshold is not None and length > threshold else PALETTE[0]
        canvas.text(left - 6, y + 13, _shortened(name, 24), anchor="end")
        canvas.bar(left, y + 3, length * scale, row - 6, colour)
        canvas.text(left + length * scale + 5, y + 13, _number(length))
    if threshold is not None:
        x, bottom = left + threshold * scale, _TOP + row * len(lengths)
        canvas.elements.append(
            f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#333333" '
            'stroke-dasharray="5 4"/>'
        )
        canvas.text(x, bottom + 16, f"threshold {_number(threshold)}", anchor="middle")
    return canvas.markdown()


@dataclass(frozen=True)
class Panel:
    """One of ``small_multiples``: shares [K] by value; ordered values stand side by side, others
    below each other.
    """

    title: str
    shares: Mapping[str, float]
    ordered: bool


def small_multiples(title: str, panels: Sequence[Panel]) -> str:
    """One figure of small bar charts, three in a row, each with its own scale and its highest share
    written.
    """
    columns, width, height, shown = 3, WIDTH / 3, 132, 6
    canvas = _Canvas(title, (0, 1), (0, 1), height=_TOP + height * -(-len(panels) // columns))
    for i, panel in enumerate(panels):
        shares = _checked(f"{title}: {panel.title}", list(panel.shares.values()))
        names = list(panel.shares)
        if not panel.ordered:
            shares = shares[:shown]
        highest = float(shares.max()) or 1.0
        left, top = 12 + width * (i % columns), _TOP + height * (i // columns)
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
            canvas.text(left + 88, y + 11, _shortened(name, 15), anchor="end", size=9)
            canvas.bar(left + 92, y + 2, share / highest * (width - 120), 12, PALETTE[0])
    return canvas.markdown()


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def scatter_map(title: str, points: np.ndarray, labels: Sequence[str]) -> str:
    """Points [N, 2] coloured by label [N], with a legend; at most 3,000 of them, evenly taken."""
    points = _checked(title, points)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(labels):
        raise ValueError(
            f"figure {title!r} needs points [N, 2] and N labels; got {points.shape} and "
            f"{len(labels)}"
        )
    counts = Counter(labels)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
    canvas = _Canvas(title, _range(points[:, 0]), _range(points[:, 1]), height=420, right=150)
    for row in np.unique(np.linspace(0, len(points) - 1, min(MAX_POINTS, len(points))).astype(int)):
        canvas.point(points[row, 0], points[row, 1], colours[labels[row]], 3)
    shown = names[: len(PALETTE)]
    for i, name in enumerate(shown):
        y = _TOP + 6 + i * 17
        canvas.elements.append(
            f'<rect x="{WIDTH - 138}" y="{y - 8}" width="10" height="10" fill="{colours[name]}"/>'
        )
        canvas.text(WIDTH - 122, y + 1, name)
    if len(names) > len(shown):
        canvas.text(WIDTH - 138, _TOP + 6 + len(shown) * 17, f"and {len(names) - len(shown)} more")
    return canvas.markdown()


def reliability_figure(title: str, table: Sequence[Mapping[str, float]]) -> Figure:
    """Predicted against observed rate (rows of ``evaluation.reliability``); the dashed diagonal is
    perfect.
    """
    predicted = _checked(title, [row["predicted"] for row in table])
    observed = _checked(title, [row["observed"] for row in table])
    ticks = _neat_ticks(np.concatenate([predicted, observed]))
    both = (ticks[0], ticks[-1])
    canvas = _Canvas(title, both, both, height=380, left=52, width=NARROW, size=NARROW_SIZE)
    canvas.y_axis(ticks)
    canvas.x_labels(ticks, [_number(tick) for tick in ticks])
    canvas.line(both, both, "#999999", dashed=True)
    canvas.line(predicted, observed, PALETTE[0])
    for x, y in zip(predicted, observed, strict=True):
        canvas.point(x, y, PALETTE[0], 3.5)
    canvas.text(NARROW - _RIGHT, 380 - 8, "predicted (across), observed (up)", anchor="end")
    return canvas.figure()


def reliability_chart(title: str, table: Sequence[Mapping[str, float]]) -> str:
    """``reliability_figure`` as Markdown."""
    return reliability_figure(title, table).markdown()


def _bounds(title: str, estimates: Iterable[Estimate]) -> np.ndarray:
    """float64 [N, 3]: low, value, high."""
    table = np.array(
        [[one["low"], one["value"], one["high"]] for one in estimates], np.float64
    ).reshape(-1, 3)
    return _checked(title, table)


def _legend(canvas: _Canvas, names: Sequence[str]) -> None:
    """Marks and names in rows of three below the title."""
    for i, name in enumerate(names):
        x, y = 14 + (NARROW - 20) / 3 * (i % 3), _TOP + 10 + 18 * (i // 3)
        _mark(canvas, x, y - 4, i)
        canvas.text(x + 10, y, _shortened(name, 18))


def _mark(canvas: _Canvas, x: float, y: float, number: int) -> None:
    """A series' mark at a pixel: shape as well as colour tells series apart."""
    half, colour = 4.5, PALETTE[number % len(PALETTE)]
    corners = [
        ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
        ((0, -1.2), (1.2, 1), (-1.2, 1)),
    ]
    if number % 4 == 0:
        canvas.elements.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{half}" fill="{colour}"/>')
        return
    points = " ".join(
        f"{x + half * dx:.1f},{y + half * dy:.1f}" for dx, dy in corners[number % 4 - 1]
    )
    canvas.elements.append(f'<polygon points="{points}" fill="{colour}"/>')


def interval_plot(
    title: str, rows: Mapping[str, Mapping[str, Estimate]], threshold: float | None = None
) -> Figure:
    """Estimates with their intervals, a row a name (a forest plot), from zero.

    Args:
        rows: name → series → estimate; where there are several series, each has its mark and a
            legend.
        threshold: a dashed line across all rows.
    """
    series = list(dict.fromkeys(name for row in rows.values() for name in row))
    bounds = _bounds(title, (one for row in rows.values() for one in row.values()))
    legend = 18 * -(-len(series) // 3) + 8 if len(series) > 1 else 0
    step, top = max(24, 13 * len(series) + 9), _TOP + legend
    bottom = top + step * len(rows)
    values = np.append(bounds.ravel(), [] if threshold is None else [threshold])
    ticks = _neat_ticks(values)
    canvas = _Canvas(
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
        canvas.elements.append(
            f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="#e5e5e5"/>'
        )
        canvas.text(x, bottom + 18, _number(tick), anchor="middle")
    if threshold is not None:
        x = canvas.x(threshold)
        canvas.elements.append(
            f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="#333333" '
            'stroke-dasharray="5 4"/>'
        )
    if legend:
        _legend(canvas, series)
    for i, (name, row) in enumerate(rows.items()):
        if i and legend:
            edge = top + step * i
            canvas.elements.append(
                f'<line x1="8" y1="{edge}" x2="{NARROW - 8}" y2="{edge}" stroke="#e5e5e5"/>'
            )
        canvas.text(120, top + step * (i + 0.5) + 4, _shortened(name, 18), anchor="end")
        for j, (which, one) in enumerate(row.items()):
            number = series.index(which)
            y = top + step * i + step * (j + 1) / (len(row) + 1)
            low, high = canvas.x(one["low"]), canvas.x(one["high"])
            canvas.elements.append(
                f'<line x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}" stroke-width="2" '
                f'stroke="{PALETTE[number % len(PALETTE)]}"/>'
            )
            _mark(canvas, canvas.x(one["value"]), y, number)
            if not legend:
                canvas.text(NARROW - 4, y + 4, f"{one['value']:.3f}", anchor="end")
    return canvas.figure()


def curves(title: str, labels: Sequence[str], series: Mapping[str, Sequence[Estimate]]) -> Figure:
    """Lines with their intervals as bands: each series an estimate a label, at equal distances, the
    scale from zero.
    """
    bounds = {name: _bounds(title, estimates) for name, estimates in series.items()}
    if any(len(table) != len(labels) for table in bounds.values()):
        raise ValueError(
            f"figure {title!r} has {len(labels)} labels and series of "
            f"{[len(table) for table in bounds.values()]} values"
        )
    legend = 18 * -(-len(series) // 3) + 8
    every = _checked(title, np.concatenate(list(bounds.values())) if bounds else [])
    xs = np.arange(len(labels), dtype=np.float64)
    ticks = _neat_ticks(every)
    canvas = _Canvas(
        title,
        _range(xs),
        (ticks[0], ticks[-1]),
        height=HEIGHT + legend,
        right=28,
        left=52,
        width=NARROW,
        size=NARROW_SIZE,
        top=_TOP + legend,
    )
    canvas.y_axis(ticks)
    canvas.x_labels(xs.tolist(), labels, most=6)
    _legend(canvas, list(series))
    for i, table in enumerate(bounds.values()):
        colour = PALETTE[i % len(PALETTE)]
        edge = zip(np.append(xs, xs[::-1]), np.append(table[:, 0], table[::-1, 2]), strict=True)
        points = " ".join(f"{canvas.x(x):.1f},{canvas.y(y):.1f}" for x, y in edge)
        canvas.elements.append(f'<polygon points="{points}" fill="{colour}" fill-opacity="0.15"/>')
        canvas.line(xs, table[:, 1], colour)
        for x, y in zip(xs, table[:, 1], strict=True):
            _mark(canvas, canvas.x(x), canvas.y(y), i)
    return canvas.figure()
