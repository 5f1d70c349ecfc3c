"""Tables for the UI and for reports."""

from __future__ import annotations

from typing import Any

import polars as pl


def markdown_table(frame: pl.DataFrame) -> str:
    """A small frame as Markdown, for the UI."""

    def cell(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")

    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * len(frame.columns)]
    return "\n".join(
        lines + ["| " + " | ".join(map(cell, row)) + " |" for row in frame.iter_rows()]
    )
