"""Makes the checks of a verdict. A figure that is missing or NaN fails its check, which blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeGuard

from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.release.verdict import Check


def fact(
    name: str, value: object, threshold: object, *, passed: bool = True, blocks: bool = True
) -> Check:
    """Return a check with a given result.

    blocks: whether the release cannot be promoted where the check fails.
    """
    return {
        "name": name,
        "value": value,
        "threshold": threshold,
        "passed": bool(passed),
        "blocks": bool(blocks),
    }


def compared(
    name: str,
    value: object,
    compare: Callable[[float, float], bool],
    threshold: object,
    *,
    blocks: bool = True,
) -> Check:
    """Return the comparison of a value with its threshold.

    blocks: whether a value that does not compare blocks; one that is missing or NaN always does.
    """
    if not is_number(value) or not is_number(threshold):
        return fact(name, value, threshold, passed=False)
    return fact(name, value, threshold, passed=compare(value, threshold), blocks=blocks)


def no_worse(
    name: str, difference: Estimate, allowed: float, *, surely: bool = False, blocks: bool = True
) -> Check:
    """Return the check that a figure is not surely below another's; see ``gates``.

    Args:
        name: of the check.
        difference: the paired difference, own − the other's.
        allowed: loss that is accepted.
        surely: whether the interval must show that no more is lost.
        blocks: whether a failure blocks.
    """
    kept = difference["low"] >= -allowed
    return fact(
        name,
        {key: round(difference[key], 6) for key in ("value", "low", "high")},
        f"low at least {-allowed:.4g}" + ("" if surely else ", or high at least 0"),
        passed=kept or (not surely and difference["high"] >= 0),
        blocks=blocks,
    )


def too_few(name: str, what: str, needed: object) -> Check:
    """Return a check that passes because there is too little to judge by.

    >>> too_few("ranker: auc", "12 rows", 200)["value"]
    'too few to judge: 12 rows'
    """
    return fact(name, f"too few to judge: {what}", needed, blocks=False)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def at(part: Mapping[str, object] | None, name: str) -> object:
    """Return a figure of a part of the evidence; None where either is missing."""
    return (part or {}).get(name)


def numbers(part: object, names: tuple[str, ...]) -> dict[str, float] | None:
    """Return the figures of a part by name; None where one is missing or NaN."""
    given = part if isinstance(part, Mapping) else {}
    found = {name: value for name in names if is_number(value := given.get(name))}
    return found if len(found) == len(names) else None


def total(a: float, b: object) -> float | None:
    """Return a + b; None where b is no number."""
    return a + b if is_number(b) else None


def product(a: float, b: object) -> float | None:
    """Return a · b; None where b is no number."""
    return a * b if is_number(b) else None
