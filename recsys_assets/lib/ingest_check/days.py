"""Draw the rows of each day as bars."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from recsys_assets.lib.figures.canvas import PALETTE
from recsys_assets.lib.ingest_check.markup import Html, details, html, table
from recsys_assets.partitions import days_between

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 190, 8, 28, 24
#: With more days, a bar stands for a week, and then for four weeks.
_MOST_BARS = 370


def days_chart(rows: Mapping[str, int]) -> Html:
    """Return the rows by day as an SVG and as a table that opens; nothing without a day.

    Args:
        rows: ISO day → rows; a day between them without an entry has none.
    """
    if not rows:
        return Html("")
    first, last = (date.fromisoformat(day) for day in (min(rows), max(rows)))
    every = days_between(first, last)
    width = next(n for n in (1, 7, 28, 366, len(every)) if -(-len(every) // n) <= _MOST_BARS)
    bars = [
        (every[at], sum(rows.get(day, 0) for day in every[at : at + width]))
        for at in range(0, len(every), width)
    ]
    most = max(count for _, count in bars)
    step = (_WIDTH - 2 * _LEFT) / len(bars)
    drawn = []
    for n, (day, count) in enumerate(bars):
        height = (_HEIGHT - _BOTTOM - _TOP) * count / most
        end = (date.fromisoformat(day) + timedelta(days=width - 1)).isoformat()
        span = day if width == 1 else f"{day} to {min(end, every[-1])}"
        drawn.append(
            f'<rect x="{_LEFT + n * step:.2f}" y="{_HEIGHT - _BOTTOM - height:.2f}" '
            f'width="{max(step * 0.84, 0.6):.2f}" height="{height:.2f}" fill="{PALETTE[0]}">'
            f"<title>{span}: {count:,} rows</title></rect>"
        )
    per = {1: "day", 7: "week", 28: "four weeks"}.get(width, f"{width} days")
    said = f"Rows per {per}: {len(every)} days, {first} to {last}, at most {most:,}"
    axis = _HEIGHT - _BOTTOM
    picture = (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html(said)}">'
        f'<text x="{_LEFT}" y="16" font-size="13" fill="#57606a">most: {most:,} rows per {per}'
        f'</text>{"".join(drawn)}<line x1="{_LEFT}" y1="{axis}" x2="{_WIDTH - _LEFT}" '
        f'y2="{axis}" stroke="#57606a"/><text x="{_LEFT}" y="{_HEIGHT - 8}" font-size="13" '
        f'fill="#1f2328">{first}</text><text x="{_WIDTH - _LEFT}" y="{_HEIGHT - 8}" '
        f'font-size="13" text-anchor="end" fill="#1f2328">{last}</text></svg></figure>'
    )
    listed = table("Rows by day", ("day", "rows"), [(day, rows.get(day, 0)) for day in every])
    return Html(picture + details("All days as a table", listed))
