"""Makes the checks of a verdict. A figure that is missing or NaN fails its check."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeGuard

from recsys_assets.lib.release.verdict import Check


def fact(name: str, value: object, threshold: object, *, passed: bool = True) -> Check:
    """Return a check with a given result."""
    return {
        "name": name,
        "value": value,
        "threshold": threshold,
        "passed": bool(passed),
        "blocks": True,
    }


def compared(
    name: str, value: object, compare: Callable[[float, float], bool], threshold: object
) -> Check:
    """Return the comparison of a value with its threshold."""
    return fact(
        name,
        value,
        threshold,
        passed=is_number(value) and is_number(threshold) and compare(value, threshold),
    )


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def at(part: Mapping[str, object] | None, name: str) -> object:
    """Return a figure of a part of the evidence; None where either is missing."""
    return (part or {}).get(name)


def total(a: float, b: object) -> float | None:
    """Return a + b; None where b is no number."""
    return a + b if is_number(b) else None


def product(a: float, b: object) -> float | None:
    """Return a · b; None where b is no number."""
    return a * b if is_number(b) else None
