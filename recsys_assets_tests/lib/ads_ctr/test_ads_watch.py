"""The watch of the ads ranker: exact alarms, resets, cool-down and a durable cursor."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from recsys_assets.lib.ads_ctr.ads_watch import AdsWatch, PendingAlarm, WatchRules
from recsys_assets.lib.monitor.alarms import CursorInvalid
from recsys_assets.lib.monitor.auc_threshold import suggested_threshold
from recsys_assets.settings import Settings
from recsys_assets_tests.support.small_ads_feedback import BAD, GOOD, predictions

RULES = WatchRules(0.5, 10, 4, 20)


def stream(*pairs: tuple[float, int], at: float = 100.0, release: int = 1) -> pl.DataFrame:
    """Return rows with these scores and labels, settled one second after the other."""
    numbers = range(len(pairs))
    return pl.DataFrame(
        {
            "settled_at": [at + number for number in numbers],
            "prediction_id": [f"{at:.0f}-{number:03d}" for number in numbers],
            "release": [release] * len(pairs),
            "score": [score for score, _ in pairs],
            "label": [label for _, label in pairs],
        }
    )


RIGHT, WRONG = ((0.9, 1), (0.1, 0)), ((0.1, 1), (0.9, 0))


def test_the_first_alarm_waits_with_its_window() -> None:
    watch = AdsWatch(1, RULES)
    alarms = watch.update(stream(*RIGHT * 6, *WRONG * 4))
    (first,) = alarms
    assert (first.monitor, first.prediction, first.reference) == ("rolling AUC", 18, 0.5)
    # 2 good and 3 bad pairs: (2·2 ordered + half of 2·3 and of 3·2 ties) of 5·5
    assert first.value == 0.4
    assert watch.labelled == 20 and watch.alarms == 1
    # the window of row 18 begins after row 8
    assert watch.pending == PendingAlarm(1, str(first), at=117.0, since=107.0)


def test_rows_of_another_release_are_passed_over() -> None:
    watch = AdsWatch(2, RULES)
    assert watch.update(stream(*WRONG * 20, release=1)) == []
    assert (watch.labelled, watch.rolling_auc) == (0, None)
    assert watch.to == (139.0, "100-039"), "they are read all the same"


def test_a_new_champion_begins_with_empty_monitors_and_no_alarm() -> None:
    watch = AdsWatch(1, RULES)
    watch.update(stream(*WRONG * 5))
    assert watch.pending and watch.rolling_auc == 0.0
    assert watch.follow(1, RULES) is None and watch.pending
    assert watch.follow(2, RULES) == "release 2 follows release 1"
    assert (watch.pending, watch.rolling_auc, watch.loss, watch.labelled) == (None, None, None, 0)
    assert watch.alarms == 1, "of all releases"
    # its own first alarm is not silenced by the cool-down of the monitors before
    (alarm,) = watch.update(stream(*WRONG * 2, at=200, release=2))
    assert alarm.prediction == 4 and watch.pending and watch.pending.number == 2


def test_other_rules_begin_again() -> None:
    watch = AdsWatch(1, RULES)
    watch.update(stream(*RIGHT * 5))
    assert watch.follow(1, replace(RULES, threshold=0.6)) == "the rules of release 1 have changed"
    assert watch.rolling_auc is None


def test_the_cool_down_after_a_training_counts_predictions_over_releases() -> None:
    watch = AdsWatch(1, RULES)
    watch.update(stream(*WRONG * 2))
    watch.answered()
    assert (watch.cooling, watch.asked, watch.pending) == (20, 1, None)
    watch.follow(2, RULES)
    watch.update(stream(*RIGHT * 3, at=200, release=2))
    assert watch.cooling == 14
    watch.update(stream(*RIGHT * 10, at=300, release=2))
    assert watch.cooling == 0
    with pytest.raises(ValueError, match="no alarm is pending"):
        watch.answered()


def test_each_row_is_counted_once_however_often_it_is_given() -> None:
    rows = stream(*RIGHT * 6)
    watch = AdsWatch(1, RULES)
    watch.update(rows[:7])
    watch.update(rows)
    watch.update(rows)
    assert watch.labelled == 12
    same_moment = rows.with_columns(settled_at=pl.lit(500.0))
    watch.update(same_moment[:5])
    watch.update(same_moment)
    assert watch.labelled == 24, "the id divides rows of one moment"


@pytest.fixture(scope="module")
def long() -> pl.DataFrame:
    parts = [(900, GOOD, 1, 1), (700, BAD, 2, 1), (400, GOOD, 3, 2), (600, BAD, 4, 1)]
    rows, at = [], 1_000.0
    for number, shift, seed, release in parts:
        rows.append(predictions(number, at, shift=shift, seed=seed, release=release))
        at += number
    return pl.concat(rows)


@pytest.mark.parametrize("every", [1, 37, 499, 1_300])
def test_a_watch_from_its_cursor_raises_the_same_alarms(long: pl.DataFrame, every: int) -> None:
    rules = WatchRules(0.7, 500, 250, 600)
    whole = AdsWatch(1, rules)
    expected = whole.update(long)
    assert {one.monitor for one in expected} == {"rolling AUC", "log loss"}, "both have something"
    found = []
    cursor = AdsWatch(1, rules).text()
    # every prefix is a restart: from row 850, around the change, row by row
    places = [0, *range(850 if every == 1 else every, 1_250 if every == 1 else long.height, every)]
    for begin, end in zip(places, [*places[1:], long.height], strict=True):
        watch = AdsWatch.read(cursor)
        assert watch is not None
        found += watch.update(long[begin:end])
        cursor = watch.text()
    assert found == expected
    assert cursor == whole.text()


def test_no_cursor_is_no_watch() -> None:
    assert AdsWatch.read(None) is None and AdsWatch.read("") is None


def damaged(**fields: Any) -> str:
    return json.dumps({**json.loads(AdsWatch(1, RULES).text()), **fields})


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        ("4711", "state must have the fields"),
        ("{", "Expecting property name"),
        (damaged(version=0), "version must be 1, got 0"),
        (damaged(release="x"), "release must be a whole number"),
        (damaged(auc=None), "auc must be there exactly where"),
        (damaged(rules={"threshold": 0.5}), "missing 3 required"),
        (damaged(pending={"number": 1}), "missing 3 required"),
        (damaged(to=[1.0]), "not enough values"),
        (damaged(times=[None]), "float"),
        (damaged(left=-1), "left must be a whole number"),
    ],
)
def test_a_bad_cursor_names_the_remedy(cursor: str, reason: str) -> None:
    with pytest.raises(CursorInvalid, match=reason) as raised:
        AdsWatch.read(cursor)
    assert "reset it in the UI" in str(raised.value)


def test_a_wrong_score_names_the_prediction_and_loses_nothing() -> None:
    watch = AdsWatch(1, RULES)
    rows = stream(*RIGHT * 2, (1.5, 1), *RIGHT)
    with pytest.raises(ValueError, match="prediction 100-004 of release 1: score must be a prob"):
        watch.update(rows)
    assert watch.labelled == 4 and watch.to == (103.0, "100-003")


def test_the_threshold_follows_from_the_release() -> None:
    rules = WatchRules.of(Settings(), 0.75, 0.25)
    assert rules == WatchRules(suggested_threshold(0.75, 0.25), 500, 250, 5_000)
    fixed = Settings(ads_auc_threshold=0.62, ads_window=900, ads_cool_down=2_000)
    assert WatchRules.of(fixed, None, None) == WatchRules(0.62, 900, 250, 2_000)


@pytest.mark.parametrize(
    ("auc", "rate", "reason"),
    [
        (None, None, "has no AUC; set RECSYS_ADS_AUC_THRESHOLD"),
        (0.5, 0.25, "auc must be above 0.5"),
        (0.75, 0.01, "minimum must be at least 1000"),
        (0.52, 0.25, "a window of 500 cannot tell"),
    ],
)
def test_a_release_without_a_threshold_is_watched_by_its_loss(
    auc: float | None, rate: float | None, reason: str
) -> None:
    rules = WatchRules.of(Settings(), auc, rate)
    assert rules.threshold is None and reason in rules.reason
    watch = AdsWatch(1, rules)
    found = watch.update(
        pl.concat([predictions(3_000, 0.0), predictions(3_000, 3_000.0, shift=-2 * GOOD, seed=2)])
    )
    assert [one.monitor for one in found] == ["log loss"] and watch.rolling_auc is None
    assert AdsWatch.read(watch.text()) is not None
