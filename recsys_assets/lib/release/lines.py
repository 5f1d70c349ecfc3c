"""Names the lines of releases: each graph has its own numbers and its own champion.

All lines are built, judged, promoted and rolled back by the same modules, and their models lie in
one repository, which one Triton serves.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReleaseLine:
    """Names what the releases of one graph have of their own.

    Attributes:
        name: for people.
        kind: of its artifacts.
        numbers: folder among the artifacts with one empty file per number that was given out.
        prefix: of its files in ``home/serving``.
    """

    name: str
    kind: str
    numbers: str
    prefix: str = ""


RECOMMENDER = ReleaseLine("recommender", "serving/release", "serving/release-numbers")
ADS = ReleaseLine("ads ranker", "ads_ctr/release", "ads_ctr/release-numbers", "ads_")
LINES = (RECOMMENDER, ADS)


def line_of(kind: str) -> ReleaseLine:
    """Return the line of a kind of artifacts.

    Raises:
        ValueError: no line has releases of this kind.

    >>> line_of("ads_ctr/release").name
    'ads ranker'
    """
    found = [line for line in LINES if line.kind == kind]
    if not found:
        raise ValueError(
            f"{kind!r} is no release; releases are {', '.join(line.kind for line in LINES)}"
        )
    return found[0]
