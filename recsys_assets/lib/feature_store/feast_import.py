"""Import Feast in about a third of the time, for serving.

Feast decorates its classes with typeguard's ``@typechecked``, which parses and compiles their
source again at import. This takes 2.8 of 4 seconds of processor time in each process that reads
features. Serving calls Feast with arguments of known types, so it does not need these checks.
Everywhere else they stay.
"""

from __future__ import annotations

import sys
from typing import Any


def import_without_checks() -> None:
    """Import Feast without ``@typechecked``; do nothing if it is imported already."""
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
    """Return the decorated object unchanged; usable with and without options."""
    return _plain if target is None else target
