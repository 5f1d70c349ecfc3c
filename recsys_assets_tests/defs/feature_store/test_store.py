"""Test that the online store gets what the log says, on a real Feast and Valkey."""

from __future__ import annotations

import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.evaluation.streamed_clicks import StreamedClicks
from recsys_assets.lib.feature_store import bloom
from recsys_assets.lib.feature_store.popular_now import most_clicked
from recsys_assets.lib.features.seen import ACTS
from recsys_assets.lib.simulator import shop as simulator
from recsys_assets.local_time import UTC
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import VISITOR_DATABASE, Settings, get_settings
from recsys_assets_tests.support import tiny_store

pytestmark = pytest.mark.services


def test_the_seen_items_of_the_log_are_online(tmp_path: Path, valkey: Any) -> None:
    from recsys_assets.defs.feature_store import store as feature_store
    from recsys_assets.defs.features import daily
    from recsys_assets.defs.raw import catalogue, interactions

    days = [(partitions.today(get_settings()) - timedelta(days=n)).isoformat() for n in (2, 1)]
    home = tiny_store.settings_on(tmp_path, valkey, start_day=date.fromisoformat(days[0]))
    simulator.simulate(tmp_path / "landing", "tiny", days, seed=3)

    class HomePlatform(Platform):
        @property
        def settings(self) -> Settings:
            return home

    def run(asset: dg.AssetsDefinition, day: str | None = None) -> dg.ExecuteInProcessResult:
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                [asset],
                resources={"platform": HomePlatform()},
                partition_key=day,
                instance=instance,
            )

    assert run(feature_store.definitions).success
    run(catalogue.users)
    run(catalogue.items)
    for day in days:
        run(interactions.interactions, day)
        run(daily.interaction_features, day)
    [event] = run(feature_store.popularity, days[-1]).get_asset_materialization_events()
    assert event.materialization.metadata["popular_now_raised"].value > 10
    items, _ = most_clicked(valkey.client(VISITOR_DATABASE), 12, time.time(), 1_000)
    clicked = StreamedClicks.of(
        read_clicks(ArtifactStore(home.artifacts).require("raw/interactions", days)), items
    )
    replayed = clicked.lists(np.array([int(time.time())]), 12)[0]
    listed = replayed[replayed >= 0]
    assert listed.tolist() == list(range(min(len(items), len(replayed)))), (
        "the log alone makes the list"
    )
    [event] = run(feature_store.online, days[-1]).get_asset_materialization_events()
    shown = {name: value.value for name, value in event.materialization.metadata.items()}

    log = pl.concat(
        [
            pl.read_parquet(artifact.path("interactions.parquet"))
            for artifact in ArtifactStore(home.artifacts).require("raw/interactions", days)
        ]
    ).filter(pl.col("event_type").is_in(ACTS), pl.col("user_id") != "-1")
    assert shown["seen_visitors"] == log["user_id"].n_unique() > 10
    assert shown["seen_seconds"] < 20 and "1 days ago" in shown["seen_history"]
    client, now = valkey.client(VISITOR_DATABASE), float(valkey.client().time()[0])
    for (user,), events in log.group_by("user_id"):
        found = client.mget(bloom.seen_keys(str(user), bloom.last_days(now, 7, UTC)))
        for kind in ACTS:
            items = events.filter(pl.col("event_type") == kind)["item_id"].unique()
            assert bloom.contains(found, bloom.fingerprints(items), (kind,)).all()
