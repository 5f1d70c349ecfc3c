"""Values of clicks, against a row-by-row oracle and golden values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.event_values import EventValues
from recsys_assets.lib.features.click_values import (
    NoPrice,
    click_values,
    read_click_values,
    with_values,
    write_click_values,
)

Event = tuple[str, str, int, str]  # user, item, unix seconds, type
HOUR = 3_600
ITEMS = pl.DataFrame(
    {c.ITEM_ID: ["a", "b", "x"], c.PRICE: [10.0, 30.0, None]},
    schema_overrides={c.PRICE: pl.Float64},
)


def log(events: list[Event]) -> pl.DataFrame:
    user, item, at, kind = zip(*events, strict=True) if events else ((), (), (), ())
    return pl.DataFrame(
        {
            c.EVENT_ID: [f"e{n:03}" for n in range(len(user))],
            c.USER_ID: user,
            c.ITEM_ID: item,
            c.TIMESTAMP: at,
            c.DEVICE_TYPE: ["-1"] * len(user),
            c.EVENT_TYPE: kind,
            c.CLICK: [int(one != c.IMPRESSION) for one in kind],
        },
        schema={name: getattr(pl, of) for name, of in c.RAW_INTERACTIONS.items()},
    )


def values(events: list[Event], setting: str, items: pl.DataFrame = ITEMS) -> dict[str, float]:
    found, _ = click_values(log(events).lazy(), items, EventValues.parse(setting))
    assert found.schema == {c.EVENT_ID: pl.String, c.VALUE: pl.Float32}
    return dict(found.iter_rows())


def test_a_click_has_the_values_of_the_events_that_follow_it() -> None:
    events = [
        ("u", "a", 0, "View"),
        ("u", "a", 60, "AddToCart"),
        ("u", "a", 90, "AddToCart"),  # each event type counts once
        ("u", "b", 95, "View"),
        ("u", "a", 100, "View"),  # what follows belongs to this click
        ("u", "a", 100, "Purchase"),
        ("u", "a", 110, "ViewCart"),  # not named
        ("v", "a", 120, "Purchase"),  # without a click
        ("v", "a", 130, "View"),
        ("w", "b", 0, "Impression"),
    ]
    assert values(events, "View=1,AddToCart=4,Purchase=10") == {
        "e000": 5.0,
        "e003": 1.0,
        "e004": 11.0,
        "e008": 1.0,
    }


def test_what_comes_later_than_a_day_does_not_count() -> None:
    events = [
        ("u", "a", 0, "View"),
        ("u", "a", 24 * HOUR, "AddToCart"),
        ("u", "a", 24 * HOUR + 1, "Purchase"),
    ]
    assert values(events, "AddToCart=4,Purchase=10") == {"e000": 5.0}


def test_unknown_visitors_are_not_one_visitor() -> None:
    events = [("-1", "a", 0, "View"), ("-1", "a", 60, "Purchase")]
    assert values(events, "Purchase=10") == {"e000": 1.0}


def test_prices_are_relative_to_the_median_and_unknown_ones_are_the_median() -> None:
    events = [
        (user, item, at, kind)
        for user, item in (("u", "a"), ("v", "b"), ("w", "x"), ("t", "not in the catalogue"))
        for at, kind in ((0, "View"), (60, "Purchase"))
    ]
    # the median is 20
    assert values(events, "View=0,Purchase=2*price") == {
        "e000": 1.0,
        "e002": 3.0,
        "e004": 2.0,
        "e006": 2.0,
    }
    assert values(events, "View=price,Purchase=1")["e002"] == 2.5


def test_prices_that_nobody_knows_are_refused() -> None:
    nothing = ITEMS.with_columns(pl.lit(None, pl.Float64).alias(c.PRICE))
    with pytest.raises(NoPrice, match=r"RECSYS_EVENT_VALUES values Purchase by price.*number"):
        values([("u", "a", 0, "View")], "Purchase=price", nothing)
    assert values([("u", "a", 0, "View")], "Purchase=10", nothing) == {"e000": 1.0}


def test_a_log_of_clicks_alone_has_one_value_and_an_empty_one_none() -> None:
    assert values([("u", "a", 0, "View"), ("u", "a", 9, "View")], "Purchase=10") == {
        "e000": 1.0,
        "e001": 1.0,
    }
    assert values([], "Purchase=10") == {}


def test_values_equal_those_of_a_loop_over_the_events() -> None:
    rng = np.random.default_rng(4)
    kinds = ["Impression", "View", "View", "AddToCart", "ViewCart", "StartCheckout", "Purchase"]
    events = [
        (
            str(rng.choice(["u", "v", "-1"])),
            str(rng.choice(["a", "b", "x"])),
            int(rng.integers(0, 72 * HOUR)),
            str(rng.choice(kinds)),
        )
        for _ in range(600)
    ]
    worth = {"View": 1.0, "AddToCart": 4.0, "Purchase": 10.0}
    expected = {}
    for n, (user, item, at, kind) in enumerate(events):
        if kind != "View":
            continue
        again = min(
            (t for u, i, t, k in events if (u, i, k) == (user, item, "View") and t > at),
            default=10**9,
        )
        later = {
            k
            for u, i, t, k in events
            if (u, i) == (user, item) != ("-1", item)
            and at <= t < again
            and t - at <= 24 * HOUR
            and k != "View"
        }
        expected[f"e{n:03}"] = 1.0 + sum(worth.get(k, 0.0) for k in later)
    assert values(events, "View=1,AddToCart=4,Purchase=10") == expected


def day(store: ArtifactStore, name: str, frame: pl.DataFrame) -> Artifact:
    with store.stage("raw/interactions", name) as staged:
        frame.with_columns((name + pl.col(c.EVENT_ID)).alias(c.EVENT_ID)).write_parquet(
            staged.path / "interactions.parquet"
        )
        return staged.publish()


def test_a_training_click_has_no_value_of_the_validation_days(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "artifacts"))
    with store.stage("raw/items", None) as staged:
        ITEMS.write_parquet(staged.path / "items.parquet")
        items = staged.publish()
    first, second, third = (
        day(store, name, log(events))
        for name, events in {
            "1970-01-01": [("u", "a", 23 * HOUR, "View"), ("v", "a", 23 * HOUR, "View")],
            "1970-01-02": [("u", "a", 25 * HOUR, "Purchase"), ("w", "b", 47 * HOUR, "View")],
            "1970-01-03": [
                ("w", "b", 49 * HOUR, "Purchase"),
                ("w", "b", 50 * HOUR, "View"),
                ("w", "b", 51 * HOUR, "AddToCart"),
            ],
        }.items()
    )
    with store.stage("features/click_values", "1970-01-03") as staged:
        figures = write_click_values(
            training=[first, second],
            validation=[third],
            items=items,
            target=staged.path,
            event_values="AddToCart=4,Purchase=10",
        )
        written = staged.publish(figures)
    assert dict(read_click_values(written).iter_rows()) == {
        "1970-01-01e000": 11.0,
        "1970-01-01e001": 1.0,
        "1970-01-02e001": 1.0,
        "1970-01-03e001": 5.0,
    }
    assert figures == {
        "clicks": 4,
        "mean_value": 4.5,
        "events": {
            "View": {"value": "1", "events": 4, "counted": 4},
            "AddToCart": {"value": "4", "events": 1, "counted": 1},
            "Purchase": {"value": "10", "events": 2, "counted": 1},
        },
    }


def test_rows_without_a_click_are_worth_1_and_a_click_without_a_value_is_refused() -> None:
    rows = pl.DataFrame({c.EVENT_ID: ["p", "q"], c.CLICK: [1, 0]})
    known = pl.DataFrame(
        {c.EVENT_ID: ["p"], c.VALUE: [5.0]}, schema_overrides={c.VALUE: pl.Float32}
    )
    assert with_values(rows, known)[c.VALUE].to_list() == [5.0, 1.0]
    with pytest.raises(ValueError, match=r"1 clicks have no value, for example 'p'.*materialise"):
        with_values(rows, known.clear())
