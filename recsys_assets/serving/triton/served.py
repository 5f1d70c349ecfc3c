"""Name the models of the live repository and those that Triton loads.

Everything is published and pinned whatever the setting ``triton_models`` is, so that another value
needs only a restart. The setting says what is loaded: the 14 components under ``ensemble_model``,
the one ``fused_model`` under ``recommender``, or both. The models of the ads ranker, under
``ads_ensemble``, are loaded wherever a release of theirs is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from recsys_assets.lib.release import lines
from recsys_assets.lib.release.lines import ReleaseLine
from recsys_assets.lib.release.releases import Release
from recsys_assets.release_files import ADS_DCN, ADS_TRANSFORM
from recsys_assets.serving.triton.fused_model import FUSED

Mode = Literal["both", "fused", "ensemble"]

ENSEMBLE, RECOMMENDER, ADS_ENSEMBLE = "ensemble_model", "recommender", "ads_ensemble"
#: Ensembles that clients ask, which pin the versions of one release → their names while a promotion
#: tries them.
CANDIDATES: Mapping[str, str] = {
    ENSEMBLE: "ensemble_candidate",
    RECOMMENDER: "recommender_candidate",
}
ENTRANCES = tuple(CANDIDATES)
#: The same of the ads ranker.
ADS_CANDIDATES: Mapping[str, str] = {ADS_ENSEMBLE: "ads_candidate"}
#: All models of the ads ranker in the repository.
ADS_MODELS = frozenset({ADS_TRANSFORM, ADS_DCN, ADS_ENSEMBLE, *ADS_CANDIDATES.values()})


def candidates_of(line: ReleaseLine) -> Mapping[str, str]:
    """Return a line's ensembles → their names while a promotion tries them."""
    return ADS_CANDIDATES if line == lines.ADS else CANDIDATES


def published_versions(release: Release) -> dict[str, int]:
    """Return model → version directory of a release.

    These are its components and, of the recommender, the fused model under the release's number.
    """
    fused = {FUSED: release.number} if release.line == lines.RECOMMENDER else {}
    return {**release.versions, **fused}


def pinned_versions(release: Release, entrance: str) -> dict[str, int]:
    """Return model → version of each step of a served ensemble."""
    return {FUSED: release.number} if entrance == RECOMMENDER else dict(release.versions)


def entrances(mode: Mode, line: ReleaseLine = lines.RECOMMENDER) -> tuple[str, ...]:
    """Return a line's served ensembles; the last one gives the answers."""
    return tuple(name for name in candidates_of(line) if is_loaded(name, mode))


def is_loaded(model: str, mode: Mode) -> bool:
    """Return whether Triton loads a model.

    Candidates belong to a promotion and are never loaded at a start.

    >>> [
    ...     is_loaded(model, "fused")
    ...     for model in ("fused_model", "recommender", "dlrm_ranking", "ensemble_model")
    ... ]
    [True, True, False, False]
    """
    if model in (*CANDIDATES.values(), *ADS_CANDIDATES.values()):
        return False
    if model in ADS_MODELS:
        return True
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
    models = (*candidates_of(release.line), *published_versions(release))
    return [model for model in models if not is_loaded(model, mode)]
