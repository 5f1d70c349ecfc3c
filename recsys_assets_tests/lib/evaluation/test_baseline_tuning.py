"""Tuning: the same budget for all, the same result for the same seed, and nothing of the validation
days.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.evaluation import baseline_tuning, list_metrics
from recsys_assets.lib.evaluation.baseline_spaces import DEFAULTS, POPULAR, SPACES, Between
from recsys_assets.lib.evaluation.baseline_tuning import Budget, Fitter, Tuned
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.local_time import UTC
from recsys_assets.partitions import (
    INNER_DAYS,
    day_bounds,
    train_days,
    validation_days,
    window_days,
)
from recsys_assets_tests.support import small_clicks

AS_OF = "2026-01-12"
WINDOW, TRAIN, VALIDATION = window_days(AS_OF), train_days(AS_OF), validation_days(AS_OF)
BUDGET = Budget(trials=5, users=100, clicks=400)
NAMES = ["random", "popularity", *SPACES]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    store = ArtifactStore(tmp_path_factory.mktemp("shop"))
    small_clicks.publish_shop(store, WINDOW)
    small_clicks.publish_queries(store, AS_OF, WINDOW, VALIDATION)
    return store


def write(
    store: ArtifactStore,
    target: Path,
    interactions: list[Artifact] | None = None,
    train: list[str] = TRAIN,
    seed: int = 7,
    inner: int = INNER_DAYS,
) -> dict[str, Any]:
    target.mkdir()
    return baseline_tuning.write_baselines(
        store.current("evaluation/queries", AS_OF),
        interactions or store.require("raw/interactions", WINDOW),
        store.require("features/interactions", TRAIN[len(TRAIN) - inner :]),
        store.current("raw/items"),
        target,
        train_days=train,
        budget=BUDGET,
        seed=seed,
        seen_rule=store.current("features/seen_rule", AS_OF),
        time_zone=UTC,
    )


def found(metrics: dict[str, Any]) -> dict[str, Any]:
    """Everything but the seconds."""
    return {
        name: {
            **{key: value for key, value in of.items() if key != "seconds"},
            "tuning": [
                {key: value for key, value in trial.items() if key != "seconds"}
                for trial in of["tuning"]
            ],
        }
        for name, of in metrics.items()
    }


@pytest.fixture(scope="module")
def written(
    store: ArtifactStore, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    target = tmp_path_factory.mktemp("written") / "baselines"
    return target, write(store, target)


def test_every_baseline_answers_every_query_and_has_its_metrics(written, store):
    target, metrics = written
    asked = Queries.read(store.current("evaluation/queries", AS_OF))
    assert list(metrics) == NAMES
    with np.load(target / "lists.npz", allow_pickle=False) as lists:
        assert sorted(lists) == sorted(
            f"{name}_{part}" for name in NAMES for part in ("ranks", "top")
        )
        for name in NAMES:
            assert lists[f"{name}_ranks"].shape == (len(asked),) and lists[f"{name}_top"].shape == (
                len(asked),
                10,
            )
            again = list_metrics.judge(lists[f"{name}_ranks"], asked, 7)
            assert {key: metrics[name][key] for key in again} == again
    for name in ("follow_ups", "session_knn", "item_knn", "ease", "ials"):
        assert metrics[name]["ndcg@10"]["low"] > metrics["popularity"]["ndcg@10"]["high"], (
            "of blocks, a profile tells the block"
        )


def test_all_have_the_same_budget_and_none_ends_below_its_default(written):
    for name, space in SPACES.items():
        of = written[1][name]
        trials = of["tuning"]
        assert [trial["trial"] for trial in trials] == list(range(BUDGET.trials))
        assert {key: trials[0][key] for key in space} == DEFAULTS[name]
        best = max(trials, key=lambda trial: trial["value"])
        assert (
            of["params"] == {key: best[key] for key in space}
            and best["value"] >= trials[0]["value"]
        )
        assert len({str({key: trial[key] for key in space}) for trial in trials}) == BUDGET.trials


def test_the_same_seed_finds_the_same(written, store, tmp_path):
    again = write(store, tmp_path / "again")
    assert found(again) == found(written[1])
    assert (tmp_path / "again" / "lists.npz").read_bytes() == (
        written[0] / "lists.npz"
    ).read_bytes()
    assert (
        found(write(store, tmp_path / "other", seed=8))["ease"]["tuning"]
        != found(again)["ease"]["tuning"]
    )


def test_the_validation_days_tune_nothing(written, store, tmp_path):
    other = ArtifactStore(tmp_path / "other shop")
    small_clicks.publish_shop(other, VALIDATION, seed=99)
    days = store.require("raw/interactions", TRAIN) + other.require("raw/interactions", VALIDATION)
    metrics = found(write(store, tmp_path / "target", interactions=days))
    for name in SPACES:
        assert metrics[name]["tuning"] == found(written[1])[name]["tuning"]
    # what visitors did before a query of the validation days is known to it
    assert metrics["ease"]["ndcg@100"] != written[1]["ease"]["ndcg@100"]


def test_the_figures_say_what_was_tried(written):
    figures = {path.name: path.read_text() for path in (written[0] / "figures").iterdir()}
    assert sorted(figures) == ["baselines.md", "ndcg@10.md", "recall@100.md", "tuning.md"]
    assert (
        figures["tuning.md"].startswith("5 trials each, judged by ndcg@10 on ")
        and "last 2 training days" in figures["tuning.md"]
    )
    assert all(name in figures["baselines.md"] for name in NAMES) and figures[
        "ndcg@10.md"
    ].startswith("![")


def test_with_two_training_days_one_tunes_and_with_one_the_defaults_stay(store, tmp_path):
    two = write(store, tmp_path / "two", train=TRAIN[-2:], inner=1)
    assert all(len(two[name]["tuning"]) == BUDGET.trials for name in SPACES)
    one = write(store, tmp_path / "one", train=TRAIN[-1:], inner=0)
    for name in SPACES:
        assert one[name]["params"] == DEFAULTS[name] and one[name]["tuning"] == []
        assert one[name]["ndcg@10"]["value"] > 0
    assert "no click to tune by" in (tmp_path / "one" / "figures" / "tuning.md").read_text()


# --- point in time
ASKED = 106  # days since 1970: models are fitted on the clicks before
HISTORY = small_clicks.interactions(small_clicks.block_clicks(range(100, ASKED + 3), seed=5))
SECOND = pl.col(c.TIMESTAMP)


def scores(name: str, frame: pl.DataFrame, asked: Queries) -> np.ndarray:
    log = ClickLog.of(frame, small_clicks.ITEMS)
    fitter = Fitter.of(log.before(ASKED), log, seed=1)
    return np.asarray(fitter(name, DEFAULTS[name]).scores(asked, np.arange(len(asked))))


@pytest.mark.parametrize("name", SPACES)
def test_a_click_at_or_after_the_query_changes_nothing_and_one_before_does(name):
    # a click of the second day: its visitor clicks before and after it on this day
    busy = (
        HISTORY.filter(SECOND // c.SECONDS_PER_DAY == ASKED + 1)
        .group_by(c.USER_ID)
        .agg(SECOND.sort().alias("at"))
        .filter(pl.col("at").list.len() > 2)
        .sort(c.USER_ID)
    )
    user, at = busy[c.USER_ID][0], busy["at"][0][1]
    asked = small_clicks.queries([(user, "i0", ASKED + 1)], small_clicks.ITEMS)
    asked.frame.replace_column(
        asked.frame.get_column_index(c.TIMESTAMP), pl.Series(c.TIMESTAMP, [at])
    )
    found = scores(name, HISTORY, asked)
    until = HISTORY.filter(SECOND < at)
    np.testing.assert_array_equal(scores(name, until, asked), found)
    extra = HISTORY.filter(pl.col(c.USER_ID) == user).head(1)
    at_once = extra.with_columns(
        pl.lit(at, pl.Int64).alias(c.TIMESTAMP), pl.lit("i7").alias(c.ITEM_ID)
    )
    np.testing.assert_array_equal(scores(name, pl.concat([HISTORY, at_once]), asked), found)
    before = at_once.with_columns(SECOND - 1)
    changed = not np.array_equal(scores(name, pl.concat([HISTORY, before]), asked), found)
    # recent popularity alone counts whole days
    assert changed == (name != "recent_popularity")


def test_the_better_popularity_answers_where_there_is_no_click():
    log = ClickLog.of(HISTORY, small_clicks.ITEMS)
    for best in POPULAR:
        tuned = {name: Tuned(DEFAULTS[name], 0.1 + (name == best), []) for name in POPULAR}
        assert Fitter.of(log, log, 1, tuned).popular.name == best
    untuned = {name: Tuned(DEFAULTS[name], None, []) for name in POPULAR}
    assert Fitter.of(log, log, 1, untuned).popular.name == POPULAR[0]


#: user → item of each click of a day, of shops that have next to nothing.
TINY = {
    "one visitor": [("u", f"i{n}") for n in range(5)],
    "one item": [(f"u{n}", "i0") for n in range(5)],
    "one click a day": [("u", "i0")],
    "nobody is known": [(c.MISSING, f"i{n}") for n in range(5)],
    "no click": [],
}


@pytest.mark.parametrize("shop", TINY)
def test_tiny_shops_have_all_baselines(shop, tmp_path):
    store, items = (
        ArtifactStore(tmp_path / "store"),
        ["i0"] if "item" in shop else small_clicks.ITEMS,
    )
    small_clicks.publish(
        store, "raw/items", None, "items.parquet", pl.DataFrame({c.ITEM_ID: items})
    )
    for day in WINDOW:
        number = day_bounds(day)[0] // 86_400
        clicks = [(user, item, number) for user, item in TINY[shop]] or [("u", "gone", number)]
        small_clicks.publish_day(store, day, small_clicks.interactions(clicks))
    small_clicks.publish_queries(store, AS_OF, WINDOW, VALIDATION)
    metrics = write(store, tmp_path / "target")
    assert list(metrics) == NAMES
    asked = Queries.read(store.current("evaluation/queries", AS_OF))
    assert len(Lists.read(_lists(tmp_path), "ials").ranks) == len(asked)
    assert ("ndcg@10" in metrics["ease"]) == bool(asked.overall.any())


def _lists(folder: Path) -> Any:
    return SimpleNamespace(path=lambda name: folder / "target" / name, kind="evaluation/baselines")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"metric": "hits"}, "'hits' is unknown; use one of recall@10"),
        ({"trials": 0}, "trials is 0"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Budget(**wrong)


def test_defaults_lie_in_their_spaces():
    for name, space in SPACES.items():
        assert set(space) == set(DEFAULTS[name])
        for key, choice in space.items():
            value = DEFAULTS[name][key]
            assert (
                choice.low <= value <= choice.high
                if isinstance(choice, Between)
                else value in choice.values
            )
