"""The same raw log once as training reads it and once as serving does, on 10,000 rows: equal to the
bit.

Training: the day's log → features → masking → the batch transform. Serving: what the log leaves in
the online store → Feast → the stages up to the ranker's inputs, each row at its own moment.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from recsys_assets.columns import MISSING, RANKER_CATEGORICAL, RANKER_CONTINUOUS, VOCABULARY_START
from recsys_assets.lib.features.activity import RECENT_CLICKS
from recsys_assets.lib.features.batch_transform import BatchTransform, click_histories
from recsys_assets.lib.features.point_in_time import interaction_features, item_popularity, mask
from recsys_assets.partitions import day_bounds, previous_day
from recsys_assets.serving.stages.registry import stage_class
from recsys_assets_tests.support import tiny_payload, tiny_store
from recsys_assets_tests.support.tiny_payload import ITEM_IDS, USERS, transforms

pytestmark = pytest.mark.services
DAY, ROWS, BATCH = "2025-10-09", 10_000, 250
#: Those of the vocabulary, those whom only the shop knows, and those of whom nothing is known but
#: clicks.
KNOWN = {user: {"age": int(row["age"]), "gender": row["gender"]} for user, row in USERS.items()}
SHOPPERS = {
    f"shopper-{n}": {"age": 18 + n if n % 5 else None, "gender": "FM"[n % 2]} for n in range(60)
}
VISITORS = [*KNOWN, *SHOPPERS, *(f"ünknown-{n}" for n in range(34))]
STAGES = (
    "feast_user_lookup",
    "nvt_user_transform",
    "nvt_context_transform",
    "feast_item_lookup",
    "nvt_item_transform",
    "unroll_features",
)


def log(day: str, rows: int, seed: int) -> pl.DataFrame:
    """RAW_INTERACTIONS: exposures at random seconds, a quarter of them clicked, and some of these
    bought.
    """
    random = np.random.default_rng(seed)
    kind = random.choice(["Impression", "View"], rows, p=[0.75, 0.25])
    frame = pl.DataFrame(
        {
            "event_id": [f"{day}-{n}" for n in range(rows)],
            "user_id": random.choice(VISITORS, rows),
            "item_id": random.choice(ITEM_IDS, rows),
            "timestamp": day_bounds(day)[0] + random.integers(0, 86_400, rows),
            "device_type": random.choice(["mobile", "desktop", "tablet"], rows),
            "event_type": kind,
            "click": (kind == "View").astype(np.int8),
        }
    )
    bought = (
        frame.filter(pl.col("click") == 1)
        .head(rows // 50)
        .with_columns(pl.col("event_id") + "-b", event_type=pl.lit("Purchase"))
    )
    return pl.concat([frame, bought])


@pytest.fixture(scope="module")
def raw() -> SimpleNamespace:
    days = [DAY]
    for _ in range(8):
        days.append(previous_day(days[-1]))
    items = pl.DataFrame(
        [{"item_id": item_id, **row} for item_id, row in tiny_payload.items().items()]
    ).drop("item_clicks")
    users = pl.DataFrame(
        [{"user_id": user, **row} for user, row in (KNOWN | SHOPPERS).items()],
        schema_overrides={"age": pl.Int32},
    )
    return SimpleNamespace(
        today=log(DAY, ROWS, 0),
        earlier=pl.concat([log(day, 600, n) for n, day in enumerate(days[1:], 1)]),
        items=items,
        users=users,
    )


@pytest.fixture(scope="module")
def trained(raw: SimpleNamespace) -> SimpleNamespace:
    features, remembered, _ = interaction_features(
        raw.today, raw.earlier, raw.users, raw.items, DAY, look_back_days=7
    )
    rows = mask(features, DAY, seed=3)
    transform = BatchTransform(transforms())
    return SimpleNamespace(
        rows=rows,
        matrix=transform.transform_frame(rows),
        history=click_histories(transform, rows.filter(pl.col("click") == 1), remembered),
    )


def clicks(raw: SimpleNamespace) -> dict[str, dict[str, list]]:
    """All clicks of each visitor, oldest first, as Feast holds them: fewer than are remembered, so
    that one state serves every moment of the day."""
    clicked = (
        pl.concat([raw.earlier, raw.today])
        .filter(pl.col("event_type") != "Impression")
        .sort("timestamp", "event_id")
    )
    lists = (
        clicked.join(raw.items, on="item_id", maintain_order="left")
        .group_by("user_id", maintain_order=True)
        .agg(recent_categories="category_l1", recent_items="item_id", recent_timestamps="timestamp")
    )
    assert (
        set(lists["user_id"]) == set(VISITORS)
        and lists["recent_timestamps"].list.len().max() < RECENT_CLICKS
    )
    return {row.pop("user_id"): row for row in lists.to_dicts()}


def latest_items(raw: SimpleNamespace, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Indices and ages of the 50 latest clicks of seven days just before each row, newest first, by
    the log alone; none of a masked visitor.
    """
    events = {
        user: list(zip(lists["recent_items"], lists["recent_timestamps"], strict=True))
        for user, lists in clicks(raw).items()
    }
    items, ages = np.zeros((len(rows), 50), np.int32), np.zeros((len(rows), 50), np.float32)
    for row, (user, now) in enumerate(rows.select("user_id", "timestamp").iter_rows()):
        before = [(item, at) for item, at in events.get(user, []) if now - 7 * 86_400 <= at < now]
        for place, (item, at) in enumerate(before[::-1][:50]):
            items[row, place] = VOCABULARY_START + ITEM_IDS.index(item)
            ages[row, place] = (now - at) / 3_600
    return items, ages


@pytest.fixture
def stages(raw: SimpleNamespace, valkey, tmp_path):
    """With the online store as the log leaves it, and the day before's clicks of the items."""
    settings = tiny_store.settings_on(tmp_path, valkey, store_timeout_ms=20_000)
    store = tiny_store.apply_views(settings)
    tiny_store.write_online(store, "user_features", "user_id", KNOWN | SHOPPERS)
    tiny_store.write_online(store, "user_activity", "user_id", clicks(raw), day_bounds(DAY)[1])
    tiny_store.write_online(
        store, "item_features", "item_id", {row.pop("item_id"): row for row in raw.items.to_dicts()}
    )
    popularity = item_popularity(raw.earlier, raw.items, previous_day(DAY))
    tiny_store.write_online(
        store,
        "item_popularity",
        "item_id",
        {row["item_id"]: {"item_clicks": row["item_clicks"]} for row in popularity.to_dicts()},
    )
    tiny_payload.write_models(tmp_path / "payload", settings)
    opened = [
        stage_class(name).open(tmp_path / "payload" / "models" / name, settings, 1)
        for name in STAGES
    ]
    yield opened
    for stage in opened:
        stage.close()


def test_ten_thousand_rows_are_the_same_in_training_and_in_serving(
    raw: SimpleNamespace, trained: SimpleNamespace, stages: list
) -> None:
    rows = trained.rows
    found = {
        name: []
        for name in (
            "visitor_cat",
            "item_cat",
            "visitor_cont",
            "candidate_cont",
            "user_history",
            "user_items",
            "user_ages",
        )
    }
    for start in range(0, ROWS, BATCH):
        part = rows[start : start + BATCH]
        tensors = {
            "visitor_id": part["user_id"].to_numpy().astype(object),
            "context_device": part["device_type"].to_numpy().astype(object),
            "context_timestamp": part["timestamp"].to_numpy(),
            "kept_counts": np.ones(len(part), np.int32),
            "kept": np.array(
                [VOCABULARY_START + ITEM_IDS.index(item) for item in part["item_id"]], np.int32
            ),
        }
        for stage in stages:
            tensors |= stage.run({spec.name: tensors[spec.name] for spec in stage.inputs})
        assert not tensors["user_degraded"].any()
        for name, values in found.items():
            values.append(tensors[name])
    served = {name: np.concatenate(values) for name, values in found.items()}
    served |= {
        "cat": np.concatenate([served["visitor_cat"], served["item_cat"]], axis=1),
        "cont": np.concatenate([served["visitor_cont"], served["candidate_cont"]], axis=1),
    }
    expected = {
        "cat": trained.matrix.select(RANKER_CATEGORICAL).to_numpy(),
        "cont": trained.matrix.select(RANKER_CONTINUOUS).to_numpy(),
    }
    for kind, names in (("cat", RANKER_CATEGORICAL), ("cont", RANKER_CONTINUOUS)):
        assert (
            served[kind].shape == expected[kind].shape == (ROWS, len(names))
            and served[kind].dtype == expected[kind].dtype
        )
        different = {
            name: int((served[kind][:, n] != expected[kind][:, n]).sum())
            for n, name in enumerate(names)
        }
        assert different == dict.fromkeys(names, 0)
    clicked = rows["click"].to_numpy() == 1
    np.testing.assert_array_equal(served["user_history"][clicked], trained.history.categories)
    np.testing.assert_array_equal(served["user_items"][clicked], trained.history.items)
    np.testing.assert_array_equal(served["user_ages"][clicked], trained.history.ages)
    items, ages = latest_items(raw, rows)
    np.testing.assert_array_equal(served["user_items"], items)
    np.testing.assert_array_equal(served["user_ages"], ages)
    # every special case took part
    assert (rows["user_id"] == MISSING).sum() > 300 and (rows["device_type"] == MISSING).sum() > 300
    assert (
        rows["age"].null_count() > 500
        and (rows["clicks_look_back"] > rows["clicks_24h"]).sum() > 5_000
    )
    assert trained.history.categories.any(axis=1).sum() > 1_000
    assert (items != 0).sum(axis=1).max() > 30 and (items == 0).all(axis=1).sum() > 300
