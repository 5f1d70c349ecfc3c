"""The oracle against the truth asked pair by pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from recsys_assets import columns as c
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.evaluation import oracle
from recsys_assets.lib.evaluation.list_metrics import Lists, judge, run
from recsys_assets.lib.evaluation.queries import VISITOR, Queries
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.lib.simulator.shop import load_truth
from recsys_assets.local_time import UTC
from recsys_assets.partitions import validation_days, window_days
from recsys_assets.settings import Settings
from recsys_assets_tests.support import small_window
from recsys_assets_tests.support.small_queries import queries

AS_OF = "2026-11-19"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    settings = Settings(home=tmp_path_factory.mktemp("oracle"), seed=5)
    return settings, small_window.write_window(settings, AS_OF)


@pytest.fixture(scope="module")
def asked(home) -> Queries:
    store = home[1]
    return Queries.build(
        store.require("features/interactions", validation_days(AS_OF)),
        store.require("raw/interactions", window_days(AS_OF)),
        store.current("raw/items"),
        seed=7,
        rule=DEFAULT_RULE,
        zone=UTC,
    )


@pytest.fixture(scope="module")
def truth(home):
    return load_truth(Path(home[0].landing))


def test_scores_are_the_truths_own(asked, truth):
    scores = oracle.Oracle(truth).scores(asked, np.arange(len(asked)))
    items = truth.item_index(asked.item_ids)
    real = np.flatnonzero(asked.overall)
    for row in [*real[:5], *real[-5:]]:
        [(user, device, at)] = (
            asked.frame[int(row)].select(VISITOR, "device_type", "timestamp").iter_rows()
        )
        expected = truth.click_probability(
            truth.user_index([user])[0], items, truth.device_index([device])[0], at
        )
        np.testing.assert_allclose(scores[row], expected)
    for row in np.flatnonzero(~asked.overall)[:5]:  # masked: nothing is known of the visitor
        [(device, at)] = asked.frame[int(row)].select("device_type", "timestamp").iter_rows()
        np.testing.assert_allclose(
            scores[row], truth.cold_click_probability(items, truth.device_index([device])[0], at)
        )


def test_what_the_simulator_does_not_know(truth):
    frame = pl.DataFrame(
        {"device_type": ["mobile", c.MISSING, "mobile"], "timestamp": [1_795_000_000] * 3}
    )
    known = str(truth.user_ids[3])
    item_ids = [*truth.item_ids[:4].tolist(), "unheard-of"]
    wanted = queries(
        [0, 1, 2], 5, users=["a-stranger", known, known], frame=frame, item_ids=item_ids
    )
    scores = oracle.Oracle(truth).scores(wanted, np.arange(3))
    np.testing.assert_allclose(
        scores[0, :4], truth.cold_click_probability(np.arange(4), 0, 1_795_000_000)
    )
    of_devices = [
        truth.click_probability(3, np.arange(4), device, 1_795_000_000) for device in range(3)
    ]
    np.testing.assert_allclose(scores[1, :4], np.mean(of_devices, axis=0))
    np.testing.assert_allclose(
        scores[2, :4], truth.click_probability(3, np.arange(4), 0, 1_795_000_000)
    )
    assert (scores[:, 4] == -np.inf).all()


def test_auc_is_that_of_the_position_free_probability(home, truth):
    exposures = pl.concat(
        [
            pl.read_parquet(a.path("features.parquet"))
            for a in home[1].require("features/interactions", validation_days(AS_OF))
        ]
    )
    scores = truth.click_probability(
        truth.user_index(exposures["user_id"]),
        truth.item_index(exposures["item_id"]),
        truth.device_index(exposures["device_type"]),
        exposures["timestamp"].to_numpy(),
    )
    found = oracle.exposure_auc(truth, exposures)
    assert (
        found["auc"] == pytest.approx(roc_auc_score(exposures["click"], scores))
        and found["auc"] > 0.65
    )
    assert (found["rows"], found["unknown_rows"]) == (exposures.height, 0)
    some = (
        pl.when(pl.int_range(pl.len()) < 10)
        .then(pl.lit("a-stranger"))
        .otherwise("user_id")
        .alias("user_id")
    )
    strangers = exposures.with_columns(some)
    assert oracle.exposure_auc(truth, strangers)["unknown_rows"] == 10


def test_it_is_written_where_the_landing_zone_was_simulated(home, asked, tmp_path):
    settings, store = home
    with store.stage("evaluation/queries", AS_OF) as staged:
        artifact = staged.publish(asked.write(staged.path))
    features = store.require("features/interactions", validation_days(AS_OF))
    with ArtifactStore(tmp_path).stage("evaluation/oracle", AS_OF) as staged:
        metrics = oracle.write_oracle(settings.landing, artifact, features, staged.path, seed=7)
        written = staged.publish(metrics)
    lists = run(oracle.Oracle(load_truth(Path(settings.landing))), asked)
    np.testing.assert_array_equal(Lists.read(written, "oracle").ranks, lists.ranks)
    assert (
        metrics["available"]
        and metrics["list"] == judge(lists.ranks, asked, 7)
        and "known_users" in metrics["slices"]
    )
    # popular items are not enough: the oracle knows the visitor
    from recsys_assets.lib.evaluation.list_metrics import SameForAll

    popular = run(SameForAll("popularity", asked.clicks), asked)
    assert metrics["list"]["ndcg@10"]["low"] > judge(popular.ranks, asked, 7)["ndcg@10"]["value"]


def test_lists_are_worth_the_truths_own_probabilities(asked, truth):
    top = np.stack(
        [np.random.default_rng(row).permutation(asked.items)[:10] for row in range(len(asked))]
    ).astype(np.int32)
    short = np.where(np.arange(10) < 4, top, -1)
    rates = oracle.expected_click_rates(truth, asked, {"whole": top, "short": short})
    items = truth.item_index(asked.item_ids)
    for row in np.flatnonzero(asked.overall)[:: max(1, len(asked) // 7)]:
        [(user, device, at)] = (
            asked.frame[int(row)].select(VISITOR, "device_type", "timestamp").iter_rows()
        )
        pairs = truth.click_probability(
            truth.user_index([user])[0], items[top[row]], truth.device_index([device])[0], at
        )
        assert rates["whole"][row] == pytest.approx(pairs.mean()) and rates["short"][
            row
        ] == pytest.approx(pairs[:4].sum() / 10)
    best = run(oracle.Oracle(truth), asked).top
    assert (
        (oracle.expected_click_rates(truth, asked, {"best": best})["best"][asked.overall]).mean()
        > rates["whole"].mean() * 2
    )


def test_an_item_that_the_simulator_lacks_is_worth_nothing(truth):
    frame = pl.DataFrame({"device_type": ["mobile"], "timestamp": [1_795_000_000]})
    wanted = queries(
        [0],
        2,
        users=[str(truth.user_ids[3])],
        frame=frame,
        item_ids=[str(truth.item_ids[0]), "unheard-of"],
    )
    rates = oracle.expected_click_rates(truth, wanted, {"a": np.array([[0, 1, *[-1] * 8]])})
    assert rates["a"] == pytest.approx(truth.click_probability(3, 0, 0, 1_795_000_000) / 10)


@pytest.mark.parametrize("landing", ["nowhere", "s3://a-bucket/landing"])
def test_an_ingested_log_has_none(home, tmp_path, landing):
    folder = tmp_path / "out"
    folder.mkdir()
    where = landing if "://" in landing else str(tmp_path / landing)
    assert oracle.truth_digest(where) == "none"
    assert oracle.write_oracle(where, None, [], folder, seed=7) == {
        "available": False
    } and not list(folder.iterdir())
