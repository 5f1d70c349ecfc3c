"""Ask Triton for the rankings of several visitors in one gRPC call."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

from recsys_assets.serving.gateway.models import RecommendRequest
from recsys_assets.serving.gateway.triton_call import (
    TritonCaller,
    TritonUnavailable,
    contents_of,
    give,
    read_texts,
)
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.answer import (
    COUNT,
    DEGRADED,
    QUERY_RELEASE,
    RANKER_RELEASE,
    TRACE,
    Degraded,
)
from recsys_assets.serving.stages.stage import DTYPES, Tensors, TensorSpec

FUSED = "fused_model"
#: Outputs of the fused model for /explain. The models that answer give all they have: one of an
#: older version has no propensities.
_TRACED = [
    ModelInferRequest.InferRequestedOutputTensor(name=name)
    for name in (t.ORDERED_IDS.name, t.ORDERED_SCORES.name, t.ANSWER_INFO.name, TRACE)
]
#: The same of an answer that is given to the visitor.
_TRACED_ANSWER = [
    *_TRACED,
    ModelInferRequest.InferRequestedOutputTensor(name=t.ORDERED_PROPENSITIES.name),
]
_ABSENT = -1


@dataclass(frozen=True, slots=True)
class Ranking:
    """One visitor's answer.

    Attributes:
        item_ids: best first.
        scores: of the items.
        query_release: version of the query tower.
        ranker_release: version of the ranker.
        reasons: the parts that failed.
        propensities: of the items, the probability with which each was drawn, given those before
            it; 0: it was not drawn. None: the list was not drawn by sampling.
    """

    item_ids: list[str]
    scores: list[float]
    query_release: int
    ranker_release: int
    reasons: list[str]
    propensities: list[float] | None = None


def _request(
    model: str, visitors: Sequence[RecommendRequest], request_id: str, version: str = ""
) -> ModelInferRequest:
    """Return the request of some visitors.

    A tensor that no visitor gives is left out. If only some give it, the others' entries say
    absent.
    """
    request = ModelInferRequest(model_name=model, model_version=version, id=request_id)

    def add(spec: TensorSpec, values: Sequence[Any]) -> None:
        give(request, spec, values, [len(visitors)])

    add(t.USER_ID, [visitor.user_id for visitor in visitors])
    add(t.TOP_K, [visitor.top_k for visitor in visitors])
    if any(visitor.device_type is not None for visitor in visitors):
        add(t.DEVICE_TYPE, [visitor.device_type or "" for visitor in visitors])
    for spec in (t.TIMESTAMP, t.SEED):
        given = [getattr(visitor, spec.name) for visitor in visitors]
        if any(value is not None for value in given):
            add(spec, [_ABSENT if value is None else value for value in given])
    return request


def _rankings(response: ModelInferResponse, visitors: int) -> list[Ranking]:
    """Return one ranking per visitor.

    Raises:
        TritonUnavailable: the tensors do not fit together.
    """
    contents = contents_of(response)
    try:
        ids = list(read_texts(contents[t.ORDERED_IDS.name]))
        scores = np.frombuffer(contents[t.ORDERED_SCORES.name], DTYPES[t.ORDERED_SCORES.dtype])
        drawn = np.frombuffer(
            contents.get(t.ORDERED_PROPENSITIES.name, b""), DTYPES[t.ORDERED_PROPENSITIES.dtype]
        )
        info = (
            np.frombuffer(contents[t.ANSWER_INFO.name], DTYPES[t.ANSWER_INFO.dtype])
            .reshape(visitors, t.ANSWER_INFO.shape[1])
            .tolist()
        )
    except (KeyError, ValueError, struct.error) as error:
        raise TritonUnavailable(f"Triton's answer cannot be read ({error!r})") from error
    if (
        not len(ids) == len(scores) == sum(row[COUNT] for row in info)
        or not np.isfinite(scores).all()
    ):
        raise TritonUnavailable(
            f"Triton's answer holds {len(ids)} ids and {len(scores)} scores for "
            f"{[row[COUNT] for row in info]}, or scores that are not finite"
        )
    rankings, end, values = [], 0, scores.tolist()
    propensities = drawn.tolist() if len(drawn) == len(ids) and drawn.any() else None
    for row in info:
        begin, end = end, end + row[COUNT]
        reasons = Degraded(row[DEGRADED]).reasons if row[DEGRADED] else []
        rankings.append(
            Ranking(
                ids[begin:end],
                values[begin:end],
                row[QUERY_RELEASE],
                row[RANKER_RELEASE],
                reasons,
                propensities and propensities[begin:end],
            )
        )
    return rankings


class RankingClient(TritonCaller):
    """Asks one Triton address for rankings; see ``TritonCaller``."""

    async def rank(self, visitors: Sequence[RecommendRequest], request_id: str) -> list[Ranking]:
        """Rank the catalogue for each visitor.

        Raises:
            TritonUnavailable: Triton did not answer in time, or not properly.
        """
        request = _request(self._model, visitors, request_id)
        return _rankings(await self._infer(request), len(visitors))

    async def explain(
        self, visitor: RecommendRequest, release: int, request_id: str
    ) -> tuple[Ranking, Tensors]:
        """Rank the catalogue for one visitor, and return every tensor of the answer.

        Args:
            visitor: the request.
            release: whose fused model answers.
            request_id: for Triton's log.

        Raises:
            TritonUnavailable: Triton did not answer in time, or not properly.
        """
        return await self._traced(visitor, release, request_id, _TRACED)

    async def rank_traced(
        self, visitor: RecommendRequest, release: int, request_id: str
    ) -> tuple[Ranking, Tensors]:
        """Rank the catalogue as ``rank`` does, with every tensor of the answer; see ``explain``."""
        return await self._traced(visitor, release, request_id, _TRACED_ANSWER)

    async def _traced(
        self,
        visitor: RecommendRequest,
        release: int,
        request_id: str,
        outputs: Sequence[ModelInferRequest.InferRequestedOutputTensor],
    ) -> tuple[Ranking, Tensors]:
        from recsys_assets.serving.stages.packing import PackedInvalid
        from recsys_assets.serving.stages.pipeline import trace_layout

        request = _request(FUSED, [visitor], request_id, str(release))
        request.outputs.extend(outputs)
        response = await self._infer(request)
        (ranking,) = _rankings(response, 1)
        contents = contents_of(response)
        try:
            return ranking, trace_layout().unpack(np.frombuffer(contents[TRACE], np.uint8))
        except (KeyError, PackedInvalid) as error:
            raise TritonUnavailable(
                f"the trace of release {release} cannot be read ({error})"
            ) from error
