"""Ask Triton for the click probabilities of several ads in one gRPC call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

from recsys_assets.ads_columns import CATEGORIES, INTEGERS
from recsys_assets.columns import MISSING
from recsys_assets.serving.gateway.triton_call import (
    TritonCaller,
    TritonUnavailable,
    contents_of,
    give,
)
from recsys_assets.serving.stages.ads_tensors import CATEGORY_VALUES, COUNTS, RELEASE, SCORE
from recsys_assets.serving.stages.stage import DTYPES

#: The model that clients ask; it pins the versions of the release in force.
MODEL = "ads_ensemble"
#: Values of a category that mean empty in logs, and so in serving.
_EMPTY = (None, MISSING)


@dataclass(frozen=True, slots=True)
class AdFields:
    """The fields of one ad.

    Attributes:
        counts: I1 to I13; None: empty.
        categories: C1 to C26; None: empty.
    """

    counts: list[int | None]
    categories: list[str | None]


@dataclass(frozen=True, slots=True)
class AdScores:
    """What a release predicts for N ads.

    Attributes:
        scores: N click probabilities.
        release: number of the release.
    """

    scores: list[float]
    release: int


class AdsClient(TritonCaller):
    """Asks one Triton address for click probabilities; see ``TritonCaller``."""

    async def score(self, ads: Sequence[AdFields], request_id: str) -> AdScores:
        """Return the click probability of each ad.

        Args:
            ads: N ads.
            request_id: for Triton's log.

        Raises:
            TritonUnavailable: Triton did not answer in time, or not properly.
        """
        return _scores(await self._infer(_request(self._model, ads, request_id)), len(ads))


def _request(model: str, ads: Sequence[AdFields], request_id: str) -> ModelInferRequest:
    """Return the request of some ads."""
    request = ModelInferRequest(model_name=model, id=request_id)
    give(request, COUNTS, [ad.counts for ad in ads], (len(ads), len(INTEGERS)))
    values = ["" if one in _EMPTY else one for ad in ads for one in ad.categories]
    give(request, CATEGORY_VALUES, values, (len(ads), len(CATEGORIES)))
    return request


def _scores(response: ModelInferResponse, ads: int) -> AdScores:
    """Return the scores of an answer.

    Raises:
        TritonUnavailable: they are not one probability per ad.
    """
    contents = contents_of(response)
    try:
        scores = np.frombuffer(contents[SCORE.name], DTYPES[SCORE.dtype])
        (release,) = np.frombuffer(contents[RELEASE.name], DTYPES[RELEASE.dtype]).tolist()
    except (KeyError, ValueError) as error:
        raise TritonUnavailable(f"Triton's answer cannot be read ({error!r})") from error
    if len(scores) != ads or not ((scores >= 0) & (scores <= 1)).all():
        raise TritonUnavailable(
            f"Triton's answer holds {len(scores)} scores for {ads} ads, or scores that are no "
            "probabilities"
        )
    return AdScores(scores.tolist(), release)
