"""Queries that ask the sources: the visitor's clicks before the second, and folds of visitors."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl

from recsys_assets.lib.evaluation.latest_clicks import LatestClicks
from recsys_assets.lib.evaluation.query_sources import FOLDS, QuerySources, folds, recents
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.sources import OwnItems
from recsys_assets.source_names import OWN_ITEMS, RETRIEVAL
from recsys_assets_tests.support.row_histories import with_histories
from recsys_assets_tests.support.small_queries import queries

HOUR = 3_600
ITEMS = ["i0", "i1", "i2"]
LOG = pl.DataFrame(
    [
        ("a", "i0", 0),
        ("a", "i2", 5 * HOUR),
        ("a", "gone", 6 * HOUR),
        ("a", "i1", 9 * HOUR),
        ("b", "i1", 10 * HOUR),
        ("-1", "i2", 1 * HOUR),
    ],
    schema=["user_id", "item_id", "timestamp"],
    orient="row",
).with_columns(pl.format("e{}", pl.int_range(pl.len())).alias("event_id"))


def asked(*rows: tuple[str, int]):
    frame = pl.DataFrame(rows, schema=["user_id", "timestamp"], orient="row")
    users = [f"{user}{n}" if user == "-1" else user for n, (user, _) in enumerate(rows)]
    return queries([0] * len(rows), 3, frame=frame, users=users, item_ids=ITEMS)


def test_a_query_has_the_clicks_before_its_second_newest_first():
    latest = LatestClicks.of(LOG, ITEMS, look_back_days=7)
    wanted = asked(("a", 9 * HOUR), ("b", 9 * HOUR), ("-1", 9 * HOUR), ("stranger", 9 * HOUR))
    found = recents(latest, wanted, np.arange(4))
    assert found[0].rows.tolist() == [2, 0] and found[0].ages.tolist() == [4.0, 9.0]
    assert [len(one) for one in found[1:]] == [0, 0, 0]


def test_the_look_back_ends_a_history():
    latest = LatestClicks.of(LOG, ITEMS, look_back_days=1)
    [mine] = recents(latest, asked(("a", 28 * HOUR)), np.arange(1))
    assert mine.rows.tolist() == [1, 2], "the click of 28 hours ago is out"


def test_only_the_latest_clicks_are_read():
    many = pl.DataFrame(
        {
            "event_id": [f"m{n}" for n in range(60)],
            "user_id": "a",
            "item_id": [ITEMS[n % 3] for n in range(60)],
            "timestamp": list(range(60)),
        }
    )
    [mine] = recents(LatestClicks.of(many, ITEMS, 7), asked(("a", 100)), np.arange(1))
    assert len(mine) == 50 and mine.rows[0] == 59 % 3


def test_a_visitor_is_always_in_the_same_fold():
    wanted = asked(*[(f"u{n % 40}", n) for n in range(200)])
    found = folds(wanted)
    assert set(found) == set(range(FOLDS))
    for n in range(40):
        assert len(set(found[n::40])) == 1
    np.testing.assert_array_equal(found, folds(wanted))


def test_each_fold_is_answered_by_its_own_blend():
    wanted = asked(*[(f"u{n}", HOUR) for n in range(20)])
    young = np.zeros(3, bool)
    blends = tuple(Blend((OwnItems(),), {RETRIEVAL: w, OWN_ITEMS: 0.0}, young) for w in (1.0, 2.0))
    sources = QuerySources(blends, LatestClicks.of(LOG, ITEMS, 7))
    retrieved = np.tile([2, 0, -1], (20, 1))
    answers = list(sources.blended(wanted, np.arange(20), retrieved))
    for fold, answer in zip(folds(wanted), answers, strict=True):
        assert answer.rows.tolist() == [2, 0], "the end of a list is no item"
        np.testing.assert_allclose(answer.scores[0], -np.log(2) * (fold + 1), rtol=1e-6)


def test_the_sources_can_read_the_clicks_of_the_rows():
    latest = LatestClicks.of(LOG, ITEMS, 7)
    blend = Blend((OwnItems(),), {RETRIEVAL: 1.0, OWN_ITEMS: 2.0}, np.zeros(3, bool))
    sources = QuerySources((blend,), latest)
    wanted = asked(("a", 9 * HOUR), ("b", 11 * HOUR))
    rows, retrieved = np.arange(2), np.tile([0, 1, 2], (2, 1))
    expected = [one.rows.tolist() for one in sources.blended(wanted, rows, retrieved)]
    own = with_histories(wanted, latest)
    found = [one.rows.tolist() for one in sources.of_rows().blended(own, rows, retrieved)]
    assert found == expected == [[2, 0, 1], [1, 0, 2]]
    # the second query with the clicks of the first
    lists = own.frame.select("items", "ages")[[0, 0]]
    swapped = dataclasses.replace(own, frame=own.frame.with_columns(*lists))
    answers = list(sources.of_rows().blended(swapped, rows, retrieved))
    assert answers[1].rows.tolist() == [2, 0, 1]
