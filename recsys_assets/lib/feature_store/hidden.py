"""Tells from a visitor's Bloom filters which items are hidden: those seen, and those dismissed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_assets.columns import DISMISS
from recsys_assets.lib.feature_store import bloom
from recsys_assets.lib.features.seen import SeenRule


def hidden(
    bitmaps: Sequence[bytes | None], prints: np.ndarray, rule: SeenRule
) -> tuple[np.ndarray, np.ndarray]:
    """Return which items count as seen, and which were dismissed, bool [N] each.

    An item that was dismissed is not among the seen ones.

    Args:
        bitmaps: values of the keys of the last ``rule.dismissed_days`` days, latest first; None:
            no filter.
        prints: uint16 [N, 2] of ``bloom.fingerprints``.
        rule: of the release.
    """
    seen = np.zeros(len(prints), bool)
    if rule.days < rule.dismissed_days:
        dismissed = bloom.contains(bitmaps, prints, (DISMISS,))
        if not rule.never:
            seen = bloom.contains(bitmaps[: rule.days], prints, rule.events) & ~dismissed
        return seen, dismissed
    # one look for both; few items pass it
    either = bloom.contains(bitmaps, prints, (*rule.events, DISMISS))
    dismissed = np.zeros(len(prints), bool)
    if either.any():
        dismissed[either] = bloom.contains(bitmaps, prints[either], (DISMISS,))
    return either & ~dismissed, dismissed
