"""Test the files of a day's features, and the check for leakage of the future."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from feature_repo import apply
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.feature_store import publish, views
from recsys_assets.lib.feature_store import store as feature_store
from recsys_assets.lib.features import daily, dataset_checks, point_in_time
from recsys_assets.partitions import day_bounds
from recsys_assets.settings import Settings
from recsys_assets_tests.lib.features.test_point_in_time import DAY, ITEMS, USERS, _random_day

YESTERDAY = "2026-11-19"


def artifact(
    store: ArtifactStore, kind: str, day: str | None = None, **frames: pl.DataFrame
) -> Artifact:
    with store.stage(
        kind, day, params={"rows": [frame.height for frame in frames.values()]}
    ) as staged:
        for name, frame in frames.items():
            frame.write_parquet(staged.path / f"{name}.parquet")
        return staged.publish()


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def inputs(store) -> dict:
    days = [
        artifact(store, "raw/interactions", day, interactions=_random_day(day, 250, seed))
        for seed, day in enumerate((YESTERDAY, DAY))
    ]
    return {
        "interactions": days,
        "users": artifact(store, "raw/users", users=USERS),
        "items": artifact(store, "raw/items", items=ITEMS),
    }


@pytest.fixture
def built(store, inputs) -> Artifact:
    with store.stage("features/interactions", DAY) as staged:
        return staged.publish(daily.write_features(inputs, DAY, staged.path, look_back_days=7))


@pytest.mark.parametrize(
    ("train", "valid", "usual", "usable", "said"),
    [
        (0.2, 0.18, True, True, "logged"),
        (1.0, 1.0, True, True, "drawn"),
        (0.2, 1.0, False, True, "100% of valid's rows are clicked"),
        (1.0, 0.2, False, True, "not used (100% of train's"),
        (0.0, 0.2, False, False, "0% of train's"),
        (0.2, 0.0, False, False, "0% of valid's"),
        (0.2, None, False, False, "valid has no rows"),
    ],
)
def test_where_negatives_come_from(train, valid, usual, usable, said):
    found = dataset_checks.labels({"train": train, "valid": valid})
    assert (found.usual, found.usable) == (usual, usable) and said in found.negatives


def test_a_days_artifact_holds_features_activity_and_popularity(built, inputs):
    yesterday, today = (
        pl.read_parquet(day.path("interactions.parquet")) for day in inputs["interactions"]
    )
    rows, history, activity = point_in_time.interaction_features(
        today, yesterday, USERS, ITEMS, DAY, look_back_days=7
    )
    assert (
        pl.read_parquet(built.path("features.parquet")).equals(rows)
        and built.metrics["rows"] == rows.height
    )
    assert (
        pl.read_parquet(built.path("click_history.parquet")).equals(history)
        and history.height == rows["click"].sum()
    )
    assert pl.read_parquet(built.path("user_activity.parquet")).equals(activity)
    popularity = pl.read_parquet(built.path("item_popularity.parquet"))
    assert (
        popularity.equals(point_in_time.item_popularity(today, ITEMS, DAY))
        and popularity["item_clicks"].max() > 0
    )


def test_nothing_changes_without_the_future(built, inputs):
    assert daily.changed_without_the_future(inputs, built, DAY, look_back_days=7) == 0


@pytest.mark.parametrize(
    ("column", "leak"),
    [
        (
            "clicks_24h",
            lambda today: (
                today.filter(pl.col("event_type") != "Impression").group_by("user_id").len()
            ),
        ),
        (
            "item_clicks",
            lambda today: today.filter(pl.col("event_type") == "View").group_by("item_id").len(),
        ),
    ],
)
def test_a_feature_that_counts_its_own_day_is_caught(
    built, inputs, monkeypatch, store, column, leak
):
    honest = point_in_time.interaction_features

    def leaking(today, *rest, look_back_days):
        rows, *others = honest(today, *rest, look_back_days=look_back_days)
        counts = leak(today)
        return rows.join(
            counts, on=counts.columns[0], how="left", maintain_order="left"
        ).with_columns(pl.col("len").fill_null(0).cast(pl.Float32).alias(column)).drop(
            "len"
        ), *others

    monkeypatch.setattr(point_in_time, "interaction_features", leaking)
    with store.stage("features/interactions", DAY) as staged:
        leaked = staged.publish(daily.write_features(inputs, DAY, staged.path, look_back_days=7))
    assert daily.changed_without_the_future(inputs, leaked, DAY, look_back_days=7) > 5


@pytest.mark.services
def test_a_day_without_rows_goes_online_and_keeps_what_is_known(
    built, inputs, tmp_path, valkey, store
):
    settings = Settings(
        home=tmp_path, start_day=date.fromisoformat(DAY), scale="tiny", valkey_port=valkey.port
    )
    opened = feature_store.open_store(settings)
    apply.apply_features(opened, settings)
    after = "2026-11-21"
    closed = artifact(
        store, "raw/interactions", after, interactions=_random_day(after, 5, 0).clear()
    )
    with store.stage("features/interactions", after) as staged:
        days = {**inputs, "interactions": [*inputs["interactions"], closed]}
        empty = staged.publish(daily.write_features(days, after, staged.path, look_back_days=7))
    tables = {"users": inputs["users"], "items": inputs["items"]}
    counts = publish.materialize_online(settings, [built, empty], **tables)
    assert counts["user_activity"] > 0  # of the day before, which was written too
    clicks = opened.get_online_features(
        ["item_popularity:item_clicks"], [{"item_id": item} for item in ITEMS["item_id"]]
    ).to_dict()["item_clicks"]
    assert clicks == [0.0] * len(clicks)
    categories = opened.get_online_features(
        ["user_activity:recent_categories"], [{"user_id": "2"}]
    ).to_dict()["recent_categories"][0]
    assert categories
    top = publish.publish_popularity(settings, [closed], inputs["items"])
    assert top.height == ITEMS.height and top["clicks"].sum() == 0


@pytest.mark.services
def test_the_days_state_and_popularity_go_online(built, inputs, tmp_path, valkey, store):
    settings = Settings(
        home=tmp_path,
        start_day=date.fromisoformat(YESTERDAY),
        scale="tiny",
        valkey_port=valkey.port,
    )
    opened = feature_store.open_store(settings)
    apply.apply_features(opened, settings)
    with store.stage("features/interactions", YESTERDAY) as staged:
        first = {**inputs, "interactions": inputs["interactions"][:1]}
        before = staged.publish(
            daily.write_features(first, YESTERDAY, staged.path, look_back_days=7)
        )
    publish.materialize_online(
        settings, [before, built], users=inputs["users"], items=inputs["items"]
    )
    # a visitor who clicked only on the day before is known too
    gone = (
        set(pl.read_parquet(before.path("user_activity.parquet"))["user_id"])
        - set(pl.read_parquet(built.path("user_activity.parquet"))["user_id"])
    ).pop()
    assert opened.get_online_features(
        ["user_activity:recent_categories"], [{"user_id": gone}]
    ).to_dict()["recent_categories"][0]
    written = views.offline_path(settings, "user_activity", YESTERDAY)
    stamp = Path(written).stat().st_mtime_ns
    publish.materialize_online(
        settings, [before, built], users=inputs["users"], items=inputs["items"]
    )
    assert Path(written).stat().st_mtime_ns == stamp  # an existing file is not written again
    # a file of before rows had items gets the column, so that all days are read alike
    whole = pl.read_parquet(written, hive_partitioning=False)
    whole.drop("recent_items").write_parquet(written)
    publish.materialize_online(
        settings, [before, built], users=inputs["users"], items=inputs["items"]
    )
    assert pl.read_parquet(written, hive_partitioning=False).schema == whole.schema
    states = (
        pl.read_parquet(built.path("user_activity.parquet"))
        .filter(pl.col("user_id") == "2")
        .row(-1, named=True)
    )
    names = ["recent_categories", "recent_items", "recent_timestamps"]
    online = opened.get_online_features(
        [f"user_activity:{n}" for n in names], [{"user_id": "2"}]
    ).to_dict()
    assert {n: list(online[n][0]) for n in names} == {n: states[n] for n in names} and len(
        states["recent_timestamps"]
    ) > 3
    asked = [{"item_id": item} for item in ITEMS["item_id"]]
    clicks = opened.get_online_features(["item_popularity:item_clicks"], asked).to_dict()[
        "item_clicks"
    ]
    popularity = pl.read_parquet(built.path("item_popularity.parquet"))
    assert dict(zip(ITEMS["item_id"], clicks, strict=True)) == dict(
        popularity.select("item_id", "item_clicks").iter_rows()
    )
    assert popularity["timestamp"].unique().to_list() == [day_bounds(DAY)[1]]
