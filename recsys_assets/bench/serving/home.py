"""A home of the bench's own: a release of the real one promoted on ports, stores and servers that
nobody else uses.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import redis

from feature_repo import apply
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.columns import MISSING
from recsys_assets.lib.feature_store import offline, views
from recsys_assets.lib.feature_store import store as feature_store
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.releases import Release, ReleaseError
from recsys_assets.operations import services
from recsys_assets.operations.triton_server import TritonServer
from recsys_assets.partitions import day_bounds
from recsys_assets.serving.events.events import Event
from recsys_assets.serving.events.visitor_state import VisitorState
from recsys_assets.serving.promotion import promotion
from recsys_assets.settings import VISITOR_DATABASE, Settings

PORTS = (
    "valkey_port",
    "triton_http_port",
    "triton_grpc_port",
    "triton_metrics_port",
    "gateway_port",
)
REMEDY = "run `make demo` first, or set RECSYS_HOME to a home that it was run in"
LOCAL = "127.0.0.1"
PORT_RANGE = range(15_000, 32_000)


def release_of(settings: Settings) -> Release:
    """The champion, else the newest release that passed its gate.

    Raises:
        BenchFailed: there is none, or it is of an older form; names the remedy.
    """
    store = ArtifactStore(settings.artifacts, cache=settings.home / "cache" / "artifacts")
    present = read_champion(settings)
    try:
        number = present.release if present else releases.newest_passed(store)
    except ReleaseError as error:
        raise BenchFailed(
            f"{settings.home} has no release to measure ({error}); {REMEDY}"
        ) from error
    release = releases.open_release(store, number)
    if not release.of_this_form:
        raise BenchFailed(
            f"release {number} of {settings.home} was built by an older version of this code; "
            f"{REMEDY}"
        )
    return release


def workflows_of(settings: Settings, release: Release) -> Artifact:
    """The fitted NVTabular workflows of the release's generation; raises ArtifactMissing."""
    store = ArtifactStore(settings.artifacts, cache=settings.home / "cache" / "artifacts")
    generation = releases.open_release(store, release.generation)
    return store.open(generation.artifact.manifest["inputs"]["workflows"])


def free_ports() -> dict[str, int]:
    """A free port for each local part.

    Below those that the system gives to outgoing connections: a part is started long after its port
    was chosen, and one of the many connections of a measurement would take it meanwhile.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(PORT_RANGE, len(PORT_RANGE)):
        with socket.socket() as probe, contextlib.suppress(OSError):  # in use: the next one
            probe.bind((LOCAL, port))
            found.append(port)
        if len(found) == len(PORTS):
            return dict(zip(PORTS, found, strict=True))
    raise BenchFailed(
        f"no {len(PORTS)} free ports from {PORT_RANGE[0]} to {PORT_RANGE[-1]}; end what listens "
        "there"
    )


def own_settings(settings: Settings, home: Path, **changed: Any) -> Settings:
    """The same settings for a home beside: local parts on free ports, the real home's artifacts and
    offline tables (both only read).
    """
    return settings.model_copy(
        update={
            "home": home,
            "artifacts_uri": settings.artifacts,
            "model_repository_uri": None,
            "target": "local",
            "feast_offline_uri": settings.feast_offline_uri
            or str(settings.home / "feast" / "offline"),
            "valkey_host": LOCAL,
            "valkey_tls": False,
            "triton_host": LOCAL,
            "triton_replicas": "",
            "gateway_host": LOCAL,
            "triton_models": "both",
            "rate_limit": 0.0,
            **free_ports(),
            **changed,
        }
    )


@contextlib.contextmanager
def running(settings: Settings, parts: list[str]) -> Iterator[None]:
    """Local parts of an own home, ended whatever happens."""
    try:
        services.up(settings, only=parts, progress=lambda line: None)
        yield
    finally:
        services.down(settings, only=parts)


def fill_online_store(settings: Settings) -> int:
    """Apply the definitions and load every day of the offline tables; returns the number of keys.

    Raises:
        BenchFailed: there are no offline tables.
    """
    folder = Path(views.offline_path(settings, views.USER_FEATURES)).parent.parent
    days = sorted(path.name.split("=", 1)[1] for path in folder.glob(f"{views.DAY}=*"))
    if not days:
        raise BenchFailed(f"{folder} holds no day of Feast's offline tables; {REMEDY}")
    store = feature_store.open_store(settings)
    apply.apply_features(store, settings)
    with contextlib.redirect_stdout(io.StringIO()):  # Feast prints its progress
        keys = offline.materialize(
            settings, day_bounds(days[0])[0], day_bounds(days[-1])[1], store=store
        )
    return sum(keys.values())


def mark_seen(
    settings: Settings, visitors: list[str], item_ids: list[str], count: int, seed: int
) -> None:
    """Let each visitor have viewed some items just now, as the event consumer notes it."""
    generator = np.random.default_rng(seed)
    with redis.Redis.from_url(settings.valkey_url(VISITOR_DATABASE)) as client:
        state, now = VisitorState(client, settings.seen_days), int(client.time()[0])
        for number, visitor in enumerate(visitors):
            seen = generator.choice(len(item_ids), min(count, len(item_ids) // 2), replace=False)
            events = [Event(user_id=visitor, item_id=item_ids[n], timestamp=now) for n in seen]
            state.apply(
                [(f"0-{number * count + n}", event, MISSING) for n, event in enumerate(events)], now
            )


def promote(settings: Settings, release: Artifact | int) -> None:
    """Publish and load a release on the own Triton; a verdict is not asked for: it was promoted, or
    is synthetic.
    """
    promotion.promote(settings, release, force_gate=True, log=lambda line: None)


def triton_address(settings: Settings) -> str:
    return f"{settings.triton_host}:{settings.triton_grpc_port}"


def clean_environment() -> dict[str, str]:
    """This process's variables without the settings, which each home has of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}


def serving_environment(settings: Settings) -> Mapping[str, str]:
    """What Triton's stubs run with: one thread, the libraries, the settings."""
    return TritonServer(settings).environment(clean_environment())


def other_environment(settings: Settings) -> Mapping[str, str]:
    """For parts in the platform and the training environment."""
    return {
        **clean_environment(),
        **settings.environment(),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
    }
