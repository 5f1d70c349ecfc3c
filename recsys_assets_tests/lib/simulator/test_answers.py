"""Test the simulated answers: the forms of the landing zone, and who clicks."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.evaluation.ranker_metrics import auc
from recsys_assets.lib.landing.served_answers import SCHEMA
from recsys_assets.lib.simulator import answers
from recsys_assets.lib.simulator.catalogue import synthetic_catalogue
from recsys_assets.lib.simulator.exposures import calibrated
from recsys_assets.lib.simulator.population import make_truth
from recsys_assets.lib.simulator.truth import Truth
from recsys_assets.local_time import day_of
from recsys_assets.serving.events.served_log import ServedAnswer

DAYS = ["2026-03-28", "2026-03-29", "2026-03-30"]


@pytest.fixture(scope="module")
def truth() -> Truth:
    items = synthetic_catalogue(120, 5)
    return calibrated(make_truth(items, 400, 5, DAYS[0]), DAYS[0])


def labels(log: pl.DataFrame, events: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the clicks and the scores of the shown items."""
    rows = log.select(c.REQUEST_ID, pl.col("item_ids").alias(c.ITEM_ID), "scores")
    rows = rows.explode(c.ITEM_ID, "scores").join(
        events.select(c.REQUEST_ID, c.ITEM_ID, c.CLICK), on=[c.REQUEST_ID, c.ITEM_ID], how="left"
    )
    return rows[c.CLICK].fill_null(0).to_numpy(), rows["scores"].to_numpy()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("day", DAYS[:2])  # clocks go forward on the second
def test_the_forms_are_those_of_the_landing_zone(truth: Truth, day: str, zone: str) -> None:
    log, events = answers.simulate_answers(truth, truth, day, 300, 4, zone)
    assert log.schema == SCHEMA and log["answer_id"].n_unique() == 300
    for row in log.drop(c.ARRIVED).to_dicts():
        ServedAnswer(**{**row, "answer_id": "a"})
    assert {day_of(at, zone) for at in log["at"]} == {day}
    assert {day_of(at, zone) for at in events[c.TIMESTAMP]} == {day}
    assert log["item_ids"].list.n_unique().to_list() == [answers.SHOWN] * 300
    assert [*events.columns] == [*c.RAW_INTERACTIONS, c.REQUEST_ID]
    ordered = log["scores"].list.diff().list.max().max()
    assert isinstance(ordered, float) and ordered <= 0


def test_a_day_is_the_same_again(truth: Truth) -> None:
    one, other = (answers.simulate_answers(truth, truth, DAYS[0], 50, 4) for _ in range(2))
    assert one[0].equals(other[0]) and one[1].equals(other[1])


def test_interests_shift_on_their_day_and_the_model_of_before_is_worse(truth: Truth) -> None:
    steady = answers.steady(truth)
    model = answers.taste_model(steady, DAYS[0])
    moved = answers.shifted(steady, DAYS[1])
    found = [
        auc(*labels(*answers.simulate_answers(world, model, day, 800, 4)))
        for world in (steady, moved)
        for day in DAYS
    ]
    assert found[0] == found[3]  # the day before the shift
    assert min(found[:3]) > max(found[4:]) + 0.05
    retrained = answers.taste_model(moved, DAYS[1])
    again = auc(*labels(*answers.simulate_answers(moved, retrained, DAYS[2], 800, 4)))
    assert again > max(found[4:]) + 0.05
