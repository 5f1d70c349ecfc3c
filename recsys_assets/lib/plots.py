"""Small figures as Markdown with the picture inside, for the metadata of the Dagster UI.

Dagster's Markdown allows images with data: addresses and nothing that runs; so each figure is an SVG in such an
address: sharp at any size, some kilobytes, no plotting library.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 36, 44
#: Okabe and Ito's colours, which colour-blind readers can tell apart, then lighter ones for many categories.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#666666",
           "#7F9FC9", "#F2C879", "#7FC9B4", "#E3B8CF", "#A8D8F4", "#E8A37F", "#B8AF3A", "#B0B0B0",
           "#004B75", "#8F6300", "#00634A", "#80476A")
MAX_POINTS = 3_000

Values = Sequence[float] | np.ndarray


def _number(value: float) -> str:
    return f"{value:.4g}"


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    return np.linspace(low, high, count).tolist()


def _range(values: np.ndarray, include_zero: bool = False) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if include_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _checked(title: str, values: Values) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if not array.size or not np.isfinite(array).all():
        raise ValueError(f"figure {title!r} needs finite values, at least one; got {array.size}, "
                         f"{int((~np.isfinite(array)).sum())} of them not finite")
    return array


class _Canvas:
    """Collects SVG elements; x and y map data to pixels inside the frame."""

    def __init__(self, title: str, x_range: tuple[float, float], y_range: tuple[float, float], height: int = HEIGHT,
                 right: int = _RIGHT):
        self.height, self.right, self.x_range, self.y_range = height, right, x_range, y_range
        self.elements = [f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
                         self._text(_LEFT, 22, title, size=14, weight="bold")]

    @staticmethod
    def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 11, weight: str = "normal") -> str:
        return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
                f'fill="#333333">{escape(text)}</text>')

    def text(self, *args: float | str, **kwargs: str | int) -> None:
        self.elements.append(self._text(*args, **kwargs))  # type: ignore[arg-type]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - self.right)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.height - _BOTTOM - (value - low) / (high - low) * (self.height - _TOP - _BOTTOM)

    def y_axis(self) -> None:
        for value in _ticks(*self.y_range):
            y = self.y(value)
            end = WIDTH - self.right
            self.elements.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{end}" y2="{y:.1f}" stroke="#e5e5e5"/>')
            self.text(_LEFT - 6, y + 4, _number(value), anchor="end")

    def x_labels(self, positions: Sequence[float], labels: Sequence[str]) -> None:
        every = max(1, -(-len(labels) // 10))  # about ten labels have room
        for position, label in list(zip(positions, labels, strict=True))[::every]:
            self.text(self.x(position), self.height - _BOTTOM + 18, label, anchor="middle")

    def line(self, xs: Values, ys: Values, colour: str, dashed: bool = False) -> None:
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys, strict=True))
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.elements.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')

    def point(self, x: float, y: float, colour: str, radius: float) -> None:
        self.elements.append(f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius}" fill="{colour}" '
                             'fill-opacity="0.8"/>')

    def bar(self, left: float, top: float, width: float, height: float, colour: str) -> None:
        """In pixels."""
        self.elements.append(f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>')

    def markdown(self, alt: str) -> str:
        svg = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" '
               f'height="{self.height}" font-family="sans-serif">{"".join(self.elements)}</svg>')
        # brackets would end the alternative text early
        alt = alt.replace("[", "(").replace("]", ")")
        return f"![{alt}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


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
            canvas.point(x, y, PALETTE[0], 2.5)
    return canvas.markdown(title)


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
    return canvas.markdown(title)


def horizontal_bars(title: str, values: Mapping[str, float], threshold: float | None = None) -> str:
    """One bar a name, downwards in the order given, with its value; bars beyond the threshold (a line) stand out."""
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
        canvas.elements.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#333333" stroke-dasharray="5 4"/>')
        canvas.text(x, bottom + 16, f"threshold {_number(threshold)}", anchor="middle")
    return canvas.markdown(title)


@dataclass(frozen=True)
class Panel:
    """One of ``small_multiples``: shares [K] by value; ordered values stand side by side, others below each other."""

    title: str
    shares: Mapping[str, float]
    ordered: bool


def small_multiples(title: str, panels: Sequence[Panel]) -> str:
    """One figure of small bar charts, three in a row, each with its own scale and its highest share written."""
    columns, width, height, shown = 3, WIDTH / 3, 132, 6
    canvas = _Canvas(title, (0, 1), (0, 1), height=_TOP + height * -(-len(panels) // columns))
    for i, panel in enumerate(panels):
        shares = _checked(f"{title}: {panel.title}", list(panel.shares.values()))
        names = list(panel.shares)
        if not panel.ordered:
            shares = shares[:shown]
        highest = float(shares.max()) or 1.0
        left, top = 12 + width * (i % columns), _TOP + height * (i // columns)
        more = f", {shown} of {len(names)} values" if not panel.ordered and len(names) > shown else ""
        canvas.text(left, top + 12, f"{panel.title} (highest {highest:.1%}{more})", size=10)
        if panel.ordered:
            step, floor, room = (width - 24) / len(names), top + height - 26, height - 48
            for j, share in enumerate(shares):
                canvas.bar(left + step * j, floor - share / highest * room, max(step - 1, 1), share / highest * room, PALETTE[0])
            canvas.text(left, floor + 13, names[0], size=9)
            canvas.text(left + width - 24, floor + 13, names[-1], anchor="end", size=9)
            continue
        for j, (name, share) in enumerate(zip(names[:shown], shares, strict=True)):
            y = top + 18 + 17 * j
            canvas.text(left + 88, y + 11, _shortened(name, 15), anchor="end", size=9)
            canvas.bar(left + 92, y + 2, share / highest * (width - 120), 12, PALETTE[0])
    return canvas.markdown(title)


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[:most - 1]}…"


def scatter_map(title: str, points: np.ndarray, labels: Sequence[str]) -> str:
    """Points [N, 2] coloured by label [N], with a legend; at most 3,000 of them, evenly taken."""
    points = _checked(title, points)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(labels):
        raise ValueError(f"figure {title!r} needs points [N, 2] and N labels; got {points.shape} and {len(labels)}")
    counts = Counter(labels)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
    canvas = _Canvas(title, _range(points[:, 0]), _range(points[:, 1]), height=420, right=150)
    for row in np.unique(np.linspace(0, len(points) - 1, min(MAX_POINTS, len(points))).astype(int)):
        canvas.point(points[row, 0], points[row, 1], colours[labels[row]], 3)
    shown = names[:len(PALETTE)]
    for i, name in enumerate(shown):
        y = _TOP + 6 + i * 17
        canvas.elements.append(f'<rect x="{WIDTH - 138}" y="{y - 8}" width="10" height="10" fill="{colours[name]}"/>')
        canvas.text(WIDTH - 122, y + 1, name)
    if len(names) > len(shown):
        canvas.text(WIDTH - 138, _TOP + 6 + len(shown) * 17, f"and {len(names) - len(shown)} more")
    return canvas.markdown(title)


def reliability_chart(title: str, table: Sequence[Mapping[str, float]]) -> str:
    """Predicted against observed rate (rows of ``evaluation.reliability``); the dashed diagonal is perfect."""
    predicted = _checked(title, [row["predicted"] for row in table])
    observed = _checked(title, [row["observed"] for row in table])
    both = _range(np.concatenate([predicted, observed]), include_zero=True)
    canvas = _Canvas(title, both, both, height=420)
    canvas.y_axis()
    ticks = _ticks(*both)
    canvas.x_labels(ticks, [_number(tick) for tick in ticks])
    canvas.line(both, both, "#999999", dashed=True)
    canvas.line(predicted, observed, PALETTE[0])
    for x, y in zip(predicted, observed, strict=True):
        canvas.point(x, y, PALETTE[0], 3.5)
    canvas.text(WIDTH - _RIGHT, 420 - 8, "predicted", anchor="end")
    canvas.text(8, 22, "observed")
    return canvas.markdown(title)
