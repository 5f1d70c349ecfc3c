"""Control and smoke requests to every Triton replica, over gRPC (a slow load over HTTP stalls HTTP
traffic), each call with a time limit."""

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

#: Seconds. A model that imports Feast takes 7 to load; a stub that cannot start hangs the call for
#: ever.
LOAD_LIMIT, CONTROL_LIMIT, INFER_LIMIT = 120.0, 5.0, 20.0
#: How often two models may be asked until they agree, and the seconds between: an event or a fresh
#: count may come between.
AGREEMENT_TRIES, AGREEMENT_PAUSE = 6, 0.5
SMOKE_SEED = 7
T = TypeVar("T")


class ReplicaError(RuntimeError):
    """A replica did not do what was asked; the message names replica, model and the server's own
    words.
    """


class SmokeFailed(ReplicaError):
    """A replica answered, and the answer is not one that may be served."""


@dataclass(frozen=True)
class SmokeAnswer:
    """One visitor's answer."""

    ids: list[str]
    scores: list[float]
    query_release: int
    ranker_release: int
    degraded: int = 0  # bits of serving.answer.Degraded


class Replica:
    """One Triton server.

    Args:
        address: host:port of its gRPC.
        headers: what its model control asks for (``model_control.grpc_headers``).
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
        self._client.close()

    def is_live(self) -> bool:
        """Whether the server answers; not whether it is ready: a promotion may be what mends it."""
        try:
            return self._client.is_server_live(client_timeout=CONTROL_LIMIT)
        except InferenceServerException:
            return False

    def serves(self, model: str, version: int) -> bool:
        """Whether this version of a model is ready here."""
        return self._call(
            f"ask for {model} {version}",
            lambda: self._client.is_model_ready(model, str(version), client_timeout=CONTROL_LIMIT),
        )

    def load(self, model: str) -> None:
        """Load what is new of a model and unload the versions whose directory is gone."""
        self._call(
            f"load {model}",
            lambda: self._client.load_model(
                model, headers=self._headers, client_timeout=self._load_limit
            ),
        )

    def unload(self, model: str) -> None:
        self._call(
            f"unload {model}",
            lambda: self._client.unload_model(
                model, headers=self._headers, client_timeout=CONTROL_LIMIT
            ),
        )

    def ask(
        self, model: str, user_id: str, *, timestamp: int | None = None, seed: int | None = None
    ) -> SmokeAnswer:
        """Send one visitor's request to a model that takes and gives the tensors of
        ``serving.answer``.
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
        result = self._call(
            f"answer {user_id} by {model}",
            lambda: self._client.infer(model, inputs, outputs=outputs, client_timeout=INFER_LIMIT),
        )
        ids, scores, info = (result.as_numpy(spec.name) for spec in ANSWER)
        columns = t.ANSWER_INFO.shape[1]
        if info.shape != (1, columns):
            raise SmokeFailed(
                f"{model} at {self.address} answered one visitor with {t.ANSWER_INFO.name} "
                f"{list(info.shape)}, not "
                f"[1, {columns}]"
            )
        return SmokeAnswer(
            [value.decode() for value in ids],
            scores.tolist(),
            int(info[0, QUERY_RELEASE]),
            int(info[0, RANKER_RELEASE]),
            int(info[0, DEGRADED]),
        )

    def _call(self, action: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except InferenceServerException as error:
            raise ReplicaError(
                f"Triton at {self.address} could not {action}: {error.message()}"
            ) from error


class Replicas:
    """All replicas that a promotion must reach; every call goes to all of them at once."""

    def __init__(self, addresses: Sequence[str], headers: Mapping[str, str] | None = None) -> None:
        self.members = [Replica(address, headers) for address in addresses]

    def __enter__(self) -> Replicas:
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self.members:
            replica.close()

    def each(self, action: Callable[[Replica], T]) -> list[T]:
        """Run an action on all replicas at the same time; raises the first error, after all have
        ended.
        """
        with ThreadPoolExecutor(len(self.members)) as pool:
            return [
                future.result()
                for future in [pool.submit(action, replica) for replica in self.members]
            ]

    def require_live(self) -> None:
        """Raises ReplicaError naming every replica that does not answer."""
        live = self.live()
        silent = [replica.address for replica in self.members if replica not in live]
        if silent:
            raise ReplicaError(
                f"Triton at {', '.join(silent)} does not answer; start it with `recsys up` (and "
                "see "
                "RECSYS_TRITON_REPLICAS for the addresses)"
            )

    def live(self) -> list[Replica]:
        return [
            r for r, alive in zip(self.members, self.each(Replica.is_live), strict=True) if alive
        ]


def load_release(
    replica: Replica,
    versions: Mapping[str, int],
    changed: Iterable[str],
    log: Callable[[str], None],
) -> None:
    """Load every model of a release that a replica does not serve yet, or whose configuration
    changed.
    """
    changed = set(changed)
    for model, version in versions.items():
        if model in changed or not replica.serves(model, version):
            replica.load(model)
            if not replica.serves(model, version):
                raise ReplicaError(
                    f"Triton at {replica.address} loaded {model}, but not its version "
                    f"{version}; is "
                    "version_policy { all {} } in its configuration?"
                )
            log(f"{replica.address}: loaded {model} {version}")


def smoke(replica: Replica, models: Sequence[str], release: Release, catalogue: set[str]) -> None:
    """A known and an unknown visitor must get a proper answer, made by this release alone, and the
    same one of every model.

    Raises:
        SmokeFailed: naming replica, model, visitor and what is wrong.
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
                    f"{', '.join(differing)} than from "
                    f"{models[0]} at {replica.address}, {attempt} times: {answers}"[:2_000]
                )
            time.sleep(AGREEMENT_PAUSE)


def _fault(answer: SmokeAnswer, release: Release, catalogue: set[str]) -> str | None:
    """What is wrong with an answer of one release; None for nothing."""
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
