"""Control and smoke requests to every Triton replica, over gRPC (a slow load over HTTP stalls HTTP traffic), each call
with a time limit."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from recsys_assets.lib.releases import QUERY_TOWER, RANKER, Release

#: Seconds. A model that imports Feast takes 7 to load; a stub that cannot start hangs the call for ever.
LOAD_LIMIT, CONTROL_LIMIT, INFER_LIMIT = 120.0, 5.0, 20.0
T = TypeVar("T")


class ReplicaError(RuntimeError):
    """A replica did not do what was asked; the message names replica, model and the server's own words."""


class SmokeFailed(ReplicaError):
    """A replica answered, and the answer is not one that may be served."""


@dataclass(frozen=True)
class Answer:
    """One visitor's answer from an ensemble."""

    ids: list[str]
    scores: list[float]
    query_release: int
    ranker_release: int


class Replica:
    """One Triton server.

    Args:
        address: host:port of its gRPC.
    """

    def __init__(self, address: str):
        self.address = address
        self._client = grpcclient.InferenceServerClient(address)

    def close(self) -> None:
        self._client.close()

    def is_live(self) -> bool:
        """Whether the server answers; not whether it is ready: a promotion may be what mends it."""
        try:
            return self._client.is_server_live(client_timeout=CONTROL_LIMIT)
        except InferenceServerException:
            return False

    def serves(self, model: str, version: int) -> bool:
        """Whether this version of a model is ready here."""
        return self._call(f"ask for {model} {version}",
                          lambda: self._client.is_model_ready(model, str(version), client_timeout=CONTROL_LIMIT))

    def load(self, model: str) -> None:
        """Load what is new of a model and unload the versions whose directory is gone."""
        self._call(f"load {model}", lambda: self._client.load_model(model, client_timeout=LOAD_LIMIT))

    def unload(self, model: str) -> None:
        self._call(f"unload {model}", lambda: self._client.unload_model(model, client_timeout=CONTROL_LIMIT))

    def ask(self, ensemble: str, user_id: str) -> Answer:
        """Send one visitor's request through an ensemble."""
        tensor = grpcclient.InferInput("user_id", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([user_id.encode()], dtype=object))
        result = self._call(f"answer {user_id!r} through {ensemble}",
                            lambda: self._client.infer(ensemble, [tensor], client_timeout=INFER_LIMIT))
        return Answer(ids=[value.decode() for value in result.as_numpy("ordered_ids")],
                      scores=result.as_numpy("ordered_scores").tolist(),
                      query_release=int(result.as_numpy("query_release")[0]),
                      ranker_release=int(result.as_numpy("ranker_release")[0]))

    def _call(self, action: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except InferenceServerException as error:
            raise ReplicaError(f"Triton at {self.address} could not {action}: {error.message()}") from error


class Replicas:
    """All replicas that a promotion must reach; every call goes to all of them at once."""

    def __init__(self, addresses: Sequence[str]):
        self.members = [Replica(address) for address in addresses]

    def __enter__(self) -> Replicas:
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self.members:
            replica.close()

    def each(self, action: Callable[[Replica], T]) -> list[T]:
        """Run an action on all replicas at the same time; raises the first error, after all have ended."""
        with ThreadPoolExecutor(len(self.members)) as pool:
            return [future.result() for future in [pool.submit(action, replica) for replica in self.members]]

    def require_live(self) -> None:
        """Raises ReplicaError naming every replica that does not answer."""
        live = self.live()
        silent = [replica.address for replica in self.members if replica not in live]
        if silent:
            raise ReplicaError(f"Triton at {', '.join(silent)} does not answer; start it with `recsys up` (and see "
                               "RECSYS_TRITON_REPLICAS for the addresses)")

    def live(self) -> list[Replica]:
        return [r for r, alive in zip(self.members, self.each(Replica.is_live), strict=True) if alive]


def load_release(replica: Replica, versions: Mapping[str, int], changed: Iterable[str],
                 log: Callable[[str], None]) -> None:
    """Load every model of a release that a replica does not serve yet, or whose configuration changed."""
    changed = set(changed)
    for model, version in versions.items():
        if model in changed or not replica.serves(model, version):
            replica.load(model)
            if not replica.serves(model, version):
                raise ReplicaError(f"Triton at {replica.address} loaded {model}, but not its version {version}; is "
                                   "version_policy { all {} } in its configuration?")
            log(f"{replica.address}: loaded {model} {version}")


def smoke(replica: Replica, ensemble: str, release: Release, catalogue: set[str]) -> None:
    """A known and an unknown visitor must get a proper answer, made by this release alone.

    Raises:
        SmokeFailed: naming replica, visitor and what is wrong.
        ReplicaError: the request failed.
    """
    visitors = [("unknown", f"smoke-{uuid.uuid4().hex}")]
    if release.known_user is not None:
        visitors.insert(0, ("known", release.known_user))
    expected = (release.versions[QUERY_TOWER], release.versions[RANKER])
    for kind, user_id in visitors:
        answer = replica.ask(ensemble, user_id)
        made_by = (answer.query_release, answer.ranker_release)
        fault = None
        if not answer.ids:
            fault = "got no items"
        elif len(set(answer.ids)) != len(answer.ids):
            fault = f"got items twice: {sorted({i for i in answer.ids if answer.ids.count(i) > 1})[:5]}"
        elif not set(answer.ids) <= catalogue:
            fault = f"got items that the release's catalogue does not have: {sorted(set(answer.ids) - catalogue)[:5]}"
        elif len(answer.scores) != len(answer.ids) or not np.isfinite(answer.scores).all():
            fault = f"got {len(answer.scores)} scores for {len(answer.ids)} items, or scores that are not finite"
        elif made_by != expected:
            fault = f"was answered by query tower and ranker {made_by}, not {expected}"
        if fault:
            raise SmokeFailed(f"the {kind} visitor of the smoke request to {ensemble} at {replica.address} {fault}")
