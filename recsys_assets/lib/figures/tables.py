"""Format tables for the UI and for reports."""

from __future__ import annotations

import polars as pl


def markdown_table(frame: pl.DataFrame) -> str:
    """Return a small frame as a Markdown table."""

    def cell(value: object) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")

    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * len(frame.columns)]
    return "\n".join(
        lines + ["| " + " | ".join(map(cell, row)) + " |" for row in frame.iter_rows()]
    )
