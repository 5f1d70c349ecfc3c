"""List all cases."""

from __future__ import annotations

from recsys_assets.bench.files import catalogues, containers, logs, quotes, texts
from recsys_assets.bench.files.case import FileCase

CASES: tuple[FileCase, ...] = (
    *texts.CASES,
    *quotes.CASES,
    *logs.CASES,
    *catalogues.CASES,
    *containers.CASES,
)
