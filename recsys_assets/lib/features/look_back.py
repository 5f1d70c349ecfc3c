"""Check that features cover as many days of clicks as their reader expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recsys_assets.columns import OLDER_LOOK_BACK_DAYS

if TYPE_CHECKING:
    from recsys_assets.artifacts import Artifact


class LookBackDiffers(ValueError):
    """Raised if features cover another number of days; names both numbers and the remedy."""


def look_back_of(content: Mapping[str, Any]) -> int:
    """Return the days of clicks that features cover.

    content: the params of their manifest, or a file that names the number, such as transforms.json.
    """
    return int(content.get("look_back_days", OLDER_LOOK_BACK_DAYS))


def require_look_back(features: Sequence[Artifact], look_back_days: int) -> None:
    """Refuse features of another look-back.

    Args:
        features: ``features/interactions`` of some days.
        look_back_days: of the settings.

    Raises:
        LookBackDiffers: a day covers another number of days.
    """
    others = [one for one in features if look_back_of(one.manifest["params"]) != look_back_days]
    if others:
        covered = look_back_of(others[0].manifest["params"])
        days = ", ".join(str(one.partition) for one in others[:3])
        more = f" and {len(others) - 3} more days" if len(others) > 3 else ""
        raise LookBackDiffers(
            f"features/interactions of {days}{more} cover {covered} days of "
            f"clicks, RECSYS_LOOK_BACK_DAYS is {look_back_days}: materialise these days again "
            "(`recsys materialize` does), or set RECSYS_LOOK_BACK_DAYS back to "
            f"{covered}"
        )
