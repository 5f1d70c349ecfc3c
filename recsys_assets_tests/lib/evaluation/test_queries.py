"""Queries of a simulated fortnight against a plain reading of the same log, click by click."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.evaluation import queries as q
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features import activity
from recsys_assets.lib.features.point_in_time import UNKNOWN_VISITOR
from recsys_assets.lib.features.seen import ACTS, DEFAULT_RULE, NEVER, SeenRule
from recsys_assets.local_time import UTC
from recsys_assets.partitions import day_bounds, train_days, validation_days, window_days
from recsys_assets.settings import Settings
from recsys_assets_tests.support import small_window

AS_OF, SEEN_DAYS = "2026-11-23", 3  # 21 and 22 are a weekend
CLICKED = "click_history.parquet"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_window.write_window(
        Settings(home=tmp_path_factory.mktemp("window"), seed=5), AS_OF
    )


def build(store, **options) -> Queries:
    return Queries.build(
        store.require("features/interactions", validation_days(AS_OF)),
        store.require("raw/interactions", window_days(AS_OF)),
        store.current("raw/items"),
        **{"seed": 7, "rule": SeenRule(ACTS, SEEN_DAYS), "zone": UTC, **options},
    )


def day(timestamp: int) -> int:
    return timestamp // 86_400


def plain_seen(store, days: int = SEEN_DAYS) -> dict[str, set[str]]:
    """event_id of each held-out click → the items that its visitor clicked before, within
    ``days`` UTC days.
    """
    log = small_window.read_log(store, window_days(AS_OF))
    clicked = (
        log.filter(pl.col("event_type") != "Impression")
        .select("user_id", "item_id", "timestamp")
        .rows()
    )
    asked = log.filter(
        pl.col("event_type") == "View",
        pl.col("timestamp") >= day_bounds(validation_days(AS_OF)[0])[0],
    )
    return {
        event: {
            item
            for who, item, at in clicked
            if who == user and at < now and day(now) - day(at) < days
        }
        for event, user, now in asked.select("event_id", "user_id", "timestamp").rows()
    }


def test_every_click_is_asked_for_without_what_was_seen(store):
    seen = plain_seen(store)
    found = build(store)
    events, items = found.frame["event_id"].to_list(), found.frame["item_id"].to_list()
    real = found.overall
    log = {
        e: i
        for e, i in small_window.read_log(store, window_days(AS_OF))
        .select("event_id", "item_id")
        .iter_rows()
    }
    hidden = {event for event, dropped in seen.items() if log[event] in dropped}
    assert {e for e, r in zip(events, real, strict=True) if r} == set(seen) and hidden
    assert found.counts["seen_share"] == pytest.approx(len(hidden) / len(seen))
    assert found.counts["clicks"] == found.counts["queries"] == len(seen)
    catalogue = pl.read_parquet(store.current("raw/items").path("items.parquet"))[
        "item_id"
    ].to_list()
    assert found.item_ids.tolist() == catalogue and [catalogue[t] for t in found.true] == items
    dropped = found.seen(np.arange(len(found)))
    for row, event in enumerate(events):
        assert {catalogue[i] for i in np.flatnonzero(dropped[row])} == (
            seen[event] if real[row] else set()
        ), event
    scores = found.mask(np.zeros((2, found.items)), np.array([5, 2]))
    np.testing.assert_array_equal(np.isinf(scores), dropped[[5, 2]])


def test_each_query_has_its_visitors_click_history(store):
    """As serving would read it: the clicks of the seven days before, of which the counts say how
    many.
    """
    found = build(store)
    items = dict(
        pl.read_parquet(store.current("raw/items").path("items.parquet"))
        .select("item_id", "category_l1")
        .iter_rows()
    )
    clicks: dict[str, list[tuple[int, str, str]]] = {}  # (time, item, category)
    for user, at, item in (
        small_window.read_log(store, window_days(AS_OF))
        .filter(pl.col("event_type") != "Impression")
        .select("user_id", "timestamp", "item_id")
        .iter_rows()
    ):
        clicks.setdefault(user, []).append((at, item, items[item]))
    lengths = set()
    for user, at, remembered, latest, ages, n_long, n24, simulated in found.frame.select(
        q.VISITOR,
        "timestamp",
        *(c.HISTORY_CATEGORIES, c.HISTORY_ITEMS, c.HISTORY_AGES),
        *("clicks_look_back", "clicks_24h", q.SIMULATED),
    ).iter_rows():
        ordered = sorted(clicks[user])
        categories, recent = activity.history(
            [name for _, _, name in ordered], [when for when, _, _ in ordered], at, look_back_days=7
        )
        assert remembered == categories
        before = [one for one in ordered if at - 7 * 86_400 <= one[0] < at][-50:]
        assert latest == [item for _, item, _ in before]
        assert ages == [np.float32((at - when) / 3_600) for when, _, _ in before]
        assert (n_long, n24) == ((0, 0) if simulated else (len(categories), recent))
        lengths.add(len(remembered))
    assert {0, 1, 2} < lengths


def test_slices_and_clicks_are_those_of_the_log(store):
    found = build(store)
    training = small_window.read_log(store, train_days(AS_OF))
    shown = dict(
        training.filter(pl.col("event_type").is_in(["Impression", "View"]))
        .group_by("user_id")
        .len()
        .iter_rows()
    )
    clicks = dict(
        training.filter(pl.col("event_type") == "View").group_by("item_id").len().iter_rows()
    )
    assert found.clicks.tolist() == [clicks.get(item, 0) for item in found.item_ids.tolist()]
    real = found.overall
    for row, (user, item, at, device) in enumerate(
        found.frame.select(q.VISITOR, "item_id", "timestamp", "device_type").iter_rows()
    ):
        inside = {name for name, of in found.slices.items() if of[row]}
        if not real[row]:
            assert inside == {"cold_users"}
            continue
        hour, weekday = (moment := datetime.fromtimestamp(at, timezone.utc)).hour, moment.weekday()
        assert (user in shown) == ("known_users" in inside), user
        assert f"device:{device}" in inside and ("weekend" in inside) == (weekday >= 5)
        assert ("night", "morning", "afternoon", "evening")[hour // 6] == next(
            n for n in inside if n.startswith("hour:")
        )[5:]
        assert ("new_items" in inside) == (item not in clicks)
        assert ("young_items" in inside) == (clicks.get(item, 0) < 3)
        assert len(inside & {"new_visitors", "light_visitors", "heavy_visitors"}) == 1
        assert sum(name.startswith("activity:") for name in inside) == (user in shown)
    low, high = (
        np.mean(
            [
                shown[u]
                for u in found.frame.filter(pl.Series(found.slices[f"activity:{n}"]))[q.VISITOR]
            ]
        )
        for n in ("low", "high")
    )
    assert low < high
    assert (
        found.slices["weekend"].any() and found.slices["new_items"].any()
    )  # or the lines above said little


def test_visitors_are_split_at_the_median_of_their_clicks(store):
    found = build(store)
    clicks = found.frame["clicks_look_back"].to_numpy()
    of_visitor: dict[str, list[float]] = {}
    for visitor, count, counts in zip(
        found.frame[q.VISITOR], clicks.tolist(), found.overall, strict=True
    ):
        if counts and count:
            of_visitor.setdefault(visitor, []).append(count)
    middle = np.median([np.mean(counts) for counts in of_visitor.values()])
    real = found.overall
    for name, expected in (
        ("new_visitors", clicks == 0),
        ("light_visitors", (clicks > 0) & (clicks <= middle)),
        ("heavy_visitors", clicks > middle),
    ):
        np.testing.assert_array_equal(found.slices[name], real & expected, name)
        assert found.slices[name].any(), name


def test_where_nothing_is_hidden_repeats_are_a_slice_and_not_dropped(store):
    seen = plain_seen(store, DEFAULT_RULE.days)
    found = build(store, rule=NEVER)
    expected = [
        real and item in seen[event]
        for event, item, real in zip(
            found.frame["event_id"], found.frame["item_id"], found.overall, strict=True
        )
    ]
    assert found.slices["repeats"].tolist() == expected and any(expected)
    assert (found.slices["no_repeats"] == (found.overall & ~found.slices["repeats"])).all()
    assert found.counts["seen_share"] == 0 and not found.seen(np.arange(len(found))).any()


def test_cold_visitors_are_simulated_where_few_are_new(store):
    found = build(store)
    assert found.counts["cold_users_simulated"] and found.counts["cold_queries"] < q.MINIMUM_COLD
    simulated = found.frame.filter(pl.Series(~found.overall))
    assert simulated.height == min(q.SIMULATED_COLD, found.counts["queries"])
    for column, value in UNKNOWN_VISITOR.items():
        assert (
            simulated[column].is_null().all()
            if value is None
            else (simulated[column] == value).all()
        ), column
    # the visitor stays the unit of the averages, and what the click says of item and moment stays
    twin = found.frame.filter(pl.Series(found.overall)).join(
        simulated, on="event_id", suffix="_masked"
    )
    assert twin.height == simulated.height
    for column in (q.VISITOR, "item_id", "timestamp", "device_type", "item_clicks"):
        assert (twin[column] == twin[f"{column}_masked"]).all()
    assert (
        found.frame.schema["age"] == pl.Float32
        and (found.frame["user_id"] != found.frame[q.VISITOR]).sum() == simulated.height
    )


def test_new_visitors_are_enough_where_there_are_many(store, monkeypatch):
    monkeypatch.setattr(q, "MINIMUM_COLD", 1)
    found = build(store)
    assert (
        0 < found.counts["cold_queries"] == found.slices["cold_users"].sum()
        and not found.counts["cold_users_simulated"]
    )
    assert (
        found.overall.all() and not (found.slices["cold_users"] & found.slices["known_users"]).any()
    )


def test_above_the_limit_whole_users_are_sampled(store):
    everything, some = build(store), build(store, limit=60)
    kept = set(some.frame[q.VISITOR])
    real = everything.frame.filter(pl.Series(everything.overall))
    assert (
        some.counts["sampled_clicks"] <= 60 < everything.counts["sampled_clicks"] and len(kept) > 3
    )
    asked = some.frame.filter(pl.Series(some.overall))
    assert (
        real.filter(pl.col(q.VISITOR).is_in(kept))["event_id"].to_list()
        == asked["event_id"].to_list()
    )
    assert build(store, limit=60).frame.equals(some.frame) and not build(
        store, limit=60, seed=8
    ).frame.equals(some.frame)


def test_a_visitor_without_a_name_is_another_one_each_time(store, tmp_path):
    from recsys_assets.artifacts import ArtifactStore

    anonymous = (
        pl.when(pl.col(c.TIMESTAMP) % 2 == 0)
        .then(pl.lit(c.MISSING))
        .otherwise(c.USER_ID)
        .alias(c.USER_ID)
    )
    other = ArtifactStore(tmp_path)
    for kind, name in (
        ("raw/interactions", "interactions.parquet"),
        ("features/interactions", "features.parquet"),
    ):
        for artifact in store.require(kind, window_days(AS_OF)):
            with other.stage(kind, artifact.partition) as staged:
                pl.read_parquet(artifact.path(name)).with_columns(anonymous).write_parquet(
                    staged.path / name
                )
                if kind == "features/interactions":
                    (staged.path / CLICKED).write_bytes(artifact.path(CLICKED).read_bytes())
                staged.publish()
    with other.stage("raw/items") as staged:
        pl.read_parquet(store.current("raw/items").path("items.parquet")).write_parquet(
            staged.path / "items.parquet"
        )
        staged.publish()
    found = build(other)
    nameless = found.overall & (found.frame["user_id"] == c.MISSING).to_numpy()
    assert nameless.sum() == len(np.unique(found.users[nameless])) > 10
    assert (
        not found.seen(np.flatnonzero(nameless)).any()
        and not found.slices["known_users"][nameless].any()
    )


def test_queries_are_read_as_they_were_written(store, tmp_path):
    from recsys_assets.artifacts import ArtifactStore

    found = build(store)
    with ArtifactStore(tmp_path).stage("evaluation/queries", AS_OF) as staged:
        metrics = found.write(staged.path)
        again = Queries.read(staged.publish(metrics))
    assert again.frame.equals(found.frame) and again.counts == found.counts == metrics
    for name in ("item_ids", "clicks", "true", "seen_start", "seen_items", "users", "overall"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert list(again.slices) == list(found.slices)
    assert all((again.slices[name] == found.slices[name]).all() for name in found.slices)
    assert (
        metrics["rows"] == len(found)
        and metrics["slices"]["weekend"] == found.slices["weekend"].sum()
    )


def test_a_subset_keeps_what_belongs_to_its_queries(store):
    found, rows = build(store), np.array([9, 2, 30])
    some = found.subset(rows)
    np.testing.assert_array_equal(some.seen(np.arange(3)), found.seen(rows))
    assert some.true.tolist() == found.true[rows].tolist() and some.frame.equals(found.frame[rows])


def test_days_that_are_missing_are_named(store):
    features = store.require("features/interactions", validation_days(AS_OF))
    for days in (validation_days(AS_OF), train_days(AS_OF)):
        with pytest.raises(
            ValueError,
            match="give raw/interactions of the training days and of every validation day",
        ):
            Queries.build(
                features,
                store.require("raw/interactions", days),
                store.current("raw/items"),
                seed=7,
                rule=DEFAULT_RULE,
                zone=UTC,
            )


def test_a_log_without_clicks_has_nothing_to_ask(store, tmp_path):
    from recsys_assets.artifacts import ArtifactStore

    other = ArtifactStore(tmp_path)
    for artifact in store.require("features/interactions", validation_days(AS_OF)):
        with other.stage("features/interactions", artifact.partition) as staged:
            pl.read_parquet(artifact.path("features.parquet")).with_columns(
                pl.lit(0, pl.Int8).alias("click")
            ).write_parquet(staged.path / "features.parquet")
            (staged.path / CLICKED).write_bytes(artifact.path(CLICKED).read_bytes())
            staged.publish()
    found = Queries.build(
        other.require("features/interactions", validation_days(AS_OF)),
        store.require("raw/interactions", window_days(AS_OF)),
        store.current("raw/items"),
        seed=7,
        rule=DEFAULT_RULE,
        zone=UTC,
    )
    assert len(found) == 0 and found.counts["clicks"] == 0 and found.counts["queries"] == 0
    assert found.frame.columns == build(store).frame.columns
    assert Queries.read(published(other, found)).counts == found.counts


def published(store, queries):
    with store.stage("evaluation/queries", AS_OF) as staged:
        return staged.publish(queries.write(staged.path))


def test_without_a_validation_day_there_are_no_queries(store):
    days = window_days(AS_OF)[:1]
    found = Queries.build(
        [],
        store.require("raw/interactions", days),
        store.current("raw/items"),
        seed=7,
        rule=DEFAULT_RULE,
        zone="UTC",
    )
    assert len(found) == 0 and found.clicks.sum() > 0
    assert found.frame.columns == build(store).frame.columns


def test_queries_have_the_values_of_their_clicks(store, tmp_path):
    plain = build(store)
    clicks = plain.frame.filter(~pl.col(q.SIMULATED)).select(c.EVENT_ID)
    worth = clicks.with_columns((pl.int_range(pl.len()) % 7 + 1).cast(pl.Float32).alias(c.VALUE))
    found = build(store, values=worth.sample(fraction=1.0, shuffle=True, seed=3))
    expected = dict(worth.iter_rows())
    assert found.values is not None and plain.values is None
    assert found.values.tolist() == [expected[event] for event in found.frame[c.EVENT_ID]]
    assert found.counts["mean_value"] == pytest.approx(worth[c.VALUE].mean())
    # beside the values, everything is equal
    assert found.frame.drop(c.VALUE).equals(plain.frame)
    assert {**found.counts, "mean_value": 0} == {**plain.counts, "mean_value": 0}
    rows = np.array([3, 1])
    assert found.subset(rows).values.tolist() == found.values[rows].tolist()


def test_a_click_without_a_value_is_refused(store):
    with pytest.raises(
        ValueError, match=r"clicks have no value.*materialise features/interactions"
    ):
        build(store, values=pl.DataFrame(schema={c.EVENT_ID: pl.String, c.VALUE: pl.Float32}))
