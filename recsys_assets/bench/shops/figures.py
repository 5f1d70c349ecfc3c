"""Read the figures on held-out clicks from a shop's home."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from recsys_assets.artifacts import ArtifactMissing, ArtifactStore
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.releases import Release, open_release
from recsys_assets.lib.release.rung import FULL
from recsys_assets.settings import Settings

METRIC = "ndcg@10"
#: Where a release of the full models keeps the figures of popularity, and of its blend; where a
#: rung does; and where the seen rule was chosen.
OFFLINE, BLEND, FUSION, SEEN = (
    "evaluation/offline",
    "evaluation/blend",
    "ladder/fusion",
    "features/seen_rule",
)


class HeldOutFigures(TypedDict):
    """Holds nDCG@10 of what serves and of popularity; None where it was not judged."""

    served: float | None
    popularity: float | None


class ChoiceOfShop(TypedDict):
    """Holds what held-out clicks chose for a shop; empty where nothing was chosen."""

    sources: dict[str, Any]  # source → alone, listed, without (nDCG@10 of all others), kept
    alternatives: dict[str, Any]  # of the blend
    blend: str | None  # the chosen one
    hides: str | None  # the seen rule in words
    rules: list[Any]  # the figures of each seen rule


def choices(settings: Settings) -> ChoiceOfShop:
    """Return what was chosen for the champion of a home."""
    found: ChoiceOfShop = {
        "sources": {},
        "alternatives": {},
        "blend": None,
        "hides": None,
        "rules": [],
    }
    champion, store = read_champion(settings), ArtifactStore(settings.artifacts)
    if champion is None:
        return found
    release = open_release(store, champion.release)
    blend = _metrics(store, BLEND if release.rung["name"] == FULL else FUSION, release.day)
    blend = blend.get("blend", blend)  # that of a rung lies within its figures
    rule = _metrics(store, SEEN, release.day)
    return {
        "sources": blend.get("sources", {}),
        "alternatives": blend.get("alternatives", {}),
        "blend": blend.get("chosen"),
        "hides": rule.get("rule"),
        "rules": rule.get("rules", []),
    }


def _metrics(store: ArtifactStore, kind: str, day: str) -> Mapping[str, Any]:
    """Return the metrics of an artifact; empty where there is none."""
    try:
        return store.current(kind, day).metrics
    except ArtifactMissing:
        return {}


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
    offline = _metrics(store, OFFLINE, release.day)
    return _value(offline.get("popularity", {}).get(METRIC))


def _value(figure: Mapping[str, Any] | float | None) -> float | None:
    """Return the value of a figure with or without its interval."""
    value = figure.get("value") if isinstance(figure, Mapping) else figure
    return None if value is None else float(value)
