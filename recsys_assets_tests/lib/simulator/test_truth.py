"""Test the truth's formula, and the population against the reference's figures."""

import dataclasses
import json
from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy.stats import truncnorm

from recsys_assets.lib.simulator.catalogue import synthetic_catalogue
from recsys_assets.lib.simulator.exposures import calibrated, draw_exposures
from recsys_assets.lib.simulator.population import make_truth
from recsys_assets.lib.simulator.truth import (
    FROM_THE_START,
    NEVER,
    PERSONA_WEIGHTS,
    Truth,
    TruthError,
    examination,
)
from recsys_assets.partitions import day_bounds

START = "2026-11-09"  # a Monday
FIRST_DAY = (date.fromisoformat(START) - date(1970, 1, 1)).days
MIDNIGHT = day_bounds(START)[0]
DAY = 86_400


@pytest.fixture(scope="module")
def truth() -> Truth:
    return calibrated(make_truth(synthetic_catalogue(240, 7), 2_000, 7, START), START)


@pytest.fixture(scope="module")
def crowd() -> Truth:
    """Many users of a small shop, for the marginals."""
    return make_truth(synthetic_catalogue(100, 7), 60_000, 7, START)


def _by_hand(truth: Truth, user: int, item: int, device: int, at: int) -> float:
    day, hour = at // DAY, at // 3_600 % 24
    if day < truth.launch_day[item]:
        return 0.0
    persona = list(
        truth.persona[user] if day < truth.shift_day[user] else truth.later_persona[user]
    )
    category = int(truth.item_category[item])
    logit = (
        truth.bias
        + truth.quality[item]
        + truth.device_effect[device, category]
        + truth.hour_effect[hour, category]
    )
    weekend = date.fromordinal(day + date(1970, 1, 1).toordinal()).weekday() >= 5
    logit += truth.weekend_effect[category] if weekend else 0
    logit += (2.2, 1.8, 1.3)[persona.index(category)] if category in persona else 0
    logit += 1.4 if int(truth.intent(user, at)) == category else 0
    logit -= 1.7 if truth.item_gender[item] not in (2, truth.user_gender[user]) else 0
    logit += 0.35 * truth.price_taste[user] * truth.price_level[item]
    logit += 0.8 if truth.bargain_hunter[user] and truth.promoted[item] else 0
    logit += 1.2 if truth.user_palette[user] == truth.item_palette[item] else 0
    logit += 0.9 if truth.user_mood[user] == truth.item_mood[item] else 0
    return 1 / (1 + np.exp(-logit))


def test_click_probability_golden_and_broadcast(truth):
    shifting = np.flatnonzero(truth.shift_day < NEVER)[:4]
    users = np.concatenate([np.arange(3), shifting])
    items = np.concatenate([np.arange(20), np.flatnonzero(truth.launch_day > 0)[:15]])
    for device, days, hour in (
        (0, 0, 9),
        (1, 4, 0),
        (2, 5, 23),
        (0, 6, 12),
        (1, 9, 13),
        (2, 13, 18),
    ):
        at = MIDNIGHT + days * DAY + hour * 3_600
        odds = truth.click_probability(users[:, None], items[None, :], device, at)
        expected = [[_by_hand(truth, u, i, device, at) for i in items] for u in users]
        np.testing.assert_allclose(odds, expected, rtol=1e-5)
    # one context a row gives what single calls give
    at = MIDNIGHT + np.arange(7) * 2 * DAY + 4_000
    rows = truth.click_probability(users, items[:7], np.arange(7) % 3, at)
    alone = [truth.click_probability(users[n], items[n], n % 3, at[n]) for n in range(7)]
    np.testing.assert_array_equal(rows, alone)


def test_an_item_cannot_be_clicked_before_its_launch(truth):
    new = np.flatnonzero(truth.launch_day != FROM_THE_START)
    assert len(new) == round(0.12 * 240)
    per_day = np.bincount(truth.launch_day[new] - FIRST_DAY, minlength=14)
    assert (
        per_day[0] == 0 and len(per_day) == 14 and per_day[1:].min() >= 2 and per_day[1:].max() <= 3
    )
    launch = truth.launch_day[new].astype(np.int64) * DAY
    users = np.arange(50)[:, None]
    assert (truth.click_probability(users, new, 0, launch - 1) == 0).all()
    assert (truth.click_probability(users, new, 0, launch) > 0).all()
    assert (truth.cold_click_probability(new, 0, MIDNIGHT) == 0).all()
    old = np.setdiff1d(np.arange(240), new)
    assert (truth.click_probability(users, old, 0, MIDNIGHT - 365 * DAY) > 0).all()


def test_interests_shift_within_the_fortnight(truth):
    shifting = np.flatnonzero(truth.shift_day < NEVER)
    assert len(shifting) / 2_000 == pytest.approx(0.25, abs=0.03)
    offsets = truth.shift_day[shifting] - FIRST_DAY
    assert (offsets.min(), offsets.max()) == (3, 12)
    assert np.bincount(offsets)[3:].min() > 25  # spread, not on one day
    at = truth.shift_day[shifting].astype(np.int64) * DAY
    assert (truth.persona_at(shifting, at - 1) == truth.persona[shifting]).all()
    assert (truth.persona_at(shifting, at) == truth.later_persona[shifting]).all()
    staying = np.flatnonzero(truth.shift_day == NEVER)
    assert (truth.persona_at(staying, MIDNIGHT + 1_000 * DAY) == truth.persona[staying]).all()
    for user in shifting[:20]:  # three different categories each
        assert len(set(truth.persona[user])) == len(set(truth.later_persona[user])) == 3
    # items of the new first category are worth more after the shift than before, in the same
    # context
    gained = truth.later_persona[shifting, 0]
    week, old = (
        7 * DAY,
        truth.launch_day == FROM_THE_START,
    )  # the same weekday and hour; no launch in between
    fresh = ~(truth.persona[shifting] == gained[:, None]).any(axis=1) & np.isin(
        gained, truth.item_category[old]
    )
    user = shifting[fresh]
    item = np.array(
        [np.flatnonzero((truth.item_category == category) & old)[0] for category in gained[fresh]]
    )
    before = truth.click_probability(user, item, 0, at[fresh] - week)
    assert (truth.click_probability(user, item, 0, at[fresh]) > before).all()


def test_intent_follows_the_persona_of_the_day_and_changes_by_day(truth):
    users, days = np.arange(2_000)[:, None], MIDNIGHT + DAY * np.arange(14)
    intent, persona = truth.intent(users, days), truth.persona_at(users, days)
    shares = [(intent == persona[..., rank]).mean() for rank in range(3)]
    assert shares == pytest.approx(PERSONA_WEIGHTS, abs=0.01)
    assert (truth.intent(users, days) == truth.intent(users, days + DAY - 1)).all()
    assert 0.4 < (intent[:, 1:] != intent[:, :-1]).mean() < 0.7


def test_a_cold_visitors_best_list_changes_with_device_and_hour(truth):
    def best(device: int, hour: int) -> set[int]:
        return set(
            np.argsort(
                -truth.cold_click_probability(np.arange(240), device, MIDNIGHT + hour * 3_600)
            )[:20]
        )

    base = best(0, 9)
    assert base == best(0, 9)
    assert len(base & best(1, 9)) <= 15
    assert len(base & best(0, 21)) <= 15


def test_examination_falls_with_position():
    assert examination(np.array([1, 16])) == pytest.approx([1.0, 16**-0.2])
    assert (np.diff(examination(np.arange(1, 40))) < 0).all()


def test_ages_are_the_references_truncated_normal(crowd):
    law = truncnorm((18 - 32) / 15, (100 - 32) / 15, loc=32, scale=15)
    assert crowd.age.min() == 18 and crowd.age.max() <= 100
    for years in (20, 25, 32, 40, 50, 65, 80):  # whole years: 32 covers [32, 33)
        assert (crowd.age < years).mean() == pytest.approx(law.cdf(years), abs=0.01), years


def test_personas_and_tastes(crowd):
    assert len(crowd.categories) == 20
    assert (
        np.sort(crowd.persona, axis=1)[:, 1:] > np.sort(crowd.persona, axis=1)[:, :-1]
    ).all()  # three different
    assert (crowd.user_gender == 0).mean() == pytest.approx(0.5, abs=0.01)
    assert crowd.bargain_hunter.mean() == pytest.approx(0.30, abs=0.01)
    assert (crowd.price_taste.mean(), crowd.price_taste.std()) == pytest.approx((0, 1), abs=0.02)
    devices = (crowd.activity[:, None] * crowd.device_share).sum(axis=0)
    assert devices == pytest.approx([0.55, 0.35, 0.10], abs=0.01)
    main = crowd.persona[:, 0]
    for gender in (0, 1):  # most of those who share main category and gender like the same look
        group = (main == np.bincount(main).argmax()) & (crowd.user_gender == gender)
        for look in (crowd.user_palette, crowd.user_mood):
            assert np.bincount(look[group]).max() / group.sum() > 0.8
    # a persona depends on the gender
    shares = [
        np.bincount(main[crowd.user_gender == g], minlength=20) / (crowd.user_gender == g).sum()
        for g in (0, 1)
    ]
    assert np.abs(shares[0] - shares[1]).sum() > 0.2


def test_the_quality_shows_in_the_text_in_part():
    items = synthetic_catalogue(2_465, 7)
    truth = make_truth(items, 10, 7, START)
    praised = items["description"].str.count_matches(
        r"\b(superior|exquisite|exceptional|outstanding|stunning)\b"
    )
    assert 0.3 < np.corrcoef(praised.to_numpy(), truth.quality)[0, 1] < 0.8
    assert truth.quality.std() == pytest.approx(0.4, rel=0.05)


def test_an_unknown_price_is_the_usual_price_of_its_category():
    items = synthetic_catalogue(100, 7)
    unpriced = pl.int_range(pl.len()) % 5 == 0
    some = items.with_columns(price=pl.when(~unpriced).then(pl.col("price")))
    level = make_truth(some, 10, 7, START).price_level
    assert not level[::5].any() and np.isfinite(level).all() and level.std() > 0.5
    none = items.with_columns(price=pl.lit(None, pl.Float64))
    assert not make_truth(none, 10, 7, START).price_level.any()


def test_truth_survives_storage_without_pickle(truth, tmp_path):
    truth.save(tmp_path)
    again = Truth.read(tmp_path)
    for field in dataclasses.fields(Truth):
        mine, theirs = getattr(truth, field.name), getattr(again, field.name)
        assert np.array_equal(mine, theirs), field.name
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
    meta = json.loads((tmp_path / "truth.json").read_text())
    (tmp_path / "truth.json").write_text(json.dumps({**meta, "version": 0}))
    with pytest.raises(TruthError, match="another version"):
        Truth.read(tmp_path)


def test_indices_name_what_is_unknown(truth):
    assert truth.user_ids[truth.user_index(["12", "3", "12"])].tolist() == ["12", "3", "12"]
    assert truth.device_index(["tablet", "mobile"]).tolist() == [2, 0]
    with pytest.raises(
        TruthError, match="user_id: 2 values are unknown to the simulator, for example 'nobody'"
    ):
        truth.user_index(["1", "nobody", "0"])
    with pytest.raises(TruthError, match="device_type: 1 values"):
        truth.device_index(["-1"])


def test_every_seed_is_another_shop_with_the_same_click_rate(truth):
    catalogue = pl.DataFrame(
        {
            "item_id": [str(n) for n in range(40)],
            "category_l1": [f"c{n % 5}" for n in range(40)],
            "name": "Plain Thing",
            "description": "",
            "item_gender": ["F", "M", "Any", "Any"] * 10,
            "price": [float(n + 1) for n in range(40)],
            "promoted": False,
        }
    )
    other = calibrated(make_truth(catalogue, 500, 3, START), START)
    assert other.bias != truth.bias
    for shop in (truth, other):
        rng = np.random.default_rng(0)
        shown = [draw_exposures(shop, 5_000, f"2026-11-{day:02}", rng) for day in range(9, 23)]
        odds = [
            shop.click_probability(s["user"], s["item"], s["device"], s["timestamp"]) for s in shown
        ]
        looks = [examination(s["position"]) for s in shown]
        assert (np.concatenate(odds) * np.concatenate(looks)).mean() == pytest.approx(
            0.20, abs=0.01
        )
    with pytest.raises(
        TruthError, match="category_l1: the catalogue has 2 categories; a persona ranks 3"
    ):
        make_truth(catalogue.filter(pl.col("category_l1").is_in(["c0", "c1"])), 5, 3, START)
