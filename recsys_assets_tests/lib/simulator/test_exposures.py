"""A simulated day's log: the policy, the positions, the clicks and the reference's marginals."""

import dataclasses
from datetime import date

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from recsys_assets.columns import RAW_INTERACTIONS
from recsys_assets.lib.simulator.catalogue import synthetic_catalogue
from recsys_assets.lib.simulator.exposures import (
    POSITION,
    LoggingPolicy,
    calibrated,
    draw_exposures,
    simulate_day,
)
from recsys_assets.lib.simulator.population import make_truth
from recsys_assets.lib.simulator.truth import Truth, examination
from recsys_assets.partitions import day_bounds, days_between

START, WEDNESDAY, SATURDAY = "2026-11-09", "2026-11-11", "2026-11-14"
EXPOSURES = 60_000


@pytest.fixture(scope="module")
def truth() -> Truth:
    return calibrated(make_truth(synthetic_catalogue(240, 7), 2_000, 7, START), START)


@pytest.fixture(scope="module")
def log(truth) -> pl.DataFrame:
    return simulate_day(truth, EXPOSURES, WEDNESDAY)


@pytest.fixture(scope="module")
def exposures(log) -> pl.DataFrame:
    return log.filter(pl.col("event_type").is_in(["Impression", "View"]))


def _odds(truth: Truth, frame: pl.DataFrame) -> np.ndarray:
    return truth.click_probability(
        truth.user_index(frame["user_id"]),
        truth.item_index(frame["item_id"]),
        truth.device_index(frame["device_type"]),
        frame["timestamp"].to_numpy(),
    )


def test_the_log_and_its_order(truth, log):
    assert dict(log.schema) == {
        **{c: getattr(pl, kind) for c, kind in RAW_INTERACTIONS.items()},
        POSITION: pl.Int16,
    }
    start, end = day_bounds(WEDNESDAY)
    assert (
        log["timestamp"].is_sorted()
        and log["timestamp"].is_between(start, end, closed="left").all()
    )
    assert log["event_id"].n_unique() == log.height
    assert log.equals(simulate_day(truth, EXPOSURES, WEDNESDAY))
    other = simulate_day(truth, EXPOSURES, "2026-11-12")
    assert not log["user_id"].equals(other["user_id"][: log.height])


def test_event_types_are_the_references(log, exposures):
    clicks = exposures["click"].sum()
    assert exposures.height == round(EXPOSURES * 0.96)
    assert clicks / exposures.height == pytest.approx(0.20, abs=0.02)
    counts = dict(log["event_type"].value_counts().iter_rows())
    assert counts["View"] == clicks and counts["Impression"] == exposures.height - clicks
    for name, rate in (
        ("AddToCart", 0.08),
        ("ViewCart", 0.05),
        ("StartCheckout", 0.02),
        ("Purchase", 0.01),
    ):
        assert counts[name] / clicks == pytest.approx(rate, abs=4 * np.sqrt(rate / clicks)), name
    # the funnel: what was bought was in the cart, and was viewed
    keys = log.select("user_id", "item_id", POSITION, "event_type")
    rows = {
        name: set(keys.filter(event_type=name).drop("event_type").iter_rows()) for name in counts
    }
    assert (
        rows["Purchase"]
        <= rows["StartCheckout"]
        <= rows["ViewCart"]
        <= rows["AddToCart"]
        <= rows["View"]
    )


def test_hours_are_the_references(log):
    hours = np.bincount(log["timestamp"].to_numpy() // 3_600 % 24, minlength=24) / log.height
    assert hours[:6] == pytest.approx(0.01, abs=0.005)  # 1 % an hour at night
    assert sorted(np.argsort(-hours)[:3]) == [12, 13, 14]  # the peak
    assert hours[15:19] == pytest.approx([0.09, 0.05, 0.04, 0.03], abs=0.01)


def test_days_of_the_week_and_devices(truth, exposures):
    saturday = simulate_day(truth, EXPOSURES, SATURDAY).filter(
        pl.col("event_type").is_in(["Impression", "View"])
    )
    assert saturday.height == round(EXPOSURES * 1.10)
    shares = dict(exposures["device_type"].value_counts(normalize=True).iter_rows())
    for device, share in (("mobile", 0.55), ("desktop", 0.35), ("tablet", 0.10)):
        assert shares[device] == pytest.approx(share, abs=0.03), device


def test_nothing_is_shown_before_its_launch_and_everything_after(truth):
    shown = {
        day: draw_exposures(truth, 20_000, day, np.random.default_rng(1))
        for day in days_between(date(2026, 11, 9), date(2026, 11, 22))
    }
    for exposed in shown.values():
        assert truth.launched(exposed["item"], exposed["timestamp"]).all()
    assert set(np.unique(shown["2026-11-22"]["item"])) == set(range(240))
    new = truth.launch_day > 0
    assert new[shown[START]["item"]].sum() == 0
    assert new[shown["2026-11-22"]["item"]].mean() == pytest.approx(new.mean(), abs=0.05)


def test_a_category_whose_only_item_is_yet_to_come_shows_others():
    items = pl.DataFrame(
        {
            "item_id": [str(n) for n in range(25)],
            "category_l1": ["a"] * 12 + ["b"] * 12 + ["c"],
            "name": "Thing",
            "description": "",
            "item_gender": ["F"] * 12 + ["Any"] * 13,
            "price": 5.0,
            "promoted": False,
        }
    )
    launch = np.zeros(25, np.int32)
    launch[24] = day_bounds(SATURDAY)[0] // 86_400
    shop = dataclasses.replace(make_truth(items, 50, 3, START), launch_day=launch)
    rng, category = np.random.default_rng(0), np.full(500, 2)
    assert 24 not in LoggingPolicy(shop, WEDNESDAY).of_category(rng, category, np.ones(500, int))
    assert set(LoggingPolicy(shop, SATURDAY).of_category(rng, category, np.ones(500, int))) == {24}
    # category a has nothing for men: they see its other items
    assert (
        LoggingPolicy(shop, WEDNESDAY).of_category(rng, category * 0, np.ones(500, int)).max() < 12
    )


def test_positions_count_within_a_session(truth):
    shown = draw_exposures(truth, 20_000, WEDNESDAY, np.random.default_rng(1))
    first = np.flatnonzero(shown["position"] == 1)
    session = np.cumsum(shown["position"] == 1) - 1
    assert (shown["position"] == np.arange(20_000) - first[session] + 1).all()
    assert np.bincount(session).mean() == pytest.approx(12, abs=0.5)
    for name in ("user", "device"):
        assert (shown[name] == shown[name][first][session]).all()
    assert (np.diff(shown["timestamp"])[np.diff(session) == 0] >= 0).all()  # further down is later
    # better items further up, but not strictly: quality and position are confounded
    quality = truth.quality[shown["item"]]
    assert -0.6 < np.corrcoef(shown["position"], quality)[0, 1] < -0.15


def test_clicks_follow_examination_times_the_oracle(truth, exposures):
    odds, clicks = _odds(truth, exposures), exposures["click"].to_numpy()
    position = exposures[POSITION].to_numpy()
    expected = odds * examination(position)
    assert expected.mean() == pytest.approx(clicks.mean(), abs=0.006)
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.9)):
        inside = (expected >= low) & (expected < high)
        assert clicks[inside].mean() == pytest.approx(expected[inside].mean(), abs=0.02)
    for at in (1, 3, 8, 14):  # what a position costs, whatever stands there
        here = position == at
        assert clicks[here].sum() / odds[here].sum() == pytest.approx(at**-0.2, abs=0.05), at


def test_the_truth_explains_the_clicks(truth, exposures):
    """The truth predicts clicks well; popularity alone does not."""
    clicks, item = exposures["click"].to_numpy(), truth.item_index(exposures["item_id"])
    shown = np.bincount(item, minlength=240)
    rate = np.bincount(item, clicks, 240) / np.maximum(shown, 1)
    assert roc_auc_score(clicks, _odds(truth, exposures)) >= 0.80
    assert roc_auc_score(clicks, rate[item]) < 0.70


@pytest.mark.parametrize(
    ("liked", "least"),
    [("price", 1.05), ("promoted", 1.10), ("palette", 1.25), ("mood", 1.15), ("gender", 1.5)],
)
def test_each_taste_shows_in_the_log(truth, exposures, liked, least):
    """Return the click rates of exposures that suit the visitor, and of the others."""
    user, item = truth.user_index(exposures["user_id"]), truth.item_index(exposures["item_id"])
    clicks = exposures["click"].to_numpy()
    made_for, sex = truth.item_gender[item], truth.user_gender[user]
    suits, among = {
        "price": (truth.price_taste[user] * truth.price_level[item] > 0, slice(None)),
        "promoted": (truth.promoted[item], truth.bargain_hunter[user]),
        "palette": (truth.user_palette[user] == truth.item_palette[item], slice(None)),
        "mood": (truth.user_mood[user] == truth.item_mood[item], slice(None)),
        "gender": (made_for == sex, made_for != 2),
    }[liked]
    suits, clicks = suits[among], clicks[among]
    assert clicks[suits].mean() > least * clicks[~suits].mean()
