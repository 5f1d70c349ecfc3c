"""The form of a gate verdict, as ``release.json`` and the manifests hold it."""

from __future__ import annotations

from typing import TypedDict


class Check(TypedDict):
    """Holds one check of a verdict."""

    name: str  # begins with the group of the check and a colon
    value: object  # a number, an interval, a word, or None where the figure is missing
    threshold: object
    passed: bool
    blocks: bool  # whether the release cannot be promoted where the check fails; else it warns


class Verdict(TypedDict):
    """Holds all checks of a release; it passed where every check that blocks passed."""

    passed: bool
    checks: list[Check]


def blocks(check: Check) -> bool:
    """Return whether a check keeps a release from being promoted where it fails.

    Verdicts of before there were warnings block by every check.
    """
    return check.get("blocks", True)


def verdict_of(checks: list[Check]) -> Verdict:
    """Return the verdict of some checks."""
    return {"passed": not any(map(stops, checks)), "checks": checks}


def stops(check: Check) -> bool:
    """Return whether a check has failed and keeps a release from being promoted."""
    return not check["passed"] and blocks(check)
