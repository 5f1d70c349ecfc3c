"""The join of predictions and labels: what is settled, when, and what is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import polars as pl
import pytest

from recsys_assets.lib.ads_ctr.feedback import FEEDBACK_SCHEMA, Feedback, read_feedback
from recsys_assets.lib.landing.ads_predictions import LABELS_SCHEMA, PREDICTIONS_SCHEMA
from recsys_assets.lib.quality.contracts import ContractViolation
from recsys_assets_tests.support.small_feedback import (
    DAY,
    HOUR,
    NOON,
    label,
    land,
    name_of,
    prediction,
)

WINDOW = 2 * HOUR


def read(landing: Path, now: float = NOON + HOUR) -> Feedback:
    return read_feedback(str(landing), DAY, WINDOW, now)


def settled(found: Feedback) -> list[tuple[int, int, float]]:
    """Number, label, and seconds from noon at which it was settled, of each row."""
    return [
        (int(row["prediction_id"].rpartition("-")[2], 16), row["label"], row["settled_at"] - NOON)
        for row in found.rows.to_dicts()
    ]


def counts(found: Feedback) -> dict[str, int]:
    """The counts that are not 0."""
    named = {name: getattr(found, name) for name in ("waiting", "late", "double", "unknown")}
    return {name: value for name, value in named.items() if value}


def test_a_day_without_files_is_empty(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert dict(found.rows.schema) == FEEDBACK_SCHEMA and found.rows.is_empty()
    assert counts(found) == {} and found.digest == read(tmp_path / "none").digest


@pytest.mark.parametrize(
    ("labels", "now", "rows", "counted"),
    [
        # the window has not passed
        ([], WINDOW - 1, [], {"waiting": 1}),
        ([], WINDOW, [(1, 0, WINDOW)], {}),
        ([(1, 5.0)], 10.0, [(1, 1, 5.0)], {}),
        ([(0, 5.0)], 10.0, [(1, 0, 5.0)], {}),
        # a click wins over what arrived before it, and nothing wins over a click
        ([(0, 5.0), (1, 7.0)], 10.0, [(1, 1, 7.0)], {"double": 1}),
        ([(0, 5.0), (1, 7.0)], 6.0, [(1, 0, 5.0)], {}),
        ([(1, 5.0), (0, 7.0)], 10.0, [(1, 1, 5.0)], {"double": 1}),
        ([(1, 7.0), (1, 5.0), (0, 2.0)], 10.0, [(1, 1, 5.0)], {"double": 2}),
        ([(0, 7.0), (0, 5.0)], 10.0, [(1, 0, 5.0)], {"double": 1}),
        # at the end of the window a label counts, after it none does
        ([(1, WINDOW)], WINDOW, [(1, 1, WINDOW)], {}),
        ([(1, WINDOW + 0.001)], WINDOW + 9, [(1, 0, WINDOW)], {"late": 1}),
        ([(0, 5.0), (1, WINDOW + 1)], WINDOW + 9, [(1, 0, 5.0)], {"late": 1}),
        # what arrives after now is not known
        ([(1, 5.0)], 4.0, [], {"waiting": 1}),
    ],
)
def test_a_prediction_is_settled_by_the_rule(
    tmp_path: Path,
    labels: list[tuple[int, float]],
    now: float,
    rows: list[tuple[int, int, float]],
    counted: dict[str, int],
) -> None:
    land(tmp_path, [prediction(1)], [label(1, value, NOON + at) for value, at in labels])
    found = read(tmp_path, NOON + now)
    assert settled(found) == rows and counts(found) == counted


def test_rows_are_in_the_order_in_which_they_were_settled(tmp_path: Path) -> None:
    made = [prediction(number, NOON + number) for number in range(1, 5)]
    labels = [label(3, 0, NOON + 20, NOON + 3), label(4, 1, NOON + 10, NOON + 4)]
    land(tmp_path, made, labels)
    found = read(tmp_path, NOON + 1 + WINDOW)
    assert settled(found) == [(4, 1, 10.0), (3, 0, 20.0), (1, 0, 1 + WINDOW)]
    assert counts(found) == {"waiting": 1}
    first = found.rows.to_dicts()[0]
    assert (first["release"], first["score"], first["I13"], first["C26"]) == (3, 0.04, 4, "v4")
    assert dict(found.rows.schema) == FEEDBACK_SCHEMA


def test_a_prediction_that_was_landed_twice_counts_once_and_the_first(tmp_path: Path) -> None:
    land(tmp_path, [prediction(1, score=0.25), prediction(2)], file="1772452800000-0")
    land(tmp_path, [prediction(1, score=0.75)], [label(1, 1, NOON + 5)], file="1772452801000-0")
    found = read(tmp_path)
    assert settled(found) == [(1, 1, 5.0)] and found.rows["score"].to_list() == [0.25]
    assert counts(found) == {"waiting": 1}


def test_a_label_that_lands_before_its_prediction_finds_it_later(tmp_path: Path) -> None:
    land(tmp_path, [], [label(1, 1, NOON + 5), label(9, 0, NOON + 5)])
    assert counts(read(tmp_path)) == {"unknown": 2}
    land(tmp_path, [prediction(1)])
    found = read(tmp_path)
    assert settled(found) == [(1, 1, 5.0)] and counts(found) == {"unknown": 1}


def test_only_files_of_the_day_are_read(tmp_path: Path) -> None:
    land(tmp_path, [prediction(1)], [label(1, 1, NOON + 5)])
    digest = read(tmp_path).digest
    land(tmp_path, [prediction(2)], [label(1, 0, NOON + 1)], day="2026-03-03")
    assert read(tmp_path).digest == digest and settled(read(tmp_path)) == [(1, 1, 5.0)]


def test_the_digests_follow_files_labels_and_the_window(tmp_path: Path) -> None:
    land(tmp_path, [prediction(1)])
    before = read(tmp_path)
    assert read(tmp_path).labels_digest == before.labels_digest
    passed = read(tmp_path, NOON + WINDOW)
    assert passed.digest == before.digest and passed.labels_digest != before.labels_digest
    land(tmp_path, [], [label(1, 1, NOON + 5)])
    after = read(tmp_path)
    assert after.digest != before.digest
    assert len({one.labels_digest for one in (before, passed, after)}) == 3


def test_an_object_store_is_read_as_a_folder_is(tmp_path: Path) -> None:
    land(tmp_path, [prediction(1), prediction(2)], [label(1, 1, NOON + 5)])
    bucket = f"memory://{uuid4().hex}"
    memory = fsspec.filesystem("memory")
    assert settled(read_feedback(bucket, DAY, WINDOW, NOON + HOUR)) == []
    for file in tmp_path.rglob("*.parquet"):
        memory.pipe(f"{bucket}/{file.relative_to(tmp_path)}", file.read_bytes())
    found = read_feedback(bucket, DAY, WINDOW, NOON + HOUR)
    assert found.rows.equals(read(tmp_path).rows) and found.digest == read(tmp_path).digest


@pytest.mark.parametrize(
    ("folder", "content", "message"),
    [
        ("ads_predictions", b"PAR1", r"predictions-x\.parquet: is not a readable Parquet file"),
        (
            "ads_predictions",
            pl.DataFrame(schema={**PREDICTIONS_SCHEMA, "I4": pl.String}),
            r"column 'I4': type is String, not Int64",
        ),
        (
            "ads_labels",
            pl.DataFrame(schema={k: v for k, v in LABELS_SCHEMA.items() if k != "arrived"}),
            r"column 'arrived': type is missing, not Float64",
        ),
    ],
)
def test_a_file_of_another_form_is_named(
    tmp_path: Path, folder: str, content: Any, message: str
) -> None:
    file = tmp_path / folder / DAY / "predictions-x.parquet"
    file.parent.mkdir(parents=True)
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        content.write_parquet(file)
    with pytest.raises(ContractViolation, match=message):
        read(tmp_path)


def test_ten_thousand_predictions_agree_with_the_rule_one_by_one(tmp_path: Path) -> None:
    """The join against the rule as a loop."""
    import random

    drawn = random.Random(5)
    made = [prediction(n, NOON + drawn.randrange(5_000)) for n in range(10_000)]
    labels = [
        label(n, drawn.randrange(2), one["at"] + drawn.randrange(2 * int(WINDOW)), one["at"])
        for n, one in enumerate(made)
        for _ in range(drawn.randrange(3))
    ]
    land(tmp_path, made, labels)
    now = NOON + 8_000
    expected = []
    by_id: dict[str, list[tuple[float, int]]] = {}
    for one in labels:
        if one["arrived"] <= now:
            by_id.setdefault(one["prediction_id"], []).append((one["arrived"], one["label"]))
    for one in made:
        until = one["at"] + WINDOW
        timely = [given for given in by_id.get(one["prediction_id"], []) if given[0] <= until]
        clicks = [arrived for arrived, value in timely if value]
        if clicks:
            expected.append((min(clicks), one["at"], one["prediction_id"], 1))
        elif timely:
            expected.append((min(timely)[0], one["at"], one["prediction_id"], 0))
        elif until <= now:
            expected.append((until, one["at"], one["prediction_id"], 0))
    found = read(tmp_path, now)
    assert found.rows.select("settled_at", "at", "prediction_id", "label").rows() == sorted(
        expected
    )
    assert (
        found.waiting == 10_000 - len(expected)
        and name_of(0, made[0]["at"]) == (made[0]["prediction_id"])
    )
