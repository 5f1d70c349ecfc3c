"""Call one Triton model by gRPC with raw tensors, a time limit and a circuit breaker."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import grpc.aio
import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse, ModelReadyRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from recsys_assets.serving.stages.stage import DTYPES, TensorSpec
from recsys_assets.serving.stores.connections import Breaker

#: Reconnects to a restarted server within a second (gRPC's own pause grows to two minutes), and
#: detects a lost connection within 25 seconds.
CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 64 << 20),
]
#: Triton's type name → its name in a gRPC message, where they differ.
WIRE_TYPES = {"STRING": "BYTES"}


class TritonUnavailable(RuntimeError):
    """Triton did not answer in time, or not properly, or has no release loaded.

    Attributes:
        absent: Triton answers, and does not serve the model.
    """

    def __init__(self, message: str, absent: bool = False) -> None:
        super().__init__(message)
        self.absent = absent


def texts(values: Sequence[str]) -> bytes:
    """Encode texts as a STRING tensor: each after its length in bytes, uint32."""
    parts: list[bytes] = []
    for value in values:
        text = value.encode()
        parts += (struct.pack("<I", len(text)), text)
    return b"".join(parts)


def read_texts(content: bytes) -> Iterator[str]:
    """Yield the texts of a STRING tensor."""
    at = 0
    while at < len(content):
        begin = at + 4
        at = begin + struct.unpack_from("<I", content, at)[0]
        yield content[begin:at].decode()


def give(
    request: ModelInferRequest, spec: TensorSpec, values: Sequence[Any], shape: Sequence[int]
) -> None:
    """Add a tensor to a request.

    Args:
        request: of the model.
        spec: name and type of the tensor.
        values: one after the other.
        shape: of the tensor.
    """
    tensor = request.inputs.add(name=spec.name, datatype=WIRE_TYPES.get(spec.dtype, spec.dtype))
    tensor.shape.extend(shape)
    request.raw_input_contents.append(
        texts(values) if spec.dtype == "STRING" else np.array(values, DTYPES[spec.dtype]).tobytes()
    )


def contents_of(response: ModelInferResponse) -> dict[str, bytes]:
    """Return name → raw content of the tensors of an answer."""
    return {
        output.name: content
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }


class TritonCaller:
    """Calls one Triton address: a replica, or the service in front of all replicas.

    After a few consecutive timeouts a circuit breaker refuses calls at once, except for one per
    second.

    Args:
        address: host:port of gRPC.
        model: that gives the answers.
        timeout_ms: limit of one call, milliseconds.
    """

    def __init__(self, address: str, model: str, timeout_ms: int) -> None:
        self._model, self._limit, self._breaker = model, timeout_ms / 1_000, Breaker()
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL)
        self._triton = GRPCInferenceServiceStub(self._channel)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def _infer(self, request: ModelInferRequest) -> ModelInferResponse:
        """Call Triton unless the circuit breaker refuses.

        Raises:
            TritonUnavailable: Triton did not answer in time, or answered with an error.
        """
        if self._breaker.refuses():
            raise TritonUnavailable("Triton is not asked after several timeouts in a row")
        try:
            response = await self._triton.ModelInfer(request, timeout=self._limit)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                self._breaker.failed()
            else:
                self._breaker.answered()
            raise TritonUnavailable(
                f"Triton: {error.code().name}: {error.details()}",
                absent=error.code() is grpc.StatusCode.NOT_FOUND
                or "unknown model" in (error.details() or ""),
            ) from error
        self._breaker.answered()
        return response

    async def ready(self) -> bool:
        """Return whether the model that answers is ready.

        The server's own readiness is not asked for: it can be false while a new version loads.
        """
        try:
            asked = ModelReadyRequest(name=self._model)
            return bool((await self._triton.ModelReady(asked, timeout=self._limit)).ready)
        except grpc.aio.AioRpcError:
            return False
