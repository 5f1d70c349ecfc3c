"""Judge the recall of retrieval against chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Standard deviations by which a random ranking may be better than its average by chance.
DEVIATIONS = 2.0
#: Clicks that a random ranking must find and miss; the normal approximation needs about 5.
FEWEST_EXPECTED = 5


@dataclass(frozen=True)
class AgainstChance:
    """Holds the verdict on a recall, what it must be above, and the reason in words."""

    passed: bool
    threshold: float | None  # None: it cannot be judged
    text: str


def against_chance(recall: float, clicks: int, random_recall: float) -> AgainstChance:
    """Return whether a recall is above what a random ranking may reach by chance.

    Args:
        recall: share of held-out clicks that were found.
        clicks: number of held-out clicks.
        random_recall: share that a random ranking finds on average.
    """
    if random_recall >= 1:
        return AgainstChance(True, None, "every item is found: the catalogue is that small")
    if clicks * min(random_recall, 1 - random_recall) < FEWEST_EXPECTED:
        return AgainstChance(True, None, f"too few to judge: {clicks} clicks")
    spread = math.sqrt(random_recall * (1 - random_recall) / clicks)
    threshold = random_recall + DEVIATIONS * spread
    return AgainstChance(
        recall > threshold,
        threshold,
        f"a random ranking finds {random_recall:.4f} ± {DEVIATIONS * spread:.4f} of {clicks} "
        "clicks",
    )
