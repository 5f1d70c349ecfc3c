"""Draw estimates by day, with the days on which something happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recsys_assets.lib.figures.canvas import (
    HEIGHT,
    NARROW,
    NARROW_SIZE,
    PALETTE,
    TOP,
    Canvas,
    checked,
    data_range,
)
from recsys_assets.lib.figures.plots import Estimate, Figure

_BOTTOM = 44  # of the canvas' frame


def timeline(
    title: str,
    days: Sequence[str],
    series: Mapping[str, Sequence[Estimate | None]],
    marks: Mapping[str, str],
) -> Figure:
    """Draw one line per series with its interval as a band, and a dashed line per mark.

    A day without an estimate is a gap. The axis need not contain zero: small changes count.

    Args:
        title: the figure's title.
        days: N labels, ISO, in order.
        series: name → N estimates, None where the day has none.
        marks: day → short text; days that are not among ``days`` are left out.

    Raises:
        ValueError: a series has another length, there is no estimate, or a value is not finite.
    """
    if any(len(values) != len(days) for values in series.values()):
        raise ValueError(
            f"figure {title!r} has {len(days)} days and series of "
            f"{[len(values) for values in series.values()]} values"
        )
    every = checked(
        title, [one[end] for values in series.values() for one in values if one for end in _ENDS]
    )
    legend = 18 * -(-len(series) // 3) + 8
    xs = np.arange(len(days), dtype=np.float64)
    canvas = Canvas(
        title,
        data_range(xs),
        data_range(every),
        height=HEIGHT + legend,
        right=28,
        left=52,
        width=NARROW,
        size=NARROW_SIZE,
        top=TOP + legend,
    )
    canvas.y_axis()
    canvas.x_labels(xs.tolist(), [day[5:] for day in days], most=6)
    canvas.legend([*series])
    for number, (day, text) in enumerate(sorted(marks.items())):
        if day in days:
            x = canvas.x(float([*days].index(day)))
            canvas.vertical(x, canvas.top, canvas.height - _BOTTOM, dashed=True)
            # neighbouring marks have their texts on two heights
            canvas.text(x + 3, canvas.top + 10 + 13 * (number % 2), text, size=10)
    for number, values in enumerate(series.values()):
        for part in _without_gaps(values):
            _draw(canvas, part, values, number)
    return Figure(title, canvas.svg())


_ENDS = ("low", "value", "high")


def _without_gaps(values: Sequence[Estimate | None]) -> list[list[int]]:
    """Return the positions of the estimates in groups without a gap."""
    groups: list[list[int]] = []
    for place, one in enumerate(values):
        if one is None:
            continue
        if not groups or groups[-1][-1] != place - 1:
            groups.append([])
        groups[-1].append(place)
    return groups


def _draw(
    canvas: Canvas, places: Sequence[int], values: Sequence[Estimate | None], number: int
) -> None:
    table = np.array([[one[end] for end in _ENDS] for one in (values[n] for n in places) if one])
    xs, colour = np.asarray(places, np.float64), PALETTE[number % len(PALETTE)]
    edge = zip(np.append(xs, xs[::-1]), np.append(table[:, 0], table[::-1, 2]), strict=True)
    points = " ".join(f"{canvas.x(x):.1f},{canvas.y(y):.1f}" for x, y in edge)
    canvas.elements.append(f'<polygon points="{points}" fill="{colour}" fill-opacity="0.15"/>')
    canvas.line(xs, table[:, 1], colour)
    for x, y in zip(xs, table[:, 1], strict=True):
        canvas.mark(canvas.x(x), canvas.y(y), number)
