"""One ensemble call over gRPC, with a time limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

ENSEMBLE = "ensemble_model"
OUTPUTS = ("ordered_ids", "ordered_scores", "query_release", "ranker_release", "user_degraded", "filter_degraded")
#: A restarted server is found again within a second; gRPC's own pause grows to two minutes.
CHANNEL = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
           ("grpc.max_reconnect_backoff_ms", 1_000)]


class RankingUnavailable(RuntimeError):
    """Triton did not answer in time, or has no release loaded."""


@dataclass(frozen=True)
class Ranking:
    """The ensemble's answer: item ids and scores, best first, and the versions that made it."""

    item_ids: list[str]
    scores: list[float]
    query_release: int
    ranker_release: int
    user_degraded: bool
    filter_degraded: bool


def _strings(name: str, value: str) -> InferInput:
    tensor = InferInput(name, [1], "BYTES")
    tensor.set_data_from_numpy(np.array([value.encode()], dtype=np.object_))
    return tensor


class RankingClient:
    """Asks one Triton address (a replica, or the service in front of all).

    Args:
        address: host:port of gRPC.
        timeout_ms: limit of one call, milliseconds.
    """

    def __init__(self, address: str, timeout_ms: int):
        self._limit = timeout_ms / 1_000
        self._client = InferenceServerClient(address, channel_args=CHANNEL)

    async def close(self) -> None:
        await self._client.close()

    async def rank(self, user_id: str, device_type: str | None, timestamp: int | None, request_id: str) -> Ranking:
        """Rank the catalogue for a visitor; raises RankingUnavailable."""
        inputs = [_strings("user_id", user_id)]
        if device_type is not None:
            inputs.append(_strings("device_type", device_type))
        if timestamp is not None:
            moment = InferInput("timestamp", [1], "INT64")
            moment.set_data_from_numpy(np.array([timestamp], dtype=np.int64))
            inputs.append(moment)
        outputs = [InferRequestedOutput(name) for name in OUTPUTS]
        try:
            result = await self._client.infer(ENSEMBLE, inputs, outputs=outputs, request_id=request_id,
                                              client_timeout=self._limit)
        except (InferenceServerException, grpc.RpcError) as error:
            raise RankingUnavailable(f"Triton: {error}") from error
        values: dict[str, Any] = {name: result.as_numpy(name) for name in OUTPUTS}
        return Ranking([item_id.decode() for item_id in values["ordered_ids"]], values["ordered_scores"].tolist(),
                       *(int(values[name][0]) for name in ("query_release", "ranker_release")),
                       *(bool(values[name][0]) for name in ("user_degraded", "filter_degraded")))

    async def ready(self) -> bool:
        """Whether the server is up and the ensemble is loaded."""
        try:
            return bool(await self._client.is_server_ready(client_timeout=self._limit)
                        and await self._client.is_model_ready(ENSEMBLE, client_timeout=self._limit))
        except (InferenceServerException, grpc.RpcError):
            return False
