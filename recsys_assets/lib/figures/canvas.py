"""Draw SVG elements in data coordinates, and compute ranges and ticks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 640, 320
#: Width and letter size of figures for phones: scaled to a phone's width, letters are still ten
#: pixels high.
NARROW, NARROW_SIZE = 440, 13
_LEFT, RIGHT, TOP, _BOTTOM = 64, 16, 36, 44
#: Okabe and Ito's colours, which colour-blind readers can distinguish, then more shades for many
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
NAMESPACE = "http://www.w3.org/2000/svg"

Values = Sequence[float] | np.ndarray


def number_text(value: float) -> str:
    """Return a number with four significant digits."""
    return f"{value:.4g}"


def _even_ticks(low: float, high: float, count: int = 5) -> list[float]:
    return [float(value) for value in np.linspace(low, high, count)]


def neat_ticks(values: np.ndarray) -> list[float]:
    """Return three to seven round numbers that cover zero and all values.

    Steps are 1, 2 or 5 times a power of ten.
    """
    low, high = data_range(values, include_zero=True)
    rough = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * min(n for n in (1, 2, 5, 10) if n * power >= rough * 0.9999)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(f"{n * step:.10g}") for n in np.arange(first, last + 1)]


def data_range(values: np.ndarray, include_zero: bool = False) -> tuple[float, float]:
    """Return the lowest and the highest value, or a range of 1 around equal values."""
    low, high = float(values.min()), float(values.max())
    if include_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def checked(title: str, values: Values) -> np.ndarray:
    """Return the values as float64.

    Raises:
        ValueError: there is no value, or one is not finite; names the figure.
    """
    array = np.asarray(values, np.float64)
    if not array.size or not np.isfinite(array).all():
        raise ValueError(
            f"figure {title!r} needs finite values, at least one; got {array.size}, "
            f"{int((~np.isfinite(array)).sum())} of them not finite"
        )
    return array


class Canvas:
    """Collects SVG elements; ``x`` and ``y`` map data to pixels inside the frame."""

    def __init__(
        self,
        title: str,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        height: int = HEIGHT,
        right: int = RIGHT,
        left: int = _LEFT,
        width: int = WIDTH,
        size: int = 11,
        top: int = TOP,
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
        """Add a text at a pixel."""
        self.elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size or self.size}" '
            f'font-weight="{weight}" fill="#333333">{escape(text)}</text>'
        )

    def x(self, value: float) -> float:
        """Return the pixel of a value on the x axis."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Return the pixel of a value on the y axis."""
        low, high = self.y_range
        return (
            self.height
            - _BOTTOM
            - (value - low) / (high - low) * (self.height - self.top - _BOTTOM)
        )

    def y_axis(self, ticks: Sequence[float] | None = None) -> None:
        """Add grid lines and numbers at the ticks; by default, at five even ones."""
        for value in _even_ticks(*self.y_range) if ticks is None else ticks:
            y = self.y(value)
            end = self.width - self.right
            self.elements.append(
                f'<line x1="{self.left}" y1="{y:.1f}" x2="{end}" y2="{y:.1f}" stroke="#e5e5e5"/>'
            )
            self.text(self.left - 6, y + 4, number_text(value), anchor="end")

    def x_labels(self, positions: Sequence[float], labels: Sequence[str], most: int = 10) -> None:
        """Add labels at data positions; skip some if there are more than ``most``."""
        every = max(1, -(-len(labels) // most))
        for position, label in list(zip(positions, labels, strict=True))[::every]:
            self.text(self.x(position), self.height - _BOTTOM + 18, label, anchor="middle")

    def line(self, xs: Values, ys: Values, colour: str, dashed: bool = False) -> None:
        """Add a line through data points."""
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys, strict=True))
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.elements.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )

    def point(self, x: float, y: float, colour: str, radius: float) -> None:
        """Add a dot at a data point."""
        self.elements.append(
            f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius}" fill="{colour}" '
            'fill-opacity="0.8"/>'
        )

    def bar(self, left: float, top: float, width: float, height: float, colour: str) -> None:
        """Add a rectangle; all measures are pixels."""
        self.elements.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{colour}"/>'
        )

    def vertical(self, x: float, top: float, bottom: float, dashed: bool = False) -> None:
        """Add a vertical line in pixels: a light grid line, or a dark dashed one."""
        stroke = '"#333333" stroke-dasharray="5 4"' if dashed else '"#e5e5e5"'
        self.elements.append(
            f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke={stroke}/>'
        )

    def legend(self, names: Sequence[str]) -> None:
        """Add marks and names, three per row, below the title."""
        for i, name in enumerate(names):
            x, y = 14 + (NARROW - 20) / 3 * (i % 3), TOP + 10 + 18 * (i // 3)
            self.mark(x, y - 4, i)
            self.text(x + 10, y, shortened(name, 18))

    def mark(self, x: float, y: float, number: int) -> None:
        """Add a series' mark at a pixel; series differ in shape and colour."""
        half, colour = 4.5, PALETTE[number % len(PALETTE)]
        corners = [
            ((-1, -1), (1, -1), (1, 1), (-1, 1)),
            ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
            ((0, -1.2), (1.2, 1), (-1.2, 1)),
        ]
        if number % 4 == 0:
            self.elements.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{half}" fill="{colour}"/>')
            return
        points = " ".join(
            f"{x + half * dx:.1f},{y + half * dy:.1f}" for dx, dy in corners[number % 4 - 1]
        )
        self.elements.append(f'<polygon points="{points}" fill="{colour}"/>')

    def svg(self) -> str:
        """Return the SVG document."""
        return (
            f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" font-family="sans-serif" role="img" '
            f'aria-label="{escape(self.title)}">'
            f"{''.join(self.elements)}</svg>"
        )


def shortened(name: str, most: int) -> str:
    """Return a name, cut to at most ``most`` characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
