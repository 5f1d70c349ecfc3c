"""A generation against serving's own stages on the same files, and an older one on a catalogue that
has moved on.
"""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.evaluation import generation as g
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.daily_popularity import DailyPopularity
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks
from recsys_assets.lib.evaluation.query_sources import QuerySources, folds
from recsys_assets.lib.feature_store.popular_now import period_key
from recsys_assets.lib.features.counted_clicks import counted
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.lib.features.transforms import Transforms
from recsys_assets.lib.ranking.places import NewItemPlaces
from recsys_assets.lib.release import releases
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.forward_decay import period_of, period_start, weights
from recsys_assets.lib.sources.sources import MostPopular
from recsys_assets.local_time import UTC
from recsys_assets.partitions import day_bounds
from recsys_assets.release_files import INDEX
from recsys_assets.serving.stages.candidate_sources import CandidateSources
from recsys_assets.serving.stages.embedding_lookup import MultimodalEmbeddingLookup
from recsys_assets.serving.stages.item_lookup import FeastItemLookup
from recsys_assets.serving.stages.onnx_models import DlrmRanking, QueryTower
from recsys_assets.serving.stages.ordering import Ordering, SoftmaxSampling
from recsys_assets.serving.stages.retrieval import FaissRetrieval, Searcher
from recsys_assets.serving.stages.seen_items import FilterSeenItems
from recsys_assets.serving.stages.tabular import (
    NvtContextTransform,
    NvtItemTransform,
    NvtUserTransform,
    UnrollFeatures,
)
from recsys_assets.serving.stores.availability import Unavailable
from recsys_assets.serving.stores.item_table import ItemColumns
from recsys_assets.serving.stores.live_popularity import LivePopularity
from recsys_assets.settings import VISITOR_DATABASE, Settings
from recsys_assets.source_names import ALL_SOURCES, POPULAR_NOW, POPULARITY, RETRIEVAL
from recsys_assets_tests.support import linear_onnx, tiny_payload, tiny_store
from recsys_assets_tests.support.seen import mark_seen
from recsys_assets_tests.support.small_queries import queries
from recsys_assets_tests.support.tiny_payload import ITEM_IDS

DAYS, Q = ["2026-01-09", "2026-01-10"], 24
OVER_FETCH, RETRIEVAL_TOPK, RANKING_TOPK = 4, 8, 6


def frame() -> pl.DataFrame:
    """Feature rows of Q queries on the two days after DAYS, of known, unknown and masked visitors
    with their click histories.
    """
    rng = np.random.default_rng(2)
    users = [*tiny_payload.USERS, "a-stranger", "-1"]
    items = tiny_payload.items()
    rows = []
    for n in range(Q):
        user, item = users[n % len(users)], ITEM_IDS[int(rng.integers(40))]
        known = tiny_payload.USERS.get(user, {"age": None, "gender": "-1"})
        clicked = rng.choice(
            [*tiny_payload.CATEGORIES, "never seen"], int(rng.integers(9))
        ).tolist()
        n_long = (
            0 if user == "-1" else len(clicked)
        )  # of a masked visitor nothing counts, whatever was clicked
        n24 = int(rng.integers(n_long + 1))
        counted, recent = (
            clicked[len(clicked) - size :].count(items[item]["category_l1"])
            for size in (n_long, n24)
        )
        rows.append(
            {
                "event_id": f"e{n}",
                "user_id": user,
                "item_id": item,
                "device_type": ["mobile", "desktop", "-1"][n % 3],
                "timestamp": day_bounds(DAYS[n % 2])[1] + int(rng.integers(86_400)),
                "click": n % 2,
                **known,
                "top_category": ["-1", "books", "tools"][n % 3],
                "clicks_24h": float(n24),
                "hours_since_click": 24.0 - n / 2,
                "clicks_look_back": float(n_long),
                "category_clicks_look_back": float(counted),
                "category_clicks_24h": float(recent),
                "categories": clicked,
                "items": rng.choice(ITEM_IDS, len(clicked)).tolist(),
                "ages": np.sort(rng.uniform(0.1, 700, len(clicked)))[::-1].tolist(),
                **items[item],
            }
        )
    return pl.DataFrame(
        rows,
        schema_overrides={
            "age": pl.Float32,
            "click": pl.Int8,
            "categories": pl.List(pl.String),
            "items": pl.List(pl.String),
            "ages": pl.List(pl.Float32),
        },
        infer_schema_length=None,
    )


def clicks_of(day: int, item: int) -> float:
    return float((item * 7 + day * 5) % 11)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The tiny payload as a release, the artifacts it was made from, and two days' popularity."""
    root = tmp_path_factory.mktemp("release")
    settings, store = Settings(home=root), ArtifactStore(root / "artifacts")
    for n, day in enumerate(DAYS):
        with store.stage("features/interactions", day) as staged:
            pl.DataFrame(
                {
                    "item_id": [*ITEM_IDS, "gone"],
                    "item_clicks": [clicks_of(n, i) for i in range(41)],
                    "timestamp": day_bounds(day)[1],
                },
                schema_overrides={"item_clicks": pl.Float32},
            ).write_parquet(staged.path / "item_popularity.parquet")
            staged.publish()
    content, snapshot = Transforms.from_dict(tiny_payload.transforms()), tiny_payload.items()
    index = np.arange(3, 43, dtype=np.int32)
    codes = content.item_codes(
        *(
            [snapshot[i][name] for i in ITEM_IDS]
            for name in ("category_l1", "category_l2", "item_gender")
        )
    )
    price = content.price_log_norm(np.array([snapshot[i]["price"] for i in ITEM_IDS]))
    with store.stage("embeddings/aligned", "d") as staged:
        # the item tower knows the first items by their content alone; the ranker must know them all
        # the same
        ids = np.where(index < 10, 2, index)
        np.savez(
            staged.path / "item_tower_inputs.npz",
            index=index,
            cat=np.column_stack([ids, codes]),
            cont=price[:, None],
        )
        np.save(staged.path / "embedding_table.npy", tiny_payload.embedding_table())
        aligned = staged.publish()
    with store.stage("retrieval/item_vectors", "d") as staged:
        order = np.random.default_rng(1).permutation(40)  # rows need not stand in index order
        np.save(staged.path / "item_vectors.npy", tiny_payload.item_vectors()[order])
        np.save(staged.path / "item_index.npy", index[order])
        vectors = staged.publish()
    with store.stage("retrieval/faiss_index", "d", inputs={"item_vectors": vectors}) as staged:
        faiss_index = staged.publish()
    with store.stage("features/workflows", "d") as staged:
        (staged.path / "transforms.json").write_text(json.dumps(tiny_payload.transforms()))
        workflows = staged.publish()
    made_from = {"workflows": workflows, "aligned": aligned, "faiss_index": faiss_index}
    with store.stage("serving/release", "000001", inputs=made_from) as staged:
        tiny_payload.write_models(staged.path, settings)
        (staged.path / "release.json").write_text(
            json.dumps(
                {
                    "release": 1,
                    "kind": "full",
                    "day": "d",
                    "generation": 1,
                    "versions": {},
                    "gate": None,
                    "metrics": {},
                    "known_user": None,
                }
            )
        )
        payload = staged.publish()
    days_before = store.require("features/interactions", DAYS)
    made = g.Generation.of_release(
        store, releases.open_release(store, 1), days_before, retrieval_topk=RETRIEVAL_TOPK
    )
    return SimpleNamespace(
        store=store,
        days_before=days_before,
        generation=made,
        models=payload.local / "models",
        settings=settings,
    )


def asked(seen_share: float = 0.5, item_ids=ITEM_IDS):
    rng = np.random.default_rng(9)
    rows = frame()
    seen = [
        () if user == "-1" else np.flatnonzero(rng.random(40) < seen_share).tolist()
        for user in rows["user_id"]
    ]
    true = [next(i for i in range(40) if i not in s) for s in seen]
    return queries(
        true, 40, seen=seen, frame=rows, users=rows["user_id"].to_list(), item_ids=item_ids
    )


def serve(
    shop,
    row: dict,
    client,
    blend: Blend | None = None,
    clicks: pl.DataFrame | None = None,
    popular_now: LivePopularity | None = None,
    places: NewItemPlaces | None = None,
) -> dict[str, np.ndarray]:
    """One query through the stages of serving, on the release's files; the filter reads the real
    store. clicks: {item_id, timestamp} of the visitor, oldest first.
    """
    models, content = shop.models, tiny_payload.transforms()
    transforms = Transforms.from_dict(content)
    day = DAYS.index(
        next(d for d in DAYS if day_bounds(d)[1] <= row["timestamp"] < day_bounds(d)[1] + 86_400)
    )
    records = tiny_payload.items().values()
    codes = transforms.item_codes(
        *([row[name] for row in records] for name in ("category_l1", "category_l2", "item_gender"))
    )
    table = ItemColumns(
        0,
        codes,
        np.array([[row["price"], clicks_of(day, n)] for n, row in enumerate(records)], np.float32),
    )
    searcher = Searcher.open(models / "faiss_retrieval" / INDEX)
    stages = [
        NvtUserTransform(transforms),
        NvtContextTransform(transforms),
        QueryTower.open(models / "query_tower", shop.settings, 1),
        FaissRetrieval(searcher, RETRIEVAL_TOPK + (OVER_FETCH if blend is None else 100)),
        CandidateSources(blend, popular_now),
        FilterSeenItems(
            client,
            Unavailable(shop.settings),
            lambda: searcher,
            ITEM_IDS,
            np.array(range(42, 22, -1)),
            most=RETRIEVAL_TOPK,
            least=RANKING_TOPK,
            rule=DEFAULT_RULE,
            zone=UTC,
            clock=lambda: row["timestamp"],
        ),
        FeastItemLookup(SimpleNamespace(current=table)),
        NvtItemTransform(transforms),
        MultimodalEmbeddingLookup.open(models / "multimodal_embedding_lookup", shop.settings, 1),
        UnrollFeatures(),
        DlrmRanking.open(models / "dlrm_ranking", shop.settings, 1),
        SoftmaxSampling(
            Ordering(
                RETRIEVAL_TOPK if places is None else places.length,
                "off",
                1.0,
                1.0,
                0,
                tiny_payload.RETRIEVAL_WEIGHT if blend is None else 1.0,
            ),
            places,
        ),
    ]
    age = content["mean_age"] if row["age"] is None else row["age"]
    counted = slice(len(row["categories"]) - int(row["clicks_look_back"]), None)
    tensors = {
        "visitor_id": np.array([row["user_id"]], object),
        "context_device": np.array([row["device_type"]], object),
        "context_timestamp": np.array([row["timestamp"]]),
        "context_top_k": np.array([-1], np.int32),
        "context_seed": np.array([-1]),
        "user_raw": np.array([[row["user_id"], row["gender"], row["top_category"]]], object),
        "user_numbers": np.array(
            [[age, row["clicks_24h"], row["hours_since_click"], row["clicks_look_back"]]],
            np.float32,
        ),
        "user_history_raw": np.array(row["categories"][counted], object),
        "user_items_raw": np.array(row["items"][counted], object),
        "user_ages_raw": np.array(row["ages"][counted], np.float32),
    }
    for stage in stages:
        if clicks is not None and stage.name == CandidateSources.name:
            ages = (row["timestamp"] - clicks["timestamp"].to_numpy()[::-1]) / 3600
            items = [ITEM_IDS.index(item) + 3 for item in clicks["item_id"].to_list()[::-1]]
            tensors["user_items"][:] = 0
            tensors["user_items"][0, : len(items)] = items[:50]
            tensors["user_ages"][0, : len(ages)] = ages[:50]
        tensors |= stage.run({spec.name: tensors[spec.name] for spec in stage.inputs})
        tensors |= stage.explain(tensors)
    return tensors


@pytest.mark.services
def test_served_as_the_stages_serve(shop, valkey):
    wanted = asked()
    client = valkey.client(VISITOR_DATABASE)
    scores = shop.generation.served.scores(wanted, np.arange(Q))
    widened = reordered = remembered = 0
    for n, row in enumerate(wanted.frame.rows(named=True)):
        client.flushdb()
        if row["user_id"] != "-1":
            seen = [ITEM_IDS[i] for i in np.flatnonzero(wanted.seen(np.array([n]))[0])]
            mark_seen(
                client, row["user_id"], seen, row["timestamp"], seen_days=30_000
            )  # kept, though long ago
        served = serve(shop, row, client)
        shown = np.flatnonzero(scores[n] > -np.inf)
        assert sorted(shown) == sorted(served["kept"] - 3), n
        ordered = served["sampled_items"] - 3
        np.testing.assert_allclose(scores[n, ordered], served["sampled_scores"], atol=1e-6)
        np.testing.assert_array_equal(ordered, shown[np.argsort(-scores[n, shown], kind="stable")])
        widened += len(set(served["kept"].tolist()) - set(served["candidates"].tolist()))
        reordered += not np.array_equal(
            served["kept"][np.argsort(-served["scores"], kind="stable")], served["sampled_items"]
        )
        remembered += bool(served["user_history"].any())
    # the growing over-fetch, the blend with retrieval and the click history took part
    assert widened > 5 and reordered > Q / 2 and Q / 2 < remembered < Q


def in_order(scores: np.ndarray, count: int) -> list[int]:
    """The items of the highest scores, best first."""
    return np.argsort(-scores, kind="stable")[:count].tolist()


@pytest.mark.services
@pytest.mark.parametrize("length", [3, 5])
def test_new_items_have_their_places_as_the_stages_give_them(shop, valkey, length):
    """With retrieval alone: the list is short, so that its last place is a reserved one."""
    wanted = asked(0.1)
    young = np.arange(40) % 6 == 1
    places = NewItemPlaces(10, young, length)
    made = shop.generation.with_sources(None, places)
    scores, plain = (one.served.scores(wanted, np.arange(Q)) for one in (made, shop.generation))
    client, moved, left = valkey.client(VISITOR_DATABASE), 0, 0
    for n, row in enumerate(wanted.frame.rows(named=True)):
        client.flushdb()
        if row["user_id"] != "-1":
            seen = [ITEM_IDS[i] for i in np.flatnonzero(wanted.seen(np.array([n]))[0])]
            mark_seen(client, row["user_id"], seen, row["timestamp"], seen_days=30_000)
        served = serve(shop, row, client, places=places)
        ordered = (served["sampled_items"] - 3).tolist()
        assert len(ordered) == length == len(set(ordered))
        assert in_order(scores[n], length) == ordered, n
        # the candidates are the same, and those outside the list keep their order
        before, after = in_order(plain[n], RETRIEVAL_TOPK), in_order(scores[n], RETRIEVAL_TOPK)
        assert set(before) == set(after)
        moved += before[:length] != ordered
        left += not set(before[:length]) <= set(ordered)
        others = [one for one in before if one not in ordered]
        assert [one for one in after[length:] if one in others] == others
    assert moved > 1 and left > 0, (moved, left)


@pytest.mark.services
@pytest.mark.parametrize("every", [0, 10])
def test_served_by_sources_as_the_stages_serve(shop, valkey, tmp_path, every):
    """What the evaluation judges is what the stages answer, with all kinds of sources."""
    wanted, rng = asked(), np.random.default_rng(4)
    young = np.zeros(40, bool)
    young[-3:] = True
    places = NewItemPlaces(every, young, 5) if every else None
    found, online = tiny_payload.sources(), tiny_store.settings_on(tmp_path, valkey)
    blends = tuple(
        Blend(found, {RETRIEVAL: own, **{one.name: 1 - own for one in found}}, young, every)
        for own in (0.2, 0.7)
    )
    log = pl.concat(
        pl.DataFrame(
            {
                "event_id": [f"c{n}-{k}" for k in range(size)],
                "user_id": row["user_id"],
                "item_id": rng.choice(ITEM_IDS, size).tolist(),
                "timestamp": sorted(row["timestamp"] - rng.integers(-5_000, 500_000, size)),
            }
        )
        for n, row in enumerate(wanted.frame.rows(named=True))
        if (size := int(rng.integers(1, 9)))
    ).sort("timestamp")
    sources = QuerySources(blends, LatestClicks.of(log, ITEM_IDS, 7))
    made = shop.generation.with_sources(sources, places)
    scores, parts = made.served.scores(wanted, np.arange(Q)), folds(wanted)
    client, moved, owed = valkey.client(VISITOR_DATABASE), 0, 0
    for n, row in enumerate(wanted.frame.rows(named=True)):
        client.flushdb()
        known = row["user_id"] != "-1"
        if known:
            seen = [ITEM_IDS[i] for i in np.flatnonzero(wanted.seen(np.array([n]))[0])]
            mark_seen(client, row["user_id"], seen, row["timestamp"], seen_days=30_000)
        mine = log.filter(
            pl.col("user_id") == row["user_id"],
            pl.lit(known),
            pl.col("timestamp") < row["timestamp"],
            pl.col("timestamp") >= row["timestamp"] - 7 * 86_400,
        )
        # what the consumer has counted of all visitors, read by the reader of the stage
        past = counted(log.filter(pl.col("timestamp") < row["timestamp"]))
        period = period_of(row["timestamp"], 3)
        weight = weights(past["timestamp"].to_numpy(), period_start(period, 3), 3)
        counts = past.with_columns(weight=weight).group_by("item_id").agg(pl.col("weight").sum())
        if counts.height:
            client.zadd(period_key(3, period), dict(counts.iter_rows()))
        popular = LivePopularity(online, found[-1], clock=lambda at=row["timestamp"]: at)
        assert popular.poll()
        served = serve(shop, row, client, blends[parts[n]], mine, popular, places)
        popular.close()
        listed = served["union_found_by"] >> ALL_SOURCES.index(POPULAR_NOW) & 1
        assert listed.sum() == len(popular.lists[3])
        owed += int((served["union_mostly"] == ALL_SOURCES.index(POPULAR_NOW)).sum())
        shown = np.flatnonzero(scores[n] > -np.inf)
        assert sorted(shown) == sorted(served["kept"] - 3), n
        ordered = served["sampled_items"] - 3
        if places is None:
            np.testing.assert_allclose(scores[n, ordered], served["sampled_scores"], atol=1e-6)
        assert in_order(scores[n], len(ordered)) == ordered.tolist()
        if every:  # the young items of the source are among the candidates of every visitor
            listed = young[served["union"] - 3]
            assert listed.sum() == 3 and listed[:3].all()
        plain = serve(shop, row, client)["sampled_items"] - 3
        moved += not np.array_equal(plain, ordered)
    assert set(parts) == {0, 1} and moved > Q / 2 and owed > Q


@pytest.mark.parametrize("by_sources", [False, True])
def test_an_item_that_left_the_catalogue_is_as_hidden(shop, by_sources):
    """It takes no candidate's place: the lists are those of visitors who have all seen it."""
    made, rows = shop.generation, np.arange(Q)
    if by_sources:
        weights_of, young = {RETRIEVAL: 1.0, POPULARITY: 0.1}, np.zeros(40, bool)
        blend = Blend((MostPopular(np.arange(40)),), weights_of, young)
        none = pl.DataFrame(
            schema={
                "event_id": pl.String,
                "user_id": pl.String,
                "item_id": pl.String,
                "timestamp": pl.Int64,
            }
        )
        made = made.with_sources(QuerySources((blend,), LatestClicks.of(none, ITEM_IDS, 7)))
    true, users = [0] * Q, frame()["user_id"].to_list()
    everything = queries(true, 40, frame=frame(), users=users, item_ids=ITEM_IDS)
    whole = made.served.scores(everything, rows)
    often = int((whole > -np.inf)[:, 1:].sum(axis=0).argmax()) + 1
    ids = ["unknown" if n == often else item for n, item in enumerate(ITEM_IDS)]
    left, seen = (
        made.served.scores(
            queries(true, 40, frame=frame(), users=users, item_ids=item_ids, seen=hides), rows
        )
        for item_ids, hides in ((ids, None), (ITEM_IDS, [[often]] * Q))
    )
    np.testing.assert_array_equal(left, seen)
    assert ((left > -np.inf).sum(axis=1) == RETRIEVAL_TOPK).all()
    assert ((whole > -np.inf) & (left == -np.inf))[:, often].sum() > Q / 2


def test_retrieval_is_the_inner_product(shop):
    wanted = asked()
    scores = shop.generation.retrieval.scores(wanted, np.array([3, 1]))
    inputs = shop.generation.query_inputs(wanted.frame)
    query = (
        np.concatenate([inputs["cat"], inputs["cont"], inputs["history"]], axis=1)[[3, 1]]
        @ tiny_payload.weights()["query_tower"]
    )
    expected = query / np.linalg.norm(query, axis=1, keepdims=True) @ tiny_payload.item_vectors().T
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_click_scores_are_those_of_the_pairs(shop):
    """A row of an exposure and a pair of query and item are the same question."""
    rows = frame()
    item = np.array([ITEM_IDS.index(i) for i in rows["item_id"]])
    day = (rows["timestamp"].to_numpy() - day_bounds(DAYS[0])[1]) // 86_400
    of_day = pl.Series([clicks_of(d, i) for d, i in zip(day, item, strict=True)], dtype=pl.Float32)
    alone = shop.generation.click_scores(rows.with_columns(of_day.alias("item_clicks")))
    everything = g.Generation.of_release(
        shop.store, releases.open_release(shop.store, 1), shop.days_before, retrieval_topk=40
    )
    everything.retrieval_weight = 0.0
    scores = everything.served.scores(asked(0.0), np.arange(Q))
    assert (rows["category_clicks_look_back"] > 0).sum() > 5
    np.testing.assert_allclose(alone, scores[np.arange(Q), item], atol=1e-6)
    assert len(shop.generation.click_scores(rows[:0])) == 0


def test_an_older_generation_never_shows_what_it_does_not_know(shop):
    known = asked(0.2)
    moved_on = asked(
        0.2, item_ids=[f"new-{n}" if n % 4 == 0 else item for n, item in enumerate(ITEM_IDS)]
    )
    for system in (shop.generation.retrieval, shop.generation.served):
        before, after = (system.scores(of, np.arange(Q)) for of in (known, moved_on))
        assert np.isinf(after[:, ::4]).all()
        if system.name == "retrieval":
            kept = [i for i in range(40) if i % 4]
            np.testing.assert_array_equal(before[:, kept], after[:, kept])
    ranks = list_metrics.run(shop.generation.retrieval, moved_on).ranks
    assert (ranks[moved_on.true % 4 == 0] == 41).all() and (
        ranks[moved_on.true % 4 > 0] <= 40
    ).all()


def test_other_models_of_the_same_generation(shop, tmp_path):
    """What a fine-tune changes: the models alone."""
    weights = linear_onnx.write_models(tmp_path, history=tiny_payload.WIDTH)
    wanted, rows = asked(0.0), np.arange(Q)
    tuned = shop.generation.with_models(tmp_path / "query_tower.onnx", tmp_path / "dlrm.onnx")
    before = shop.generation.retrieval.scores(wanted, rows)
    query = linear_onnx.answer(weights["query_tower.onnx"], tuned.query_inputs(wanted.frame))
    np.testing.assert_allclose(
        tuned.retrieval.scores(wanted, rows), query @ tiny_payload.item_vectors().T, atol=1e-5
    )
    expected = linear_onnx.answer(weights["dlrm.onnx"], tuned.row_inputs(wanted.frame))
    np.testing.assert_allclose(tuned.click_scores(wanted.frame), expected, atol=1e-6)
    # the one it was made from answers as before
    np.testing.assert_array_equal(shop.generation.retrieval.scores(wanted, rows), before)
    with pytest.raises(FileNotFoundError, match="exports/onnx"):
        shop.generation.with_models(tmp_path / "none.onnx", tmp_path / "dlrm.onnx")


def test_the_blend_is_that_of_the_release(shop):
    """By hand from both stages' answers; the nearest item keeps its probability."""
    assert shop.generation.retrieval_weight == tiny_payload.RETRIEVAL_WEIGHT
    everything, wanted, rows = copy.copy(shop.generation), asked(0.0), np.arange(Q)
    everything.retrieval_topk = 40
    blended, near = (
        everything.served.scores(wanted, rows),
        everything.retrieval.scores(wanted, rows).astype(float),
    )
    everything.retrieval_weight = 0.0
    alone = everything.served.scores(wanted, rows).astype(float)
    logit = np.log(alone / (1 - alone)) + tiny_payload.RETRIEVAL_WEIGHT * (
        near - near.max(axis=1, keepdims=True)
    )
    np.testing.assert_allclose(blended, 1 / (1 + np.exp(-logit)), atol=1e-6)
    best = near.argmax(axis=1)
    np.testing.assert_allclose(blended[rows, best], alone[rows, best], atol=1e-7)


def test_each_day_sees_the_clicks_of_the_day_before(shop):
    popularity = DailyPopularity.read(shop.days_before, ["item-02", "unheard-of", "item-00"])
    assert popularity.values.dtype == np.float32
    np.testing.assert_array_equal(
        popularity.values,
        np.log1p([[clicks_of(d, 2), 0, clicks_of(d, 0)] for d in (0, 1)]).astype(np.float32),
    )
    first = day_bounds(DAYS[0])[1]
    assert popularity.rows(np.array([first, first + 86_399, first + 86_400])).tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="give features/interactions of the day before each"):
        popularity.rows(np.array([first - 1]))


def test_days_that_do_not_follow_one_another_are_refused(shop, tmp_path):
    days = []
    for day in ("2026-01-08", "2026-01-10"):
        with ArtifactStore(tmp_path).stage("features/interactions", day) as staged:
            pl.DataFrame(
                {"item_id": ["a"], "item_clicks": [1.0], "timestamp": [day_bounds(day)[1]]}
            ).write_parquet(staged.path / "item_popularity.parquet")
            days.append(staged.publish())
    with pytest.raises(ValueError, match="features/interactions of days in a row"):
        DailyPopularity.read(days, ["a"])
