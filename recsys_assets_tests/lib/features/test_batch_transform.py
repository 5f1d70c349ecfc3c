from __future__ import annotations

import json
import subprocess

import numpy as np
import polars as pl
import pytest

from recsys_assets.columns import RANKER_CATEGORICAL, RANKER_CONTINUOUS
from recsys_assets.lib.features.batch_transform import BatchTransform, history_matrix, latest_items
from recsys_assets.lib.features.recent_items import recent_items
from recsys_assets.lib.features.transforms import Transforms, Vocabulary, affinity, history_counts
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.support.tiny_payload import ITEM_IDS, items, transforms

COUNTS = ("clicks_24h", "clicks_look_back", "category_clicks_look_back", "category_clicks_24h")


def rows(count: int = 400, seed: int = 1) -> pl.DataFrame:
    """Feature rows with masked, unknown and null values among them."""
    random = np.random.default_rng(seed)
    catalogue = [{"item_id": item_id, **row} for item_id, row in items().items()]
    picked = [catalogue[n] for n in random.integers(len(ITEM_IDS), size=count)]
    ages = np.concatenate([[18, 25, 35, 50, 65, 17, 24.5], random.integers(18, 90, size=count - 7)])
    n_long = random.integers(0, 201, size=count)
    n24 = random.integers(0, n_long + 1)
    return pl.DataFrame(
        {
            "user_id": random.choice(["user-0", "user-5", "-1", "new"], count),
            "gender": random.choice(["F", "M", "-1"], count),
            "top_category": random.choice(["footwear", "tools", "beauty", "-1"], count),
            "age": [
                None if masked else age
                for age, masked in zip(ages, random.random(count) < 0.1, strict=True)
            ],
            "device_type": random.choice(["mobile", "desktop", "tablet", "-1"], count),
            "timestamp": random.integers(1_700_000_000, 1_800_000_000, size=count),
            "clicks_24h": n24,
            "clicks_look_back": n_long,
            "category_clicks_look_back": random.integers(0, n_long + 1),
            "category_clicks_24h": random.integers(0, n24 + 1),
            "hours_since_click": random.integers(1, 86_401, size=count) / 3_600,
        },
        schema_overrides=dict.fromkeys(("age", "hours_since_click", *COUNTS), pl.Float32),
    ).hstack(
        pl.DataFrame(picked).with_columns(
            pl.Series("item_clicks", random.integers(0, 5_000, size=count), pl.Float32),
            pl.when(pl.Series(random.random(count) < 0.9)).then(pl.col("price")).alias("price"),
        )
    )


def test_agrees_with_the_online_transforms_to_the_bit():
    frame = rows()
    batch = BatchTransform(transforms()).transform_frame(frame)
    assert batch.columns == [*RANKER_CATEGORICAL, *RANKER_CONTINUOUS]
    assert (
        set(batch.dtypes) == {pl.Int32, pl.Float32}
        and batch.null_count().sum_horizontal().item() == 0
    )
    online = Transforms.from_dict(transforms())
    for row, found in zip(frame.iter_rows(named=True), batch.iter_rows(), strict=True):
        age = np.nan if row["age"] is None else row["age"]
        user = online.users(
            np.array([[row["user_id"], row["gender"], row["top_category"]]], object),
            np.array(
                [[age, row["clicks_24h"], row["hours_since_click"], row["clicks_look_back"]]],
                np.float32,
            ),
        )
        context = online.context([row["device_type"]], np.array([row["timestamp"]]))
        codes = online.item_codes([row["category_l1"]], [row["category_l2"]], [row["item_gender"]])
        index = online.vocabulary["item_id"].indices([row["item_id"]])
        price = np.nan if row["price"] is None else row["price"]
        item = online.items(index, codes, np.array([[price, row["item_clicks"]]], np.float32))
        counts = [
            np.array([row[name]])
            for name in (
                "category_clicks_look_back",
                "category_clicks_24h",
                "clicks_look_back",
                "clicks_24h",
            )
        ]
        item = item[0], np.concatenate([item[1], affinity(*counts)], axis=1)
        expected = [
            part[kind].reshape(-1).tolist() for kind in (0, 1) for part in (user, context, item)
        ]
        assert list(found) == [value for part in expected for value in part]


def test_null_is_not_unknown():
    frame = rows(8).with_columns(
        pl.lit(None, pl.String).alias("gender"), pl.lit("-1").alias("device_type")
    )
    batch = BatchTransform(transforms()).transform_frame(frame)
    assert batch["gender"].unique().to_list() == [1] and batch[
        "device_type"
    ].unique().to_list() == [2]


def test_an_unknown_price_is_the_mean():
    frame = rows(8).with_columns(pl.lit(None, pl.Float64).alias("price"))
    batch = BatchTransform(transforms()).transform_frame(frame)
    assert batch["price_log_norm"].to_list() == [0.0] * 8


def test_an_empty_frame_stays_empty():
    assert BatchTransform(transforms()).transform_frame(rows(8).head(0)).shape == (0, 23)


def test_missing_columns_and_nulls_are_named():
    with pytest.raises(ValueError, match="frame lacks age, price, item_clicks"):
        BatchTransform(transforms()).transform_frame(rows(8).drop("age", "price", "item_clicks"))
    for name in (*COUNTS, "hours_since_click", "item_clicks"):
        with pytest.raises(ValueError, match=f"nulls in {name}"):
            BatchTransform(transforms()).transform_frame(
                rows(8).with_columns(pl.lit(None, pl.Float64).alias(name))
            )


CATEGORY = Vocabulary("category_l1", ["books", "tools", "ágil"])


def histories(count: int, longest: int, seed: int = 4) -> tuple[pl.Series, np.ndarray, np.ndarray]:
    """Return lists of known, unknown, masked and null categories, and counts n_long and n24."""
    random = np.random.default_rng(seed)
    sizes = np.where(random.random(count) < 0.2, 0, random.integers(0, longest + 1, size=count))
    lists = [
        [["books", "tools", "ágil", "-1", "new", None][k] for k in random.integers(6, size=n)]
        for n in sizes
    ]
    n_long = random.integers(0, sizes + 1)
    return pl.Series(lists, dtype=pl.List(pl.String)), n_long, random.integers(0, n_long + 1)


def test_a_tables_histories_are_each_visitors_own(monkeypatch):
    monkeypatch.setattr(
        "recsys_assets.lib.features.batch_transform._ROWS_AT_ONCE", 64
    )  # several parts, the last one smaller
    lists, n_long, n24 = histories(300, longest=12)
    found = history_matrix(CATEGORY, lists, n_long.astype(np.float32), pl.Series(n24))
    assert found.dtype == np.uint8 and found.shape == (300, 2 * CATEGORY.rows)
    for row, categories, days, hours in zip(found, lists.to_list(), n_long, n24, strict=True):
        assert row.tolist() == history_counts(CATEGORY, categories, days, hours).tolist()
    assert (found.sum(axis=0)[[1, 2, 3, 4, 5]] > 20).all() and not found[:, 0].any()


def test_of_a_history_only_the_latest_clicks_count():
    lists = pl.Series(
        [["books", "tools", "ágil", "ágil"], ["books"] * 255, [], ["tools"], None],
        dtype=pl.List(pl.String),
    )
    found = history_matrix(
        CATEGORY, lists, np.array([3, 255, 0, 0, 0]), np.array([1, 200, 0, 0, 0])
    )
    assert found[0].tolist() == [0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 1]
    assert found[1].tolist() == [0, 0, 0, 255, 0, 0, 0, 0, 0, 200, 0, 0] and not found[2:].any()
    assert history_matrix(CATEGORY, lists[:0], np.zeros(0), np.zeros(0)).shape == (0, 12)


@pytest.mark.parametrize(
    ("clicks", "n_long", "n24", "message"),
    [
        (2, 3, 0, "row 1 has 0, 3 and 2"),
        (2, 1, 2, "row 1 has 2, 1 and 2"),
        (2, 1, -1, "row 1 has -1, 1 and 2"),
        (300, 256, 0, "at most 255; row 1 has 0, 256 and 300"),
    ],
)
def test_counts_that_a_history_cannot_have_are_named(clicks, n_long, n24, message):
    with pytest.raises(ValueError, match=message):
        history_matrix(
            CATEGORY,
            pl.Series([["tools"], ["books"] * clicks]),
            np.array([1, n_long]),
            np.array([0, n24]),
        )
    with pytest.raises(ValueError, match="1 click histories, but counts of 1 and 2 rows"):
        history_matrix(CATEGORY, pl.Series([["tools"]]), np.array([1]), np.array([0, 0]))


ITEM = Vocabulary("item_id", [f"item-{n}" for n in range(80)], buckets=5)


def test_a_tables_latest_items_are_those_that_serving_lists():
    """Visitors with no click, one, fifty and more, masked ones, and unknown and hashed items."""
    random = np.random.default_rng(8)
    counts = np.array([0, 1, 49, 50, 50, 120, 3, 0, 7])
    names = np.array([*ITEM.values, "new", "newer", "-1"], object)
    clicked = [random.choice(names, n).tolist() for n in counts]
    ages = [np.sort(random.uniform(0, 168, n)).astype(np.float32)[::-1] for n in counts]
    masked = counts.copy()
    masked[6] = 0
    # click_history.parquet holds the latest fifty
    found = latest_items(
        ITEM,
        pl.Series([one[-50:] for one in clicked], dtype=pl.List(pl.String)),
        pl.Series([one[-50:].tolist() for one in ages], dtype=pl.List(pl.Float32)),
        masked.astype(np.float32),
    )
    kept = [n for n, count in enumerate(masked) if count]
    expected = recent_items(
        ITEM,
        np.array([item for n in kept for item in clicked[n]], object),
        np.concatenate([ages[n] for n in kept]),
        masked.tolist(),
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert {0, 2} < set(found[0].ravel().tolist()) and found[0].max() >= 83


@pytest.mark.parametrize(("items", "ages", "clicks"), [(2, 1, 2), (1, 1, 2), (0, 0, 1)])
def test_latest_items_that_do_not_fit_are_named(items, ages, clicks):
    with pytest.raises(ValueError, match=f"row 1 has {items} items, {ages} ages and {clicks} cl"):
        latest_items(
            ITEM,
            pl.Series([["item-1"], ["item-2"] * items], dtype=pl.List(pl.String)),
            pl.Series([[1.0], [2.0] * ages], dtype=pl.List(pl.Float32)),
            np.array([1, clicks]),
        )


_NVTABULAR = """
import json, os, sys
from pathlib import Path
import pandas as pd
from recsys_assets.training.features import tables
tables.without_tensorflow()
import nvtabular as nvt
from merlin.io import Dataset
from recsys_assets.training.features import workflows as w

folder = Path(sys.argv[1])
os.chdir(folder)
fit, catalogue, new = (pd.read_parquet(name + ".parquet") for name in ("fit", "catalogue", "new"))
mean_age, buckets = float(sys.argv[2]), int(sys.argv[3])
users, shop = Dataset(fit, cpu=True), Dataset(catalogue, cpu=True)
parts = {w.USER: nvt.Workflow(w.user_graph("scratch", mean_age, buckets)).fit(users),
         w.CONTEXT: nvt.Workflow(w.context_graph("scratch")).fit(users),
         w.ITEM: nvt.Workflow(w.item_graph("scratch", buckets)).fit(shop),
         w.AFFINITY: nvt.Workflow(w.affinity_graph()).fit(users)}
for name, workflow in parts.items():
    w.save(workflow, name)
export = w.export_transforms(parts[w.USER], parts[w.ITEM], folder, mean_age, buckets)
Path("transforms.json").write_text(json.dumps(export))
combined = w.join(list(parts.values()), users)
sizes = {column.name: int(column.int_domain.max) + 1 for column in combined.output_schema if column.int_domain}
assert {name: sizes[name] for name in export["cardinality"]} == export["cardinality"], (sizes, export["cardinality"])
w.save(combined, w.COMBINED)
w.load(folder, w.COMBINED).transform(Dataset(new, cpu=True)).to_ddf().compute(scheduler="synchronous").to_parquet("transformed.parquet")
"""


@pytest.mark.training
@pytest.mark.parametrize("buckets", [0, 5])
def test_agrees_with_nvtabular_itself(tmp_path, buckets):
    """Fit and export the project's workflows on rows with every special case."""
    fit = rows(300, seed=2).with_columns(
        pl.when(pl.col(name) != "-1").then(pl.col(name)).alias(name)
        for name in ("user_id", "gender", "top_category", "device_type")
    )
    new = rows(300, seed=3).with_columns(
        pl.when(pl.int_range(pl.len()) < 40)
        .then(pl.format("ü-{}", pl.int_range(pl.len())))
        .otherwise(pl.col(name))
        .alias(name)
        for name in ("user_id", "item_id")
    )
    new = new.with_columns(
        pl.when(pl.int_range(pl.len()) != 50).then(pl.col("user_id")).alias("user_id")
    )
    # the shop gives no price for some items
    new = new.with_columns(pl.when(pl.int_range(pl.len()) % 7 > 0).then(pl.col("price")))
    mean_age = float(np.float32(fit["age"].mean()))
    fit.write_parquet(tmp_path / "fit.parquet")
    new.write_parquet(tmp_path / "new.parquet")
    pl.DataFrame([{"item_id": i, **row} for i, row in items().items()]).with_columns(
        pl.when(pl.int_range(pl.len()) % 7 != 0).then(pl.col("price")).alias("price")
    ).write_parquet(tmp_path / "catalogue.parquet")
    subprocess.run(
        [
            str(Settings().training_python),
            "-c",
            _NVTABULAR,
            str(tmp_path),
            repr(mean_age),
            str(buckets),
        ],
        check=True,
        timeout=300,
        cwd=PROJECT_ROOT,
        env={"PYTHONPATH": str(PROJECT_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    theirs = pl.read_parquet(tmp_path / "transformed.parquet")
    content = json.loads((tmp_path / "transforms.json").read_text())
    ours = BatchTransform(content).transform_frame(new)
    assert ours.select(RANKER_CATEGORICAL).equals(theirs.select(RANKER_CATEGORICAL))
    for name in ("user_id", "item_id"):
        last = 3 + len(content["vocabulary"][name])
        assert (
            ours[name].filter(ours[name] >= last).n_unique() == buckets
            and content["cardinality"][name] == last + buckets
        )
    assert ours["user_id"][50] == 1
    assert (
        (ours["gender"] == 2).any()
        and (ours["user_id"] == 2).any()
        and len(content["vocabulary"]["item_id"]) == 40
    )
    for name in RANKER_CONTINUOUS:
        np.testing.assert_allclose(
            ours[name].to_numpy(), theirs[name].to_numpy(), rtol=0, atol=5e-7, err_msg=name
        )
