"""Draw a measure along a stream, with the points at which something happened."""

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
from recsys_assets.lib.figures.plots import Figure

#: Points of a series at most, evenly spaced.
MOST_POINTS = 400
_BOTTOM = 44  # of the canvas' frame
_TICKS = 5


def stream_figure(
    title: str,
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    rows: int,
    marks: Sequence[tuple[int, str]],
    threshold: float | None = None,
) -> Figure:
    """Draw one line per series over the rows of a stream, and a dashed line per mark.

    Args:
        title: the figure's title.
        series: name → rows int [n], from 1, ascending, and values float [n]; NaN: a gap.
        rows: of the stream.
        marks: row and short text.
        threshold: value of a dashed line across.

    Raises:
        ValueError: there is no value.
    """
    known = [values[np.isfinite(values)] for _, values in series.values()]
    every = checked(title, np.concatenate([*known, [] if threshold is None else [threshold]]))
    legend = 18 * -(-len(series) // 3) + 8
    whole = np.linspace(1, max(rows, 2), _TICKS).round()
    canvas = Canvas(
        title,
        (1.0, float(max(rows, 2))),
        data_range(every),
        height=HEIGHT + legend,
        right=28,
        left=52,
        width=NARROW,
        size=NARROW_SIZE,
        top=TOP + legend,
    )
    canvas.y_axis()
    canvas.x_labels(whole.tolist(), [f"{int(one):,}" for one in whole])
    canvas.legend([*series])
    if threshold is not None:
        canvas.line(canvas.x_range, [threshold, threshold], "#999999", dashed=True)
    for number, (row, text) in enumerate(sorted(marks)):
        x = canvas.x(float(row))
        canvas.vertical(x, canvas.top, canvas.height - _BOTTOM, dashed=True)
        # neighbouring marks have their texts on two heights; one at the right end is left of it
        right = x > canvas.width * 0.75
        height = canvas.top + 10 + 13 * (number % 2)
        canvas.text(x - 3 if right else x + 3, height, text, "end" if right else "start", 10)
    for number, (at, values) in enumerate(series.values()):
        for part in parts(at, values):
            canvas.line(at[part], values[part], PALETTE[number % len(PALETTE)])
    return Figure(title, canvas.svg())


def parts(at: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """Return the places of up to MOST_POINTS values, in groups without a gap.

    >>> [one.tolist() for one in parts(np.array([1, 2, 3]), np.array([0.5, np.nan, 0.6]))]
    [[0], [2]]
    """
    finite = np.isfinite(values)
    if not finite.any():
        return []
    # a group is what lies between two values that are not known
    group = np.cumsum(~finite)
    step = max(1, -(-len(at) // MOST_POINTS))
    chosen = np.zeros(len(at), bool)
    chosen[::step] = True
    chosen[-1] = True
    places = np.flatnonzero(finite & chosen)
    return [places[group[places] == one] for one in np.unique(group[places])]
