"""Publish features and popularity into the online stores."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.feature_store import popularity
from recsys_assets.lib.features.popularity import clicks_of_days
from recsys_assets.partitions import day_bounds, time_zone
from recsys_assets.settings import POPULARITY_DATABASE, Settings


def materialize_online(
    settings: Settings, features: Sequence[Artifact], *, users: Artifact, items: Artifact
) -> dict[str, int]:
    """Write a day into Feast's offline files and load it into the online store.

    Earlier days that the offline files lack, or have with another look-back, are written first.
    Otherwise, a visitor whose last click is some days old would have no clicks online.

    Args:
        settings: names the stores, and the look-back of the features.
        features: features/interactions of the day (last), and of the days before it that a click
            history covers.
        users: raw/users.
        items: raw/items.

    Returns:
        View → number of keys.
    """
    from recsys_assets.lib.feature_store import offline

    zone = time_zone(settings)
    offline.add_absent_columns(settings)
    missing = [
        artifact
        for artifact in features[:-1]
        if offline.offline_look_back(settings, str(artifact.partition)) != settings.look_back_days
    ]
    users_table = pl.read_parquet(users.path("users.parquet"))
    items_table = pl.read_parquet(items.path("items.parquet"))
    for artifact in (*missing, features[-1]):
        offline.write_offline(
            settings,
            users_table,
            items_table,
            pl.read_parquet(artifact.path("user_activity.parquet")),
            pl.read_parquet(artifact.path("item_popularity.parquet")),
            day_bounds(str(artifact.partition), zone)[0],
        )
    start = day_bounds(str((*missing, features[-1])[0].partition), zone)[0]
    # Feast prints its progress; the run's metadata has the counts.
    with contextlib.redirect_stdout(io.StringIO()):
        return offline.materialize(
            settings, start, day_bounds(str(features[-1].partition), zone)[1]
        )


def publish_popularity(
    settings: Settings, interactions: Sequence[Artifact], items: Artifact
) -> pl.DataFrame:
    """Write the popularity rankings of these days into Valkey.

    Returns:
        The items with their clicks, most clicked first.
    """
    from recsys_assets.lib.feature_store.valkey import visitor_client

    counts = clicks_of_days(interactions, items)
    popularity.write_popularity(
        visitor_client(settings, POPULARITY_DATABASE, timeout_ms=10_000), counts
    )
    return counts
