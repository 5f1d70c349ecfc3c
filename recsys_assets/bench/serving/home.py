"""Fill the bench's own home: features, seen items and a release of the real home."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import redis

from feature_repo import apply
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.bench.harness.part import BenchFailed, clean_environment
from recsys_assets.columns import MISSING
from recsys_assets.lib.feature_store import offline, views
from recsys_assets.lib.feature_store import store as feature_store
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.releases import Release, ReleaseError
from recsys_assets.operations import own_home
from recsys_assets.operations.triton_server import TritonServer
from recsys_assets.partitions import day_bounds, time_zone
from recsys_assets.serving.events.events import Event
from recsys_assets.serving.events.visitor_state import VisitorState
from recsys_assets.settings import VISITOR_DATABASE, Settings

REMEDY = "run `make demo` first, or set RECSYS_HOME to a home in which it has run"


def release_of(settings: Settings) -> Release:
    """Return the champion, else the newest release that passed its gate.

    Raises:
        BenchFailed: there is none, or it has an older form; the message names the remedy.
    """
    store = ArtifactStore(settings.artifacts, cache=settings.home / "cache" / "artifacts")
    present = read_champion(settings)
    try:
        number = present.release if present else releases.newest_passed(store, settings)
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
    """Return the fitted NVTabular workflows of the release's generation.

    Raises:
        ArtifactMissing: the artifact is not in the store.
    """
    store = ArtifactStore(settings.artifacts, cache=settings.home / "cache" / "artifacts")
    generation = releases.open_release(store, release.generation)
    return store.open(generation.artifact.manifest["inputs"]["workflows"])


def fill_online_store(settings: Settings) -> int:
    """Apply the definitions and load every day of the offline tables.

    Returns:
        Number of keys.

    Raises:
        BenchFailed: there are no offline tables.
    """
    folder = Path(views.offline_path(settings, views.USER_FEATURES)).parent.parent
    days = sorted(path.name.split("=", 1)[1] for path in folder.glob(f"{views.DAY}=*"))
    if not days:
        raise BenchFailed(f"{folder} holds no day of Feast's offline tables; {REMEDY}")
    store = feature_store.open_store(settings)
    apply.apply_features(store, settings)
    zone = time_zone(settings)
    with contextlib.redirect_stdout(io.StringIO()):  # Feast prints its progress
        keys = offline.materialize(
            settings, day_bounds(days[0], zone)[0], day_bounds(days[-1], zone)[1], store=store
        )
    return sum(keys.values())


def mark_seen(
    settings: Settings, visitors: list[str], item_ids: list[str], count: int, seed: int
) -> None:
    """Write views of some items per visitor, as the event consumer does."""
    generator = np.random.default_rng(seed)
    with redis.Redis.from_url(settings.valkey_url(VISITOR_DATABASE)) as client:
        state = VisitorState(
            client, settings.kept_seen_days, time_zone(settings), settings.look_back_days
        )
        now = int(client.time()[0])
        for number, visitor in enumerate(visitors):
            seen = generator.choice(len(item_ids), min(count, len(item_ids) // 2), replace=False)
            events = [Event(user_id=visitor, item_id=item_ids[n], timestamp=now) for n in seen]
            state.apply(
                [(f"0-{number * count + n}", event, MISSING) for n, event in enumerate(events)], now
            )


def beside(own: Settings, folder: Path, triton_models: str) -> Settings:
    """Return settings of one more home, which serves another release beside the bench's own.

    It has the bench's Valkey and Feast's registry, which lies in its folder afterwards.

    Args:
        own: settings of the bench's own home.
        folder: its artifacts lie in ``artifacts``; gets the home.
        triton_models: of the setting of this name.
    """
    home = folder / "home"
    other = own_home.own_settings(
        own,
        home,
        artifacts_uri=str(folder / "artifacts"),
        triton_models=triton_models,
        feast_offline_uri=own.feast_offline_uri,
        valkey_port=own.valkey_port,
    )
    (home / "feast").mkdir(parents=True)
    shutil.copyfile(own.home / "feast" / "registry.db", home / "feast" / "registry.db")
    return other


def triton_address(settings: Settings) -> str:
    """Return host:port of Triton's gRPC."""
    return f"{settings.triton_host}:{settings.triton_grpc_port}"


def serving_environment(settings: Settings) -> Mapping[str, str]:
    """Return the environment of Triton's stubs: one thread, libraries, settings."""
    return TritonServer(settings).environment(clean_environment())


def other_environment(settings: Settings) -> Mapping[str, str]:
    """Return the variables for parts in the platform and training environments."""
    return {
        **clean_environment(),
        **settings.environment(),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
    }
