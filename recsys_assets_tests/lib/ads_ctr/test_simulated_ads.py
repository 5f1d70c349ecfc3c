"""Simulated ads have the form of the public logs, and what a drift of their input does."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.ads_columns import CATEGORIES, INTEGERS, LABEL
from recsys_assets.lib.ads_ctr.ads_features import MISSING_CATEGORIES, MISSING_INTEGERS
from recsys_assets.lib.ads_ctr.ads_truth import AdsDrift, AdsTruth
from recsys_assets.lib.ads_ctr.log_files import SCHEMA
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day

ROWS = 10_000
DAY = simulate_day(AdsTruth(7), 0, ROWS)


def test_the_rows_have_the_form_of_the_log() -> None:
    assert dict(DAY.rows.schema) == SCHEMA and DAY.rows.height == ROWS
    tokens = DAY.rows["C3"].drop_nulls()
    assert tokens.str.contains("^[0-9a-f]{8}$").all()
    assert DAY.rows["C3"].n_unique() > 1_000 and DAY.rows["C9"].n_unique() == 3


def test_fields_are_as_often_empty_as_in_the_log() -> None:
    for names, shares in ((INTEGERS, MISSING_INTEGERS), (CATEGORIES, MISSING_CATEGORIES)):
        found = [DAY.rows[name].null_count() / ROWS for name in names]
        assert found == pytest.approx(shares, abs=0.02)


def test_clicks_follow_their_probability() -> None:
    clicks = DAY.rows[LABEL].to_numpy()
    error = np.sqrt((DAY.probability * (1 - DAY.probability)).sum())
    assert abs(clicks.sum() - DAY.probability.sum()) < 4 * error


def test_equal_arguments_give_equal_days() -> None:
    assert simulate_day(AdsTruth(7), 0, ROWS).rows.equals(DAY.rows)
    assert not simulate_day(AdsTruth(7), 1, ROWS).rows.equals(DAY.rows)


def test_a_broken_input_has_another_form_from_its_time_on() -> None:
    broken = simulate_day(AdsTruth(7, AdsDrift("broken", at=0.5)), 0, ROWS)
    half = ROWS // 2
    assert broken.rows[:half].equals(DAY.rows[:half])
    after, before = broken.rows[half:], DAY.rows[half:]
    assert (after["I1"] == before["I1"] * 1000).all()
    assert (after["C1"] == "v2-" + before["C1"]).all()
    rest = [name for name in SCHEMA if name not in ("I1", "C1")]
    assert after.select(rest).equals(before.select(rest)), "labels too: the truth stays"


@pytest.mark.parametrize(("day", "rows"), [(-1, 10), (0, 0)])
def test_wrong_numbers_are_refused(day: int, rows: int) -> None:
    with pytest.raises(ValueError, match="give a day from 0 and at least one row"):
        simulate_day(AdsTruth(7), day, rows)
