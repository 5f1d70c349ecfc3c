"""Imports Feast in a quarter of the time: what serving does at each start of a model.

Feast puts typeguard's ``@typechecked`` on its classes, which takes their source apart and compiles
it again at import: 2.8 of 4 seconds of processor time, in each of the processes that read features.
Serving calls Feast with arguments of its own making, so that these checks find nothing; everywhere
else they stay.
"""

from __future__ import annotations

import sys
from typing import Any


def import_without_checks() -> None:
    """Import Feast with ``@typechecked`` left out; nothing happens where it is imported already."""
    if "feast" in sys.modules:
        return
    import typeguard

    instrument = typeguard.typechecked
    typeguard.typechecked = _plain
    try:
        import feast  # noqa: F401
    finally:
        typeguard.typechecked = instrument


def _plain(target: Any = None, **options: Any) -> Any:
    """A decorator, with or without options, that gives back what it is put on."""
    return _plain if target is None else target
