"""Name the models of the live repository and those that Triton loads.

Everything is published and pinned whatever the setting ``triton_models`` is, so that another value
needs only a restart. The setting says what is loaded: the 14 components under ``ensemble_model``,
the one ``fused_model`` under ``recommender``, or both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from recsys_assets.lib.release.releases import Release
from recsys_assets.serving.triton.fused_model import FUSED

Mode = Literal["both", "fused", "ensemble"]

ENSEMBLE, RECOMMENDER = "ensemble_model", "recommender"
#: Ensembles that clients ask, which pin the versions of one release → their names while a promotion
#: tries them.
CANDIDATES: Mapping[str, str] = {
    ENSEMBLE: "ensemble_candidate",
    RECOMMENDER: "recommender_candidate",
}
ENTRANCES = tuple(CANDIDATES)


def published_versions(release: Release) -> dict[str, int]:
    """Return model → version directory of a release.

    These are its components, and the fused model under the release's own number.
    """
    return {**release.versions, FUSED: release.number}


def entrances(mode: Mode) -> tuple[str, ...]:
    """Return the served ensembles; the last one gives visitors' answers."""
    return {"both": ENTRANCES, "fused": (RECOMMENDER,), "ensemble": (ENSEMBLE,)}[mode]


def is_loaded(model: str, mode: Mode) -> bool:
    """Return whether Triton loads a model.

    Candidates belong to a promotion and are never loaded at a start.

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
    """Return model → version that a replica must serve before the switch."""
    return {
        model: version
        for model, version in published_versions(release).items()
        if is_loaded(model, mode)
    }


def idle_models(release: Release, mode: Mode) -> list[str]:
    """Return published models that are not served; those that use others come first."""
    return [
        model for model in (*ENTRANCES, *published_versions(release)) if not is_loaded(model, mode)
    ]
