"""Test the comparison of a day's features with those of the training days."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.drift import inputs
from recsys_assets.lib.drift.inputs import InputDrift, InputRules, input_drift, write_inputs
from recsys_assets.lib.quality import profiles
from recsys_assets.partitions import day_bounds

DAYS = [f"2026-03-{day:02d}" for day in range(2, 30)]
AGES = getattr(pl, c.INTERACTION_FEATURES[c.AGE])
Change = Callable[[pl.DataFrame], pl.DataFrame]


def features(
    day: str, rows: int = 3_000, items: int = 200, seed: int = 0, visitors: int = 400
) -> pl.DataFrame:
    """Return a day's features; the rows of a visitor share hour, device, age and gender."""
    rng = np.random.default_rng([int(day.replace("-", "")), seed])
    visitor = rng.integers(visitors, size=rows)
    of_visitor = {
        c.AGE: rng.normal(40, 12, visitors).clip(18, 90).astype(np.float32),
        c.GENDER: rng.choice(["F", "M"], visitors),
        c.DEVICE_TYPE: rng.choice(["mobile", "desktop", "tablet"], visitors, p=[0.6, 0.3, 0.1]),
        c.TOP_CATEGORY: rng.choice([f"top{n}" for n in range(9)], visitors),
        c.TIMESTAMP: day_bounds(day)[0] + rng.integers(86_400, size=visitors),
        c.CLICKS_24H: rng.poisson(2, visitors).astype(np.float32),
        c.HOURS_SINCE_CLICK: rng.integers(0, 25, visitors).astype(np.float32),
        c.CLICKS_LOOK_BACK: rng.poisson(12, visitors).astype(np.float32),
    }
    item = rng.zipf(1.3, rows) % items
    kinds = {name: getattr(pl, kind) for name, kind in c.INTERACTION_FEATURES.items()}
    return pl.DataFrame(
        {
            c.EVENT_ID: [f"e{n}" for n in range(rows)],
            c.USER_ID: visitor.astype(str),
            **{name: values[visitor] for name, values in of_visitor.items()},
            c.ITEM_ID: item.astype(str),
            c.CATEGORY_L1: (item % 8).astype(str),
            c.CATEGORY_L2: (item % 24).astype(str),
            c.ITEM_GENDER: np.array(["F", "M", "Any"])[item % 3],
            c.PRICE: (10.0 + item).astype(np.float64),
            c.ITEM_CLICKS: rng.poisson(6, items)[item].astype(np.float32),
            c.CATEGORY_CLICKS_LOOK_BACK: rng.poisson(3, rows).astype(np.float32),
            c.CATEGORY_CLICKS_24H: rng.poisson(1, rows).astype(np.float32),
            c.CLICK: (rng.random(rows) < 0.2).astype(np.int8),
        }
    ).select(pl.col(name).cast(kind) for name, kind in kinds.items())


def published(folder: Path, day: str, frame: pl.DataFrame) -> Artifact:
    with ArtifactStore(folder).stage("features/interactions", day) as staged:
        frame.write_parquet(staged.path / inputs.FEATURES_FILE)
        profiles.profile(frame, profiles.DAY_FEATURES).write_parquet(
            staged.path / profiles.PROFILE_FILE
        )
        return staged.publish({})


RULES = InputRules(
    first_day=DAYS[0],
    look_back_days=7,
    minimum_rows=500,
    reference_days=2,
    tolerance=0.06,
    unknown_tolerance=0.2,
)


def compared(
    folder: Path,
    day: int,
    change: Change = lambda frame: frame,
    seed: int = 0,
    before: Change = lambda frame: frame,
    first: int = 2,
    **other: Any,
) -> InputDrift:
    """Compare a day with four training days and the first days in service.

    ``before`` changes those first days too. The training begins ten days after the calendar.
    """
    training = [published(folder, one, features(one, seed=seed)) for one in DAYS[10:14]]
    begun = [
        published(folder, one, before(features(one, seed=seed))) for one in DAYS[14 : 14 + first]
    ]
    today = published(folder, DAYS[day], change(features(DAYS[day], seed=seed)))
    return input_drift(today, training, begun, replace(RULES, **other))


@pytest.mark.parametrize("seed", range(6))
def test_a_day_like_the_others_has_not_drifted_even_without_a_tolerance(
    seed: int, tmp_path: Path
) -> None:
    """Also rows that come by visitor: without their design effect, chance alone is an alarm."""
    found = compared(tmp_path, 20, seed=seed, tolerance=0.0)
    assert found.drifted == [] and found.vocabularies == []
    assert {c.AGE, c.DEVICE_TYPE, c.PRICE, c.CLICKS_LOOK_BACK} <= {*found.features["feature"]}
    assert not {c.CLICK, c.ITEM_ID} & {*found.features["feature"]}
    effect = dict(
        zip(found.features["feature"], found.features["rows_per_independent_row"], strict=True)
    )
    assert effect[c.AGE] > 4 and effect[c.CATEGORY_L1] < 2


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        (c.PRICE, lambda frame: frame.with_columns(pl.col(c.PRICE) * 100)),  # cents
        (c.AGE, lambda frame: frame.with_columns(pl.lit(None, AGES).alias(c.AGE))),
        (c.DEVICE_TYPE, lambda frame: frame.with_columns(pl.lit("desktop").alias(c.DEVICE_TYPE))),
        (profiles.HOUR, lambda frame: frame.with_columns(pl.col(c.TIMESTAMP) // 86_400 * 86_400)),
    ],
)
def test_a_feature_that_changed_is_found_alone(
    feature: str, change: Change, tmp_path: Path
) -> None:
    found = compared(tmp_path, 20, change)
    assert found.drifted == [feature]
    metrics = write_inputs(found, tmp_path)
    assert metrics["judged"] and metrics["drifted"] == [feature]
    assert metrics["divergence"][feature] > metrics["limit"][feature]
    assert feature in (tmp_path / inputs.TABLE_FIGURE).read_text()
    assert "svg" in (tmp_path / inputs.BARS_FIGURE).read_text()


def cents(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(c.PRICE) * 100)


def test_what_a_release_changed_by_its_own_lists_is_no_drift(tmp_path: Path) -> None:
    """From its first day in service on, the log has other prices than in the training."""
    found = compared(tmp_path, 20, cents, before=cents)
    price = found.features.row(by_predicate=pl.col("feature") == c.PRICE, named=True)
    assert price["divergence"] > price["limit"] and found.drifted == []
    assert price["from_first_days"] < price["limit_from_first_days"]
    back = compared(tmp_path, 20, before=cents)  # as in the training again: no drift either
    assert back.drifted == []


def test_what_varies_between_the_training_days_is_usual(tmp_path: Path) -> None:
    """Every second day is a quiet one; the day is one of them, its first days in service not."""

    def quiet(day: str, rows: pl.DataFrame) -> pl.DataFrame:
        few = rows.with_columns(pl.lit(0, rows.schema[c.CLICKS_24H]).alias(c.CLICKS_24H))
        return few if int(day[-2:]) % 2 else rows

    def judged(name: str, change: Callable[[str, pl.DataFrame], pl.DataFrame]) -> list[str]:
        training, begun = (
            [published(tmp_path / name, day, change(day, features(day))) for day in days]
            for days in (DAYS[10:14], [DAYS[16], DAYS[18]])
        )
        today = published(tmp_path / name, DAYS[21], quiet(DAYS[21], features(DAYS[21])))
        return input_drift(today, training, begun, RULES).drifted

    assert int(DAYS[21][-2:]) % 2 and not int(DAYS[16][-2:]) % 2
    assert judged("varies", quiet) == []
    assert judged("steady", lambda day, rows: rows) == [c.CLICKS_24H]


def test_too_few_independent_rows_are_not_compared(tmp_path: Path) -> None:
    """Eight visitors have 3,000 rows: their age says nothing, and their items' prices do."""
    training = [published(tmp_path, day, features(day)) for day in DAYS[10:14]]
    today = published(tmp_path, DAYS[20], features(DAYS[20], visitors=8))
    found = {*input_drift(today, training, training[:2], RULES).features["feature"]}
    assert c.AGE not in found and c.PRICE in found


def test_before_the_first_days_are_complete_no_feature_is_judged(tmp_path: Path) -> None:
    found = compared(tmp_path, 20, cents, first=1)
    assert found.drifted == [] and found.features.height
    assert found.features["from_first_days"].null_count() == found.features.height
    assert found.reason == "1 of the first 2 days in service are there"
    assert not write_inputs(found, tmp_path)["judged"]


def test_new_items_are_drift_of_the_vocabulary_beyond_their_usual_share(tmp_path: Path) -> None:
    def renamed(share: float) -> Change:
        return lambda frame: frame.with_columns(
            pl.when(pl.int_range(pl.len()) < share * pl.len())
            .then("new" + pl.col(c.ITEM_ID))
            .otherwise(c.ITEM_ID)
            .alias(c.ITEM_ID)
        )

    found = compared(tmp_path / "a", 20, renamed(0.5))
    assert found.vocabularies == [c.ITEM_ID] and found.drifted == []
    assert found.unknown[c.ITEM_ID] == pytest.approx(0.5, abs=0.02)
    assert compared(tmp_path / "b", 20, renamed(0.1)).vocabularies == []
    # a shop half of whose items are new on every day
    half = renamed(0.5)
    training = [
        published(
            tmp_path / "c",
            day,
            half(features(day)).with_columns(
                pl.when(pl.col(c.ITEM_ID).str.starts_with("new"))
                .then(pl.col(c.ITEM_ID) + day)
                .otherwise(c.ITEM_ID)
                .alias(c.ITEM_ID)
            ),
        )
        for day in DAYS[10:14]
    ]
    today = published(tmp_path / "c", DAYS[14], half(features(DAYS[14])))
    news = input_drift(today, training, [], RULES)
    assert news.unknown[c.ITEM_ID] > 0.4 and news.vocabularies == []


def test_too_few_rows_and_no_training_day_compare_nothing(tmp_path: Path) -> None:
    few = compared(tmp_path / "a", 20, lambda frame: frame.head(400))
    assert few.drifted == [] and few.reason == "400 of 500 rows"
    metrics = write_inputs(few, tmp_path)
    assert not metrics["judged"] and not (tmp_path / inputs.BARS_FIGURE).exists()
    today = published(tmp_path / "b", DAYS[20], features(DAYS[20]))
    none = input_drift(today, [], [], RULES)
    assert none.reason == "no training day has a profile" and none.vocabularies == []


def test_features_that_still_grow_are_not_compared(tmp_path: Path) -> None:
    """The look-back is 20 days long: the training days and the day itself lack some of it."""
    found = compared(tmp_path, 15, look_back_days=20)
    assert c.CLICKS_LOOK_BACK not in {*found.features["feature"]}
    assert c.CLICKS_24H in {*found.features["feature"]}


def test_unknown_visitors_rows_are_units_of_their_own(tmp_path: Path) -> None:
    found = compared(
        tmp_path, 20, lambda frame: frame.with_columns(pl.lit(c.MISSING).alias(c.USER_ID))
    )
    by_visitor = found.features.filter(~pl.col("feature").is_in([*inputs.OF_ITEMS]))
    assert by_visitor["rows_per_independent_row"].max() == pytest.approx(1)
