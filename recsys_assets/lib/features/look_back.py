"""Check that features cover as many days of clicks as their reader expects."""

from __future__ import annotations

from collections.abc import Sequence

from recsys_assets.artifacts import Artifact
from recsys_assets.columns import OLDER_LOOK_BACK_DAYS


class LookBackDiffers(ValueError):
    """Raised if features cover another number of days; names both numbers and the remedy."""


def look_back_of(features: Artifact) -> int:
    """Return the days of clicks that a ``features/interactions`` covers."""
    return int(features.manifest["params"].get("look_back_days", OLDER_LOOK_BACK_DAYS))


def require_look_back(features: Sequence[Artifact], look_back_days: int) -> None:
    """Refuse features of another look-back.

    Args:
        features: ``features/interactions`` of some days.
        look_back_days: of the settings.

    Raises:
        LookBackDiffers: a day covers another number of days.
    """
    others = [one for one in features if look_back_of(one) != look_back_days]
    if others:
        days = ", ".join(str(one.partition) for one in others[:3])
        more = f" and {len(others) - 3} more days" if len(others) > 3 else ""
        raise LookBackDiffers(
            f"features/interactions of {days}{more} cover {look_back_of(others[0])} days of "
            f"clicks, RECSYS_LOOK_BACK_DAYS is {look_back_days}: materialise these days again "
            "(`recsys materialize` does), or set RECSYS_LOOK_BACK_DAYS back to "
            f"{look_back_of(others[0])}"
        )
