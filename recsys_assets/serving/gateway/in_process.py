"""Answer the gateway's rankings by a pipeline in its own process, without Triton."""

from __future__ import annotations

import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

from recsys_assets.serving.gateway.triton_call import (
    WIRE_TYPES,
    TritonUnavailable,
    read_texts,
    texts,
)
from recsys_assets.serving.gateway.triton_client import RankingClient
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.answer import ANSWER, REQUEST, TRACE
from recsys_assets.serving.stages.pipeline import Pipeline
from recsys_assets.serving.stages.stage import DTYPES, StageInputInvalid, Tensors, TensorSpec


class InProcessRanking(RankingClient):
    """Takes the gateway's messages to Triton, and answers them as the fused model does.

    Args:
        pipeline: of the release; the caller closes it.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._model, self._pipeline = "pipeline", pipeline

    async def close(self) -> None:
        """Do nothing: there is no connection."""

    async def ready(self) -> bool:
        """Return True: the pipeline is open."""
        return True

    async def _infer(self, request: ModelInferRequest) -> ModelInferResponse:
        """Run the pipeline on the tensors of a message."""
        specs = {spec.name: spec for spec in REQUEST}
        inputs: Tensors = {
            given.name: _read(specs[given.name], content)
            for given, content in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        try:
            tensors = self._pipeline.trace(inputs)
        except StageInputInvalid as error:
            raise TritonUnavailable(f"the stages refuse the request: {error}") from error
        response = ModelInferResponse(model_name=self._model, id=request.id)
        of_answer = {spec.name: spec for spec in ANSWER}
        for name in [output.name for output in request.outputs] or of_answer:
            if name == TRACE:
                _write(response, t.TRACE, self._pipeline.packed_trace(tensors))
            else:
                _write(response, of_answer[name], tensors[name])
        return response


def _read(spec: TensorSpec, content: bytes) -> np.ndarray:
    if spec.dtype == "STRING":
        return np.array(list(read_texts(content)), object)
    return np.frombuffer(content, DTYPES[spec.dtype])


def _write(response: ModelInferResponse, spec: TensorSpec, values: np.ndarray) -> None:
    response.outputs.add(
        name=spec.name, datatype=WIRE_TYPES.get(spec.dtype, spec.dtype), shape=values.shape
    )
    response.raw_output_contents.append(
        texts(values.tolist()) if spec.dtype == "STRING" else values.tobytes()
    )
