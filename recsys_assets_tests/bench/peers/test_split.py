"""Test that the peers get the split of the baselines, and not the clicked items."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np

from recsys_assets.bench.peers.process.split_file import SplitFile
from recsys_assets.bench.peers.split import Split, splits
from recsys_assets.bench.shops.held_out import HeldOut
from recsys_assets.columns import MISSING, TIMESTAMP, USER_ID
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.local_time import day_number
from recsys_assets.partitions import split
from recsys_assets_tests.support import small_clicks
from recsys_assets_tests.support.small_served_home import (
    DAY,
    publish_queries,
    publish_release,
    publish_rung,
    settings,
)

ITEMS = ("a", "b", "c")
#: user, item, day; a second apart in this order
CLICKS = [("u", "a", 1), ("v", "b", 1), (MISSING, "c", 1), ("u", "b", 2), ("u", "c", 2)]


def small_split() -> Split:
    """Day 1 is for training; the three clicks of day 2, one of a new visitor, are the queries."""
    clicks = [*CLICKS, ("w", "a", 2)]
    log = ClickLog.of(small_clicks.interactions(clicks), ITEMS)
    asked = small_clicks.queries(clicks, ITEMS).subset(np.array([3, 4, 5]))
    return Split(log, 2, asked)


def test_a_query_has_its_visitors_clicks_before_it_and_training_the_days_before() -> None:
    file = small_split().file()
    # ordered by visitor (u, v, w) and time; the click without a visitor is nobody's
    assert file.visitor.tolist() == [0, 0, 0, 1, 2]
    assert file.item.tolist() == [0, 1, 2, 1, 0]
    assert file.training.tolist() == [True, False, False, True, False]
    seen = [file.item[start:end].tolist() for start, end in zip(file.start, file.end, strict=True)]
    assert seen == [[0], [0, 1], []]
    assert int(file.items) == 3 and len(file) == 3


def test_the_file_is_read_as_it_was_written_and_has_no_answer(tmp_path: Path) -> None:
    file = small_split().file()
    file.write(tmp_path / "split.npz")
    read = SplitFile.read(tmp_path / "split.npz")
    for field in fields(SplitFile):
        assert np.array_equal(getattr(read, field.name), getattr(file, field.name)), field.name
    with np.load(tmp_path / "split.npz") as stored:
        assert set(stored) == {field.name for field in fields(SplitFile)}
        assert not any("true" in name for name in stored)


def test_the_split_of_a_home_is_that_of_its_queries(tmp_path: Path) -> None:
    publish_release(tmp_path)
    queries = publish_queries(tmp_path)
    publish_rung(tmp_path, queries, rank=3)
    held_out = HeldOut.open(settings(tmp_path))
    assert held_out is not None and held_out.queries.digest == queries.digest
    train, validation = split(DAY, settings(tmp_path))
    assert held_out.training_days == list(train)
    assert held_out.validation_days == list(validation)
    served = held_out.served()
    assert served is not None and (served.ranks == 3).all()

    outer, inner = splits(held_out, tuning_clicks=10_000)
    asked = held_out.asked()
    assert len(outer.queries) == asked.overall.sum() and len(inner.queries) > 0
    assert outer.first_day == day_number(validation[0])
    assert inner.first_day == day_number(train[-2])  # the last two training days
    file, inner_file = outer.file(), inner.file()
    assert file.time[file.training].max() < outer.first_day * 86_400 <= file.time.max()
    assert inner_file.training.sum() < file.training.sum()
    at, visitor = outer.queries.frame[TIMESTAMP].to_numpy(), outer.queries.frame[USER_ID]
    codes = outer.log.codes(visitor)
    for row in range(0, len(file), 7):
        before = slice(file.start[row], file.end[row])
        assert (file.visitor[before] == codes[row]).all() and (file.time[before] < at[row]).all()
        of_visitor = (file.visitor == codes[row]) & (file.time < at[row])
        assert of_visitor.sum() == file.end[row] - file.start[row]
        hidden = np.flatnonzero(outer.queries.seen(np.array([row]))[0])
        assert file.hidden(row).tolist() == hidden.tolist()
    # the inner split hides and asks within the training days alone
    assert inner.queries.frame[TIMESTAMP].max() < outer.first_day * 86_400
