"""Import Feast without its side effects, and for serving in about a third of the time.

Feast decorates its classes with typeguard's ``@typechecked``, which parses and compiles their
source again at import. This takes 2.8 of 4 seconds of processor time in each process that reads
features. Serving calls Feast with arguments of known types, so it does not need these checks.
Everywhere else they stay.

Feast's import also points prometheus_client at a temporary folder, in this process and in its
children. The metrics of a gateway would then lie in files that other processes share, and that
Feast deletes at its exit. So prometheus_client is imported first, and the environment is restored.
"""

from __future__ import annotations

import os
import sys
from typing import Any

#: Variables of prometheus_client that Feast sets at its import.
_METRIC_FOLDERS = {"PROMETHEUS_MULTIPROCESS_DIR", "PROMETHEUS_MULTIPROC_DIR"}


def import_feast() -> None:
    """Import Feast without a change of where metrics are kept; do nothing if it is imported."""
    if "feast" in sys.modules:
        return
    import prometheus_client  # noqa: F401

    present = set(os.environ)
    try:
        import feast  # noqa: F401
    finally:
        for name in _METRIC_FOLDERS - present:
            os.environ.pop(name, None)


def import_without_checks() -> None:
    """Import Feast without ``@typechecked``; do nothing if it is imported already."""
    if "feast" in sys.modules:
        return
    import typeguard

    instrument = typeguard.typechecked
    typeguard.typechecked = _plain
    try:
        import_feast()
    finally:
        typeguard.typechecked = instrument


def _plain(target: Any = None, **options: Any) -> Any:
    """Return the decorated object unchanged; usable with and without options."""
    return _plain if target is None else target
