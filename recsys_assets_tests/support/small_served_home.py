"""A home whose champion was judged on the queries of the shop of blocks; nothing was trained."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.bench.shops.figures import FUSION as RUNG
from recsys_assets.bench.shops.held_out import QUERIES
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.lib.release.champion import champion_path
from recsys_assets.lib.release.releases import RELEASE
from recsys_assets.local_time import UTC
from recsys_assets.partitions import split
from recsys_assets.release_files import RELEASE_FILE
from recsys_assets.settings import Settings
from recsys_assets_tests.support import small_clicks
from recsys_assets_tests.support.seen import publish_rule

DAY = "2026-01-12"


def settings(home: Path) -> Settings:
    return Settings(home=home, artifacts_uri=None, start_day=date(2026, 1, 1))


def publish_release(home: Path) -> None:
    """Release 1, of the rung item_to_item, serves."""
    content = {
        **{"release": 1, "kind": "simple", "day": DAY, "generation": 1, "versions": {}},
        **{"gate": None, "metrics": {}, "known_user": None},
        "rung": {"name": "item_to_item", "why": "", "next": None},
    }
    store = ArtifactStore(settings(home).artifacts)
    with store.stage(RELEASE, "000001", inputs={}, params={}) as staged:
        (staged.path / RELEASE_FILE).write_text(json.dumps(content))
        staged.publish()
    path = champion_path(settings(home))
    path.parent.mkdir(parents=True)
    champion = {"release": 1, "generation": 1, "digest": "", "versions": {}, "promoted_at": 0}
    path.write_text(json.dumps({**champion, "previous": [], "history": []}))


def publish_queries(home: Path) -> Artifact:
    """evaluation/queries as the asset publishes them, with their inputs."""
    store = ArtifactStore(settings(home).artifacts)
    train, validation = split(DAY, settings(home))
    small_clicks.publish_shop(store, train + validation)
    inputs = {
        "features": store.require("features/interactions", validation),
        "interactions": store.require("raw/interactions", train + validation),
        "items": store.current("raw/items"),
        "seen_rule": publish_rule(store, DAY),
    }
    asked = Queries.build(
        *(inputs[role] for role in ("features", "interactions", "items")),
        seed=7,
        rule=DEFAULT_RULE,
        zone=UTC,
    )
    with store.stage(QUERIES, DAY, inputs=inputs, params={"seed": 7}) as staged:
        return staged.publish(asked.write(staged.path))


def publish_rung(home: Path, queries: Artifact, rank: int) -> None:
    """ladder/simple_rung whose lists have every true item at one rank."""
    ranks = np.full(queries.metrics["rows"], rank, np.int32)
    top = np.zeros((len(ranks), 10), np.int32)
    store = ArtifactStore(settings(home).artifacts)
    with store.stage(RUNG, DAY, inputs={"queries": queries}, params={"rank": rank}) as staged:
        np.savez(staged.path / "lists.npz", item_to_item_ranks=ranks, item_to_item_top=top)
        staged.publish()
