"""Send control and smoke requests to Triton's replicas, with time limits.

Requests use gRPC, because a slow load over HTTP stalls HTTP traffic.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from recsys_assets.lib.release.releases import Release
from recsys_assets.release_files import QUERY_TOWER, RANKER
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.answer import (
    ANSWER,
    DEGRADED,
    QUERY_RELEASE,
    RANKER_RELEASE,
    REQUEST,
)
from recsys_assets.serving.stages.stage import DTYPES

#: Seconds. A model that imports Feast takes 7 to load. A stub that cannot start hangs the call.
LOAD_LIMIT, CONTROL_LIMIT, INFER_LIMIT = 120.0, 5.0, 20.0
#: How often models may be asked until they agree, and the seconds between: an event or a fresh
#: count may come between two questions.
AGREEMENT_TRIES, AGREEMENT_PAUSE = 6, 0.5
SMOKE_SEED = 7
T = TypeVar("T")


class ReplicaError(RuntimeError):
    """A replica did not do what was asked.

    The message names the replica and the model and quotes the server.
    """


class SmokeFailed(ReplicaError):
    """A replica gave an answer that must not be served."""


@dataclass(frozen=True)
class SmokeAnswer:
    """One visitor's answer."""

    ids: list[str]
    scores: list[float]
    query_release: int
    ranker_release: int
    degraded: int = 0  # bits of ``answer.Degraded``


class Replica:
    """One Triton server.

    Args:
        address: host:port of its gRPC.
        headers: that its model control needs (``model_control.grpc_headers``).
        load_limit: seconds that a load may take.
    """

    def __init__(
        self,
        address: str,
        headers: Mapping[str, str] | None = None,
        load_limit: float | None = None,
    ) -> None:
        self.address = address
        self._headers = dict(headers or {})
        self._load_limit = LOAD_LIMIT if load_limit is None else load_limit
        self._client = grpcclient.InferenceServerClient(address)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def is_live(self) -> bool:
        """Return whether the server answers.

        It need not be ready, because a promotion may be what repairs it.
        """
        try:
            return bool(self._client.is_server_live(client_timeout=CONTROL_LIMIT))
        except InferenceServerException:
            return False

    def serves(self, model: str, version: int) -> bool:
        """Return whether this version of a model is ready here."""
        ready: bool = self._call(
            f"ask for {model} {version}",
            lambda: self._client.is_model_ready(model, str(version), client_timeout=CONTROL_LIMIT),
        )
        return ready

    def load(self, model: str) -> None:
        """Load new versions of a model and unload those whose directory is gone."""
        self._call(
            f"load {model}",
            lambda: self._client.load_model(
                model, headers=self._headers, client_timeout=self._load_limit
            ),
        )

    def unload(self, model: str) -> None:
        """Unload a model."""
        self._call(
            f"unload {model}",
            lambda: self._client.unload_model(
                model, headers=self._headers, client_timeout=CONTROL_LIMIT
            ),
        )

    def ask(
        self, model: str, user_id: str, *, timestamp: int | None = None, seed: int | None = None
    ) -> SmokeAnswer:
        """Send one visitor's request to a model with the tensors of ``answer``.

        Raises:
            SmokeFailed: the answer is not that of one visitor.
            ReplicaError: the request failed.
        """
        given = {t.USER_ID.name: [user_id.encode()]} | {
            spec.name: [value]
            for spec, value in ((t.TIMESTAMP, timestamp), (t.SEED, seed))
            if value is not None
        }
        inputs = []
        for spec in REQUEST:
            if spec.name in given:
                values = np.array(given[spec.name], DTYPES[spec.dtype])
                inputs.append(
                    grpcclient.InferInput(spec.name, [1], np_to_triton_dtype(values.dtype))
                )
                inputs[-1].set_data_from_numpy(values)
        outputs = [grpcclient.InferRequestedOutput(spec.name) for spec in ANSWER]
        result = self.infer(model, inputs, outputs, f"answer {user_id} by {model}")
        ids, scores, info = (
            result.as_numpy(spec.name) for spec in (t.ORDERED_IDS, t.ORDERED_SCORES, t.ANSWER_INFO)
        )
        columns = t.ANSWER_INFO.shape[1]
        if info.shape != (1, columns):
            raise SmokeFailed(
                f"{model} at {self.address} answered one visitor with {t.ANSWER_INFO.name} "
                f"{list(info.shape)}, not [1, {columns}]"
            )
        return SmokeAnswer(
            [value.decode() for value in ids],
            scores.tolist(),
            int(info[0, QUERY_RELEASE]),
            int(info[0, RANKER_RELEASE]),
            int(info[0, DEGRADED]),
        )

    def infer(
        self,
        model: str,
        inputs: Sequence[grpcclient.InferInput],
        outputs: Sequence[grpcclient.InferRequestedOutput],
        action: str,
    ) -> grpcclient.InferResult:
        """Return a model's answer; action: what is asked, for the message.

        Raises:
            ReplicaError: the request failed.
        """
        return self._call(
            action,
            lambda: self._client.infer(model, inputs, outputs=outputs, client_timeout=INFER_LIMIT),
        )

    def _call(self, action: str, call: Callable[[], T]) -> T:
        """Run a call; raise ReplicaError with the server's words if it fails."""
        try:
            return call()
        except InferenceServerException as error:
            raise ReplicaError(
                f"Triton at {self.address} could not {action}: {error.message()}"
            ) from error


class Replicas:
    """All replicas that a promotion must reach; each call goes to all at once."""

    def __init__(self, addresses: Sequence[str], headers: Mapping[str, str] | None = None) -> None:
        self.members = [Replica(address, headers) for address in addresses]

    def __enter__(self) -> Replicas:
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self.members:
            replica.close()

    def each(self, action: Callable[[Replica], T]) -> list[T]:
        """Run an action on all replicas at the same time.

        All of them end before the first error is raised.
        """
        with ThreadPoolExecutor(len(self.members)) as pool:
            return [
                future.result()
                for future in [pool.submit(action, replica) for replica in self.members]
            ]

    def require_live(self) -> None:
        """Raise ReplicaError naming every replica that does not answer."""
        live = self.live()
        silent = [replica.address for replica in self.members if replica not in live]
        if silent:
            raise ReplicaError(
                f"Triton at {', '.join(silent)} does not answer; start it with `recsys up` "
                "(RECSYS_TRITON_REPLICAS holds the addresses)"
            )

    def live(self) -> list[Replica]:
        """Return the replicas that answer."""
        return [
            r for r, alive in zip(self.members, self.each(Replica.is_live), strict=True) if alive
        ]


def load_release(
    replica: Replica,
    versions: Mapping[str, int],
    changed: Iterable[str],
    log: Callable[[str], None],
) -> None:
    """Load every model of a release that a replica does not serve yet.

    Models whose configuration changed are loaded as well.

    Raises:
        ReplicaError: a load failed, or a version is not ready after it.
    """
    changed = set(changed)
    for model, version in versions.items():
        if model in changed or not replica.serves(model, version):
            replica.load(model)
            if not replica.serves(model, version):
                raise ReplicaError(
                    f"Triton at {replica.address} loaded {model}, but not its version {version}; "
                    "is version_policy { all {} } in its configuration?"
                )
            log(f"{replica.address}: loaded {model} {version}")


def smoke(replica: Replica, models: Sequence[str], release: Release, catalogue: set[str]) -> None:
    """Require a proper answer, made by this release, for two visitors.

    One is known and one is unknown. Each must get the same answer from every model.

    Raises:
        SmokeFailed: names the replica, the model, the visitor and what is wrong.
        ReplicaError: a request failed.
    """
    visitors = {"unknown": f"smoke-{uuid.uuid4().hex}"}
    if release.known_user is not None:
        visitors = {"known": release.known_user, **visitors}
    for kind, user_id in visitors.items():
        for attempt in range(1, AGREEMENT_TRIES + 1):
            now = int(time.time())
            answers = [
                replica.ask(model, user_id, timestamp=now, seed=SMOKE_SEED) for model in models
            ]
            for model, answer in zip(models, answers, strict=True):
                if fault := _fault(answer, release, catalogue):
                    raise SmokeFailed(
                        f"the {kind} visitor of the smoke request to {model} at {replica.address} "
                        f"{fault}"
                    )
            differing = [
                model for model, answer in zip(models, answers, strict=True) if answer != answers[0]
            ]
            if not differing:
                break
            if attempt == AGREEMENT_TRIES:
                raise SmokeFailed(
                    f"the {kind} visitor of the smoke request got other answers from "
                    f"{', '.join(differing)} than from {models[0]} at {replica.address}, "
                    f"{attempt} times: {answers}"[:2_000]
                )
            time.sleep(AGREEMENT_PAUSE)


def _fault(answer: SmokeAnswer, release: Release, catalogue: set[str]) -> str | None:
    """Return what is wrong with an answer of a release; None if nothing is."""
    made_by, expected = (
        (answer.query_release, answer.ranker_release),
        (release.versions[QUERY_TOWER], release.versions[RANKER]),
    )
    if not answer.ids:
        return "got no items"
    if len(set(answer.ids)) != len(answer.ids):
        return f"got items twice: {sorted({i for i in answer.ids if answer.ids.count(i) > 1})[:5]}"
    if not set(answer.ids) <= catalogue:
        return (
            "got items that the release's catalogue does not have: "
            f"{sorted(set(answer.ids) - catalogue)[:5]}"
        )
    if len(answer.scores) != len(answer.ids) or not np.isfinite(answer.scores).all():
        return (
            f"got {len(answer.scores)} scores for {len(answer.ids)} items, or scores that are "
            "not finite"
        )
    if made_by != expected:
        return f"was answered by query tower and ranker {made_by}, not {expected}"
    return None
