"""The models of the live repository and which of them Triton loads (setting ``triton_models``).

Everything is published and pinned whatever the setting, so that another one needs only a restart;
it says what is loaded: the 14 components under ``ensemble_model``, the one ``fused_model`` under
``recommender``, or both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from recsys_assets.lib.release.releases import Release
from recsys_assets.serving.triton.fused_model import FUSED

Mode = Literal["both", "fused", "ensemble"]

ENSEMBLE, RECOMMENDER = "ensemble_model", "recommender"
#: What is asked for answers: ensembles that pin the versions of one release → their names while a
#: promotion tries them.
CANDIDATES: Mapping[str, str] = {
    ENSEMBLE: "ensemble_candidate",
    RECOMMENDER: "recommender_candidate",
}
ENTRANCES = tuple(CANDIDATES)


def published_versions(release: Release) -> dict[str, int]:
    """Model → version directory of a release: its components, and the fused model by the release's
    own number.
    """
    return {**release.versions, FUSED: release.number}


def entrances(mode: Mode) -> tuple[str, ...]:
    """The ensembles that are served, the one that visitors' answers come from last."""
    return {"both": ENTRANCES, "fused": (RECOMMENDER,), "ensemble": (ENSEMBLE,)}[mode]


def is_loaded(model: str, mode: Mode) -> bool:
    """Whether Triton loads a model; candidates are a promotion's own and never loaded at a start.

    >>> [
    ...     is_loaded(model, "fused")
    ...     for model in ("fused_model", "recommender", "dlrm_ranking", "ensemble_model")
    ... ]
    [True, True, False, False]
    """
    if model in CANDIDATES.values():
        return False
    if model in (FUSED, RECOMMENDER):
        return mode != "ensemble"
    return mode != "fused"


def loaded_versions(release: Release, mode: Mode) -> dict[str, int]:
    """Model → version that a replica must serve before the switch."""
    return {
        model: version
        for model, version in published_versions(release).items()
        if is_loaded(model, mode)
    }


def idle_models(release: Release, mode: Mode) -> list[str]:
    """Published models that are not served, those that hold others first."""
    return [
        model for model in (*ENTRANCES, *published_versions(release)) if not is_loaded(model, mode)
    ]
