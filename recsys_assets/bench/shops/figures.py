"""Read the figures on held-out clicks from a shop's home."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from recsys_assets.artifacts import ArtifactMissing, ArtifactStore
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.releases import Release, open_release
from recsys_assets.settings import Settings

METRIC = "ndcg@10"
#: Where a release of the full models keeps the figures of popularity.
OFFLINE = "evaluation/offline"


class HeldOutFigures(TypedDict):
    """Holds nDCG@10 of what serves and of popularity; None where it was not judged."""

    served: float | None
    popularity: float | None


def held_out_figures(settings: Settings) -> HeldOutFigures:
    """Return the figures of the champion of a home."""
    champion = read_champion(settings)
    if champion is None:
        return {"served": None, "popularity": None}
    store = ArtifactStore(settings.artifacts)
    release = open_release(store, champion.release)
    return {
        "served": _value(release.metrics.get(f"served_{METRIC}")),
        "popularity": _popularity(store, release),
    }


def _popularity(store: ArtifactStore, release: Release) -> float | None:
    own = _value(release.metrics.get(f"popularity_{METRIC}"))
    if own is not None:
        return own
    try:
        offline = store.current(OFFLINE, release.day)
    except ArtifactMissing:
        return None
    return _value(offline.metrics.get("popularity", {}).get(METRIC))


def _value(figure: Mapping[str, Any] | float | None) -> float | None:
    """Return the value of a figure with or without its interval."""
    value = figure.get("value") if isinstance(figure, Mapping) else figure
    return None if value is None else float(value)
