"""Ablations: what each variant's data lacks, and that nothing else differs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.evaluation import ablations, list_metrics
from recsys_assets.lib.evaluation.ablation_variants import VARIANTS, Variant, chosen
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.local_time import UTC
from recsys_assets.partitions import (
    day_bounds,
    previous_day,
    train_days,
    validation_days,
    window_days,
)
from recsys_assets.settings import Settings
from recsys_assets_tests.support import small_window

AS_OF = "2026-11-19"
ROLES = {
    "models": "exports/onnx",
    "workflows": "features/workflows",
    "aligned": "embeddings/aligned",
    "vectors": "retrieval/item_vectors",
}
LISTS = {"retrieval_topk": 20, "retrieval_weight": 2.5}
PARAMS = {"seed": 7, **LISTS}


def publish(store: ArtifactStore, kind: str, write, **metrics: object) -> Artifact:
    with store.stage(kind) as staged:
        found = write(staged.path)
        return staged.publish(found if isinstance(found, dict) else metrics)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A simulated window, linear models, queries, and a fifth of the items withheld."""
    settings = Settings(home=tmp_path_factory.mktemp("ablations"), seed=5)
    store = small_window.write_window(settings, AS_OF)
    small_window.write_generation(store, AS_OF)
    days, items = validation_days(AS_OF), store.current("raw/items")
    features, log = (
        store.require("features/interactions", days),
        store.require("raw/interactions", window_days(AS_OF)),
    )
    queries = publish(
        store,
        "evaluation/queries",
        lambda path: Queries.build(features, log, items, seed=7, rule=DEFAULT_RULE, zone=UTC).write(
            path
        ),
    )
    made_from = {role: store.current(kind, AS_OF) for role, kind in ROLES.items()}
    made_from["days_before"] = store.require(
        "features/interactions", [previous_day(day) for day in days]
    )
    withheld = publish(
        store,
        "withheld",
        lambda path: ablations.write_withheld(log, items, made_from["workflows"], path, seed=7),
    )
    return SimpleNamespace(
        store=store,
        items=items,
        log=log,
        queries=queries,
        features=features,
        made_from=made_from,
        withheld=withheld,
    )


def evaluate(shop, variant: Variant, **changed: object) -> Artifact:
    inputs = {"queries": shop.queries, "features": shop.features, **shop.made_from, **changed}
    return publish(
        shop.store,
        f"judged/{variant.name}",
        lambda path: ablations.write_evaluation(variant, target=path, params=PARAMS, **inputs),
    )


def lists(artifact: Artifact) -> np.ndarray:
    return Lists.read(artifact, "served").top


# --- variants
def test_variants_are_chosen_by_name():
    assert [variant.name for variant in chosen(["no_logq", "no_text", "no_logq"])] == [
        "no_logq",
        "no_text",
    ]
    with pytest.raises(ValueError, match="'no_price' given; choose from no_text"):
        chosen(["no_price"])
    with pytest.raises(ValueError, match="none given"):
        chosen([])


def test_variants_share_data_sets_where_their_rows_are_the_same():
    assert VARIANTS["cold_items"].rows == VARIANTS["cold_items_no_content"].rows == "cold_items"
    assert VARIANTS["no_text"].rows == VARIANTS["no_logq"].rows == "base"
    assert (
        len({VARIANTS[name].rows for name in ("no_context", "no_masking", "cold_items", "no_text")})
        == 4
    )


# --- data
def withhold_of(tmp_path: Path, first_days: dict[str, int], seed: int) -> pl.DataFrame:
    """The withheld items of a log in which each item occurs on its first day and on the last;
    "never" is not in it.
    """
    store, start = ArtifactStore(tmp_path / "artifacts"), day_bounds("2026-11-08")[0]
    frame = pl.DataFrame(
        {
            c.ITEM_ID: list(first_days) * 2,
            c.TIMESTAMP: [start + day * 86_400 + 5 for day in first_days.values()]
            + [start + 900_000] * len(first_days),
            c.EVENT_TYPE: c.VIEW,
        }
    )
    log = publish(store, "log", lambda path: frame.write_parquet(path / "interactions.parquet"))
    items = publish(
        store,
        "items",
        lambda path: pl.DataFrame({c.ITEM_ID: [*first_days, "never"]}).write_parquet(
            path / "items.parquet"
        ),
    )
    workflows = publish(
        store,
        "workflows",
        lambda path: (path / "transforms.json").write_text(
            json.dumps({"vocabulary": {c.ITEM_ID: ["never", *first_days]}})
        ),
    )
    made = publish(
        store,
        "withheld",
        lambda path: ablations.write_withheld([log], items, workflows, path, seed),
    )
    return pl.read_parquet(made.path("withheld.parquet"))


def test_the_newest_fifth_is_withheld_and_ties_are_drawn(tmp_path):
    first = {f"old{n:02}": 0 for n in range(18)} | {"new1": 3, "new2": 4}
    one = withhold_of(tmp_path, first, seed=1)
    assert (
        len(one) == 4 and {"new1", "new2"} < set(one["item_id"]) and "never" not in one["item_id"]
    )
    assert one.filter(pl.col("item_id") == "new2")["launched"].cast(pl.String).to_list() == [
        "2026-11-12"
    ]
    assert one["index"].to_list() == [
        c.VOCABULARY_START + 1 + list(first).index(item) for item in one["item_id"]
    ]
    assert withhold_of(tmp_path, first, seed=1).equals(one)
    assert {tuple(withhold_of(tmp_path, first, seed)["item_id"]) for seed in range(5)} != {
        tuple(one["item_id"])
    }


def test_embeddings_lose_a_half_and_withheld_items_their_id(shop, tmp_path):
    aligned, hidden = (
        shop.made_from["aligned"],
        pl.read_parquet(shop.withheld.path("withheld.parquet"))["index"].to_list(),
    )
    before, inputs = (
        np.load(aligned.path("embedding_table.npy")),
        dict(np.load(aligned.path("item_tower_inputs.npz"))),
    )

    def made(
        *without: str, withheld: Artifact | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        ablations.write_aligned(aligned, tmp_path, without, withheld)
        return np.load(tmp_path / "embedding_table.npy"), dict(
            np.load(tmp_path / "item_tower_inputs.npz")
        )

    table, same = made("text")
    assert not table[:, :64].any() and np.array_equal(table[:, 64:], before[:, 64:])
    assert all(np.array_equal(same[name], inputs[name]) for name in inputs)
    assert not made("image")[0][:, 64:].any() and not made("text", "image")[0].any()
    table, changed = made(withheld=shop.withheld)
    assert np.array_equal(table, before) and np.array_equal(changed["index"], inputs["index"])
    of_hidden = np.isin(inputs["index"], hidden)
    assert set(changed["cat"][of_hidden, 0]) == {c.OOV_INDEX} and np.array_equal(
        changed["cat"][~of_hidden], inputs["cat"][~of_hidden]
    )
    assert np.array_equal(changed["cat"][:, 1:], inputs["cat"][:, 1:])
    assert ablations.write_known_items(aligned, shop.withheld, tmp_path)["rows"] == len(
        inputs["index"]
    ) - len(hidden)
    assert not np.isin(np.load(tmp_path / "item_tower_inputs.npz")["index"], hidden).any()


@pytest.fixture(scope="module")
def datasets(shop) -> Artifact:
    """As features/datasets writes them, with a matrix of clicked rows whose first number names its
    item.
    """

    def write(target: Path) -> None:
        transform = Generation.of_training(**shop.made_from, retrieval_weight=0.0).transform
        for split, days in (("train", train_days(AS_OF)), ("valid", validation_days(AS_OF))):
            folder = target / split
            (folder / ".merlin").mkdir(parents=True)
            raw = pl.concat(
                [
                    pl.read_parquet(a.path("features.parquet"))
                    for a in shop.store.require("features/interactions", days)
                ]
            )
            rows = transform.transform_frame(raw).with_columns(
                raw[c.CLICK].cast(pl.Int32), raw[c.TIMESTAMP]
            )
            rows.write_parquet(folder / "part_0.parquet")
            np.save(
                target / f"{split}_history.npy",
                rows.filter(pl.col(c.CLICK) == 1).select(c.ITEM_ID).to_numpy().astype(np.uint8),
            )
            for name in ("_metadata", "schema.pbtxt", ".merlin/schema.json"):
                (folder / name).write_text(name)

    return publish(shop.store, "features/datasets", write)


def test_rows_of_withheld_items_leave_and_their_histories_with_them(shop, datasets, tmp_path):
    metrics = ablations.write_datasets(datasets, tmp_path, context=True, withheld=shop.withheld)
    hidden = pl.read_parquet(shop.withheld.path("withheld.parquet"))["index"].implode()
    for split in ("train", "valid"):
        before, after = (
            pl.read_parquet(datasets.path(f"{split}/part_0.parquet")),
            pl.read_parquet(tmp_path / split / "part_0.parquet"),
        )
        assert after.equals(before.filter(~pl.col(c.ITEM_ID).is_in(hidden))) and 0 < len(
            after
        ) < len(before)
        assert metrics[f"{split}_rows"] == len(after)
        of_clicks = after.filter(pl.col(c.CLICK) == 1)[c.ITEM_ID].to_numpy()
        assert np.array_equal(np.load(tmp_path / f"{split}_history.npy")[:, 0], of_clicks)
        assert (tmp_path / split / ".merlin" / "schema.json").exists() and not (
            tmp_path / split / "_metadata"
        ).exists()


def test_without_context_every_row_says_the_same(datasets, tmp_path):
    ablations.write_datasets(datasets, tmp_path, context=False)
    before, after = (
        pl.read_parquet(datasets.path("train/part_0.parquet")),
        pl.read_parquet(tmp_path / "train" / "part_0.parquet"),
    )
    context = [*c.CONTEXT_CATEGORICAL, *c.CONTEXT_CONTINUOUS]
    assert after.schema == before.schema and after.drop(context).equals(before.drop(context))
    assert (
        after.select(context).unique().rows() == [(c.OOV_INDEX, 0.0, 1.0, 0.0, 1.0)]
        and before.select(context).unique().height > 1
    )
    assert np.array_equal(
        np.load(tmp_path / "train_history.npy"), np.load(datasets.path("train_history.npy"))
    )


# --- judging
def test_a_variant_that_lacks_nothing_gives_the_base_lists(shop):
    base = evaluate(shop, Variant("nothing", ""))
    queries = Queries.read(shop.queries)
    expected = list_metrics.run(Generation.of_training(**shop.made_from, **LISTS).served, queries)
    assert np.array_equal(lists(base), expected.top)
    assert base.metrics["served"] == list_metrics.judge(expected.ranks, queries, 7)


def test_queries_lose_their_context_too(shop):
    """Another device and another hour change the base's lists, and not those of the variant without
    context.
    """
    queries = Queries.read(shop.queries)
    moved = queries.frame.with_columns(
        pl.lit("tablet").alias(c.DEVICE_TYPE),
        (pl.col(c.TIMESTAMP) // 86_400 * 86_400).alias(c.TIMESTAMP),
    )
    other = publish(
        shop.store,
        "other/queries",
        lambda path: dataclasses.replace(queries, frame=moved).write(path),
    )
    none, all_of_it = VARIANTS["no_context"], Variant("nothing", "")
    assert np.array_equal(lists(evaluate(shop, none)), lists(evaluate(shop, none, queries=other)))
    assert not np.array_equal(
        lists(evaluate(shop, all_of_it)), lists(evaluate(shop, all_of_it, queries=other))
    )


def test_withheld_items_are_as_new_as_on_their_launch_day(shop):
    generation = Generation.of_training(**shop.made_from, **LISTS)
    names = pl.read_parquet(shop.withheld.path("withheld.parquet"))["item_id"].to_list()
    hidden = np.isin(generation.item_ids, names)
    before = generation.popularity.values.copy()
    assert before[:, hidden].any()
    ablations.withhold(generation, names)
    after = generation.popularity.values
    assert not after[:, hidden].any() and np.array_equal(after[:, ~hidden], before[:, ~hidden])


def test_their_clicks_are_a_slice(shop):
    judged = evaluate(shop, VARIANTS["cold_items"], withheld=shop.withheld)
    queries = Queries.read(shop.queries)
    names = set(pl.read_parquet(shop.withheld.path("withheld.parquet"))["item_id"])
    inside = np.array([item in names for item in queries.item_ids[queries.true]]) & queries.overall
    part = judged.metrics["slices"]["cold_items"]
    assert part["queries"] == inside.sum() > 10 and 0 < part["random_recall@50"] <= 1
    assert (
        part["recall@10"]
        == list_metrics.list_metrics(
            Lists.read(judged, "served").ranks[inside], queries.users[inside], 7
        )["recall@10"]
    )
    assert "cold_items" not in evaluate(shop, VARIANTS["no_text"]).metrics["slices"]


# --- all of them
def test_differences_are_the_pairs_and_the_figures_show_the_base(shop, tmp_path):
    cold = evaluate(shop, VARIANTS["cold_items"], withheld=shop.withheld)
    variants = {"no_text": evaluate(shop, VARIANTS["no_text"]), "cold_items": cold}
    base = evaluate(shop, Variant("nothing", ""))
    queries = Queries.read(shop.queries)
    perfect = Lists(np.ones(len(queries), np.int32), Lists.read(base, "served").top)

    def flawless(path: Path) -> dict:
        np.savez(path / "lists.npz", **perfect.arrays("served"))
        return {**base.metrics, "served": list_metrics.judge(perfect.ranks, queries, 7)}

    variants["no_image"] = publish(shop.store, "judged/flawless", flawless)
    found = ablations.write_ablations(shop.queries, base, variants, tmp_path, 7, shop.withheld)
    assert list(found) == ["no_text", "cold_items", "no_image"]
    assert found["no_text"]["minus_base"]["ndcg@10"] == {
        "value": 0.0,
        "low": 0.0,
        "high": 0.0,
    }  # the same models and embeddings
    assert found["no_image"]["minus_base"]["ndcg@10"]["value"] == pytest.approx(
        1 - base.metrics["served"]["ndcg@10"]["value"]
    )
    assert {"served", "retrieval", "ranker", "slices"} <= set(found["cold_items"])
    # the base has learnt these items: its own lists over the same slice
    assert (
        found["cold_items"]["base_slices"]["cold_items"]["queries"]
        == found["cold_items"]["slices"]["cold_items"]["queries"]
    )
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "ndcg@10.md",
        "minus_base.md",
        "ablations_table.md",
    }
    table = (tmp_path / "figures" / "ablations_table.md").read_text()
    assert "| base | as they are |" in table and "| cold_items |" in table
    assert np.load(tmp_path / "lists.npz")["no_image_ranks"].max() == 1
    assert json.loads((tmp_path / "metrics.json").read_text()) == found
    shown = ablations.headline(found)
    assert (
        shown["cold_items"]["cold_items"]["recall@50"]
        == found["cold_items"]["slices"]["cold_items"]["recall@50"]
    )
