"""Small click logs: by hand, and of a shop whose visitors keep to one of a few kinds of item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.evaluation.queries import SIMULATED, VISITOR, Queries
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.local_time import UTC
from recsys_assets.partitions import day_bounds
from recsys_assets_tests.support.seen import publish_rule

BLOCKS, ITEMS_A_BLOCK, USERS_A_BLOCK = 4, 15, 30
ITEMS = [f"i{n}" for n in range(BLOCKS * ITEMS_A_BLOCK)]

Click = tuple[str, str, int]  # user, item, day since 1970


def interactions(clicks: Sequence[Click]) -> pl.DataFrame:
    """RAW_INTERACTIONS: a View each, a second apart."""
    user, item, day = zip(*clicks, strict=True)
    at = np.array(day) * 86_400 + 40_000 + np.arange(len(day)) % 20_000
    return pl.DataFrame(
        {
            c.EVENT_ID: [f"e{n}" for n in range(len(user))],
            c.USER_ID: user,
            c.ITEM_ID: item,
            c.TIMESTAMP: at,
            c.DEVICE_TYPE: "mobile",
            c.EVENT_TYPE: c.VIEW,
            c.CLICK: 1,
        },
        schema_overrides={name: getattr(pl, of) for name, of in c.RAW_INTERACTIONS.items()},
    )


def features(frame: pl.DataFrame) -> pl.DataFrame:
    """The same as INTERACTION_FEATURES; whatever no baseline reads is null."""
    return frame.select(
        pl.col(name).cast(getattr(pl, of))
        if name in frame.columns
        else pl.lit(None, getattr(pl, of)).alias(name)
        for name, of in c.INTERACTION_FEATURES.items()
    )


def queries(clicks: Sequence[Click], item_ids: Sequence[str]) -> Queries:
    """One query a click; nothing is seen."""
    frame = features(interactions(clicks)).with_columns(
        pl.col(c.USER_ID).alias(VISITOR), pl.lit(False).alias(SIMULATED)
    )
    true = np.array([list(item_ids).index(item) for _, item, _ in clicks])
    return Queries(
        frame,
        np.array(item_ids),
        np.zeros(len(item_ids), np.int64),
        true,
        np.zeros(len(true) + 1, np.int64),
        np.zeros(0, np.int32),
        {},
        {},
    )


def block_clicks(days: Sequence[int], seed: int = 0) -> list[Click]:
    """Visitors click on items of their own block, and now and then on anything; in each block some
    items are liked best.
    """
    rng = np.random.default_rng(seed)
    liked = 1.0 / np.arange(1, ITEMS_A_BLOCK + 1)
    clicks = []
    for day in days:
        for user in range(BLOCKS * USERS_A_BLOCK):
            for _ in range(rng.poisson(1.5)):
                own = user % BLOCKS * ITEMS_A_BLOCK + rng.choice(
                    ITEMS_A_BLOCK, p=liked / liked.sum()
                )
                clicks.append(
                    (
                        f"u{user}",
                        ITEMS[own if rng.random() < 0.9 else rng.integers(len(ITEMS))],
                        day,
                    )
                )
    return clicks


def publish(
    store: ArtifactStore, kind: str, partition: str | None, name: str, frame: pl.DataFrame
) -> Artifact:
    with store.stage(kind, partition) as staged:
        frame.write_parquet(staged.path / name)
        return staged.publish()


def publish_shop(store: ArtifactStore, days: Sequence[str], seed: int = 0) -> None:
    """raw/items, and raw/interactions and features/interactions of these days, of the shop of
    blocks.
    """
    publish(store, "raw/items", None, "items.parquet", pl.DataFrame({c.ITEM_ID: ITEMS}))
    for n, day in enumerate(days):
        frame = interactions(block_clicks([day_bounds(day)[0] // 86_400], seed + n))
        publish_day(store, day, frame)


def publish_day(store: ArtifactStore, day: str, clicks: pl.DataFrame) -> None:
    """raw/interactions and features/interactions of a day, of RAW_INTERACTIONS."""
    frame = clicks.with_columns((day + "-" + pl.col(c.EVENT_ID)).alias(c.EVENT_ID))
    publish(store, "raw/interactions", day, "interactions.parquet", frame)
    with store.stage("features/interactions", day) as staged:
        features(frame).write_parquet(staged.path / "features.parquet")
        # every row is a click; no baseline looks at what was clicked before it
        nothing = frame.select(
            c.EVENT_ID,
            *(
                pl.lit(pl.Series(name, [[]], pl.List(kind))).first().alias(name)
                for name, kind in (
                    (c.HISTORY_CATEGORIES, pl.String),
                    (c.HISTORY_ITEMS, pl.String),
                    (c.HISTORY_AGES, pl.Float32),
                )
            ),
        )
        nothing.write_parquet(staged.path / "click_history.parquet")
        staged.publish()


def publish_queries(
    store: ArtifactStore, as_of: str, window: Sequence[str], validation: Sequence[str]
) -> Artifact:
    """evaluation/queries of the last days of the window, with the default seen rule."""
    rule = publish_rule(store, as_of)
    asked = Queries.build(
        store.require("features/interactions", validation),
        store.require("raw/interactions", window),
        store.current("raw/items"),
        seed=7,
        rule=DEFAULT_RULE,
        zone=UTC,
    )
    with store.stage("evaluation/queries", as_of, inputs={"seen_rule": rule}) as staged:
        return staged.publish(asked.write(staged.path))
