"""Point-in-time features against a brute-force oracle."""

import doctest

import numpy as np
import polars as pl
import pytest

from recsys_assets.columns import INTERACTION_FEATURES
from recsys_assets.lib.features import as_arrived, click_ranges
from recsys_assets.lib.features.activity import activity_features, history
from recsys_assets.lib.features.point_in_time import (
    FeatureError,
    interaction_features,
    item_popularity,
    mask,
)
from recsys_assets.partitions import day_bounds, previous_day

DAY = "2026-11-20"
START, END = day_bounds(DAY)
CATEGORIES = ["books", "floral", "tools", "apparel"]
ITEMS = pl.DataFrame(
    {
        "item_id": [f"i{n}" for n in range(12)],
        "category_l1": [CATEGORIES[n % 4] for n in range(12)],
        "category_l2": [f"s{n % 6}" for n in range(12)],
        "item_gender": "Any",
        "price": [float(n + 1) for n in range(12)],
    }
)
USERS = pl.DataFrame(
    {"user_id": ["1", "2", "3"], "age": [30, None, 50], "gender": ["F", "M", "F"]},
    schema_overrides={"age": pl.Int32},
)
EVENTS = ["Impression", "View", "AddToCart", "Purchase"]


def _interactions(rows: list[tuple[str, str, int, str]], prefix: str = "e") -> pl.DataFrame:
    """(user, item, timestamp, event type) → RAW_INTERACTIONS."""
    frame = pl.DataFrame(
        rows,
        schema={
            "user_id": pl.String,
            "item_id": pl.String,
            "timestamp": pl.Int64,
            "event_type": pl.String,
        },
        orient="row",
    )
    return frame.select(
        pl.format(prefix + "{}", pl.int_range(pl.len())).alias("event_id"),
        "user_id",
        "item_id",
        "timestamp",
        pl.lit("mobile").alias("device_type"),
        "event_type",
        (pl.col("event_type") != "Impression").cast(pl.Int8).alias("click"),
    )


def _random_day(day: str, n: int, seed: int) -> pl.DataFrame:
    """Draw busy and rare users with frequent equal seconds, equal counts and empty windows."""
    rng = np.random.default_rng(seed)
    users = np.where(rng.random(n) < 0.2, rng.integers(6, 40, n), rng.integers(1, 6, n))
    return _interactions(
        [
            (str(u), f"i{i}", day_bounds(day)[0] + 600 * int(t), EVENTS[e])
            for u, i, t, e in zip(
                users,
                rng.integers(12, size=n),
                rng.integers(144, size=n),
                rng.choice(4, n, p=[0.5, 0.4, 0.06, 0.04]),
                strict=True,
            )
        ],
        prefix=day + "-",
    )


CATEGORY = dict(ITEMS.select("item_id", "category_l1").iter_rows())


def _earlier(seed: int, days: int = 8, rows: int = 120) -> pl.DataFrame:
    """Draw busy days before DAY, one more than the history covers."""
    names = [DAY]
    for _ in range(days):
        names.append(previous_day(names[-1]))
    return pl.concat([_random_day(name, rows, seed + n) for n, name in enumerate(names[1:])])


def _clicked(
    events: pl.DataFrame, user: str, now: int, most: int = 200, seconds: int = 86_400
) -> list[tuple[str, str, int]]:
    """Return (category, item, time) of a user's latest clicks in [now − seconds, now)."""
    clicked = sorted(
        (r["timestamp"], r["item_id"])
        for r in events.iter_rows(named=True)
        if r["user_id"] == user
        and r["event_type"] != "Impression"
        and r["timestamp"] < now
        and (r.get("arrived", 0) - r["timestamp"] <= 60 or r["arrived"] <= now)
    )
    return [(CATEGORY[item], item, at) for at, item in clicked[-most:] if at >= now - seconds]


def _oracle(events: pl.DataFrame, user: str, now: int) -> tuple[str, float, float]:
    """Compute the definition on the raw rows."""
    clicked = _clicked(events, user, now)
    names = sorted({c for c, _, _ in clicked})
    if not names:
        return "-1", 0.0, 24.0
    most = max(sum(c == n for c, _, _ in clicked) for n in names)
    names = [n for n in names if sum(c == n for c, _, _ in clicked) == most]
    latest = max(t for c, _, t in clicked if c in names)
    return (
        min(c for c, _, t in clicked if c in names and t == latest),
        float(len(clicked)),
        float(np.float32((now - clicked[-1][2]) / 3_600)),
    )


def _history(events: pl.DataFrame, user: str, now: int, item: str) -> tuple[float, float, float]:
    """Compute clicks_look_back, category_clicks_look_back and category_clicks_24h on the raw rows."""
    week, day = (_clicked(events, user, now, seconds=seconds) for seconds in (7 * 86_400, 86_400))
    return (
        float(len(week)),
        float(sum(c == CATEGORY[item] for c, _, _ in week)),
        float(sum(c == CATEGORY[item] for c, _, _ in day)),
    )


def _popularity(events: pl.DataFrame, item: str) -> float:
    return float(events.filter(pl.col("item_id") == item, pl.col("event_type") == "View").height)


ACTIVITY = ["top_category", "clicks_24h", "hours_since_click"]
HISTORY = ["clicks_look_back", "category_clicks_look_back", "category_clicks_24h"]


@pytest.mark.parametrize(("look_back_days", "counted"), [(2, []), (7, ["i1"]), (30, ["i5", "i1"])])
def test_clicks_count_for_the_look_back_days(look_back_days, counted):
    """Clicks of 31, 10 and 3 days before; all but i2 are of one category."""
    now = START + 3_600
    clicked = [("i2", 31), ("i5", 10), ("i1", 3)]
    earlier = _interactions([("1", item, now - days * 86_400, "View") for item, days in clicked])
    today = _interactions([("1", "i1", now, "View")], prefix="t")
    features, remembered, states = interaction_features(
        today, earlier, USERS, ITEMS, DAY, look_back_days=look_back_days
    )
    count = float(len(counted))
    assert features.select(HISTORY).rows() == [(count, count, 0.0)]
    assert remembered["categories"].to_list() == [[CATEGORY[item] for item in counted]]
    assert states["recent_items"].to_list() == [[*counted, "i1"]]


@pytest.mark.parametrize("seed", range(4))
def test_every_row_equals_the_oracle(seed):
    today, earlier = _random_day(DAY, 250, seed), _earlier(seed + 100)
    features, remembered, _ = interaction_features(
        today, earlier, USERS, ITEMS, DAY, look_back_days=7
    )
    both, yesterday = (
        pl.concat([earlier, today]),
        earlier.filter(pl.col("timestamp") >= START - 86_400),
    )
    expected = [
        _oracle(both, user, now)
        for user, now in features.select("user_id", "timestamp").iter_rows()
    ]
    assert features.select(ACTIVITY).rows() == expected
    assert {top for top, _, _ in expected} == {*CATEGORIES, "-1"} and max(
        count for _, count, _ in expected
    ) > 5
    assert features["item_clicks"].to_list() == [
        _popularity(yesterday, item) for item in features["item_id"]
    ]
    assert features["item_clicks"].n_unique() > 3
    asked = features.select("user_id", "timestamp", "item_id").rows()
    assert features.select(HISTORY).rows() == [_history(both, *row) for row in asked]
    assert features["category_clicks_look_back"].max() > features["category_clicks_24h"].max() > 2
    clicked = features.filter(pl.col("click") == 1)
    assert remembered["event_id"].equals(clicked["event_id"])
    assert remembered["categories"].to_list() == [
        [category for category, _, _ in _clicked(both, user, now, seconds=7 * 86_400)]
        for user, now in clicked.select("user_id", "timestamp").iter_rows()
    ]


def test_the_clicks_of_the_days_before_alone_say_the_same():
    """The asset reads no impressions of earlier days."""
    today, earlier = _random_day(DAY, 250, 5), _earlier(50)
    clicks = earlier.filter(pl.col("event_type") != "Impression")
    for whole, alone in zip(
        interaction_features(today, earlier, USERS, ITEMS, DAY, look_back_days=7),
        interaction_features(today, clicks, USERS, ITEMS, DAY, look_back_days=7),
        strict=True,
    ):
        assert whole.equals(alone)


@pytest.mark.parametrize("seed", range(2))
def test_the_live_path_gets_the_same_from_the_latest_state_before_a_moment(seed):
    """Serving looks up the visitor's state and computes features at the request's time."""
    before, yesterday, today = (
        _random_day(day, 250, seed + n)
        for n, day in enumerate([previous_day(previous_day(DAY)), previous_day(DAY), DAY])
    )
    features, _, states_today = interaction_features(
        today, pl.concat([before, yesterday]), USERS, ITEMS, DAY, look_back_days=7
    )
    _, _, states_yesterday = interaction_features(
        yesterday, before, USERS, ITEMS, previous_day(DAY), look_back_days=7
    )
    _, _, states_before = interaction_features(
        before, None, USERS, ITEMS, previous_day(previous_day(DAY)), look_back_days=7
    )
    states = pl.concat([states_before, states_yesterday, states_today])
    for row in features.iter_rows(named=True):
        past = states.filter(
            pl.col("user_id") == row["user_id"], pl.col("timestamp") < row["timestamp"]
        )
        latest = (
            past.sort("timestamp").row(-1, named=True)
            if past.height
            else {"recent_categories": [], "recent_timestamps": []}
        )
        clicks = latest["recent_categories"], latest["recent_timestamps"]
        top, count, hours = activity_features(*clicks, row["timestamp"])
        assert (top, count, np.float32(hours)) == tuple(row[name] for name in ACTIVITY)
        remembered, recent = history(*clicks, row["timestamp"], look_back_days=7)
        assert (len(remembered), recent) == (row["clicks_look_back"], row["clicks_24h"])
        assert remembered.count(row["category_l1"]) == row["category_clicks_look_back"]


def test_a_click_history_holds_the_clicks_before_its_second():
    """By hand: no click of the second itself, none older than the look-back, no impression."""
    now, day = START + 7_200, 86_400
    earlier = _interactions(
        [
            ("1", "i0", now - 7 * day - 1, "View"),  # at now too old by a second
            ("1", "i1", now - 7 * day, "View"),
            ("1", "i2", now - day, "Purchase"),
            ("2", "i3", now - day, "View"),
        ],
        "a",
    )
    today = _interactions(
        [
            ("1", "i4", now - 5_400, "View"),
            ("1", "i5", now - 1_800, "Impression"),
            ("1", "i6", now - 1, "AddToCart"),
            ("1", "i7", now, "View"),
            ("1", "i8", now, "View"),
            ("1", "i9", now + 1, "View"),
        ],
        "b",
    )
    _, found, _ = interaction_features(today, earlier, USERS, ITEMS, DAY, look_back_days=7)
    assert found.schema == {
        "event_id": pl.String,
        "categories": pl.List(pl.String),
        "items": pl.List(pl.String),
        "ages": pl.List(pl.Float32),
    }
    second = float(np.float32(1 / 3_600))
    rows = {event: lists for event, *lists in found.iter_rows()}
    assert rows["b0"][1:] == [["i0", "i1", "i2"], [pytest.approx(166.5 + second), 166.5, 22.5]]
    both = ["floral", "tools", "books", "tools"], ["i1", "i2", "i4", "i6"], [168.0, 24, 1.5, second]
    assert rows["b3"] == rows["b4"] == list(both)
    assert rows["b5"][1] == ["i2", "i4", "i6", "i7", "i8"]  # i1 is a second too old by now
    assert rows["b5"][2][-2:] == [second, second] and len(rows) == 4


def test_of_a_click_history_the_items_are_the_latest_fifty():
    today = _interactions([("1", f"i{n % 7}", START + 60 * n, "View") for n in range(70)])
    _, found, _ = interaction_features(today, None, USERS, ITEMS, DAY, look_back_days=7)
    categories, items, ages = found.row(69)[1:]
    assert len(categories) == 69 and items == [f"i{n % 7}" for n in range(19, 69)]
    assert ages == [float(np.float32((69 - n) / 60)) for n in range(19, 69)]


def test_states_hold_the_clicks_up_to_and_including_theirs():
    today, yesterday = _random_day(DAY, 300, 9), _random_day(previous_day(DAY), 300, 10)
    _, _, states = interaction_features(today, yesterday, USERS, ITEMS, DAY, look_back_days=7)
    assert {name: str(kind) for name, kind in states.schema.items()} == {
        "user_id": "String",
        "timestamp": "Int64",
        "recent_categories": "List(String)",
        "recent_items": "List(String)",
        "recent_timestamps": "List(Int64)",
    }
    clicks = (
        today.filter(pl.col("event_type") != "Impression").select("user_id", "timestamp").unique()
    )
    assert states.select("user_id", "timestamp").rows() == sorted(clicks.rows())
    both = pl.concat([yesterday, today])
    for user, at, *lists in states.iter_rows():
        assert list(zip(*lists, strict=True)) == _clicked(both, user, at + 1, seconds=7 * 86_400)
    assert states["recent_items"].list.n_unique().max() > 5


def test_of_a_busy_visitor_the_latest_two_hundred_clicks_count():
    rows = [("1", f"i{n % 2}", START + 10 * n, "View") for n in range(320)]
    today = _interactions(
        [
            *rows[:120],
            *[("1", "i2", at, kind) for _, _, at, kind in rows[120:]],
            ("1", "i3", START + 5_000, "Impression"),
        ]
    )
    features, _, states = interaction_features(today, None, USERS, ITEMS, DAY, look_back_days=7)
    both = [_oracle(today, "1", at) for at in features["timestamp"]]
    assert features.select(ACTIVITY).rows() == both and both[-1] == (
        "tools",
        200.0,
        float(np.float32(1_810 / 3_600)),
    )
    assert features["clicks_24h"].max() == features["clicks_look_back"].max() == 200.0
    assert states["recent_categories"].list.len().to_list() == [min(n + 1, 200) for n in range(320)]
    assert states["recent_items"][-1].to_list() == ["i2"] * 200
    assert (
        states["recent_items"][199].to_list()
        == [item for _, item, _, _ in rows[:120]] + ["i2"] * 80
    )


def test_window_edges_and_ties_golden():
    t = START + 43_200
    yesterday = _interactions(
        [
            ("1", "i0", t - 86_401, "View"),
            ("1", "i0", t - 86_401, "Purchase"),
            ("1", "i2", t - 86_400, "View"),
        ],
        "y",
    )
    today = _interactions(
        [("1", "i1", t, "View"), ("1", "i5", t, "Impression"), ("1", "i3", t + 1, "Impression")]
    )
    features, _, _ = interaction_features(today, yesterday, USERS, ITEMS, DAY, look_back_days=7)
    # at t: books are too old by a second, tools just inside, the click at t itself does not count;
    # one second later tools are too old and the click at t (floral) counts
    assert features["top_category"].to_list() == ["tools", "tools", "floral"]
    assert features["clicks_24h"].to_list() == [1.0, 1.0, 1.0]
    assert features["hours_since_click"].to_list() == [24.0, 24.0, float(np.float32(1 / 3_600))]


def test_nothing_at_or_after_a_moment_changes_its_features():
    today, yesterday = _random_day(DAY, 250, 21), _random_day(previous_day(DAY), 250, 22)
    features, _, _ = interaction_features(today, yesterday, USERS, ITEMS, DAY, look_back_days=7)
    for moment in features["timestamp"].unique().sort()[::9]:
        now = pl.col("timestamp") == moment
        # the moment's exposures stay without their outcome; all later events are removed
        questions = today.filter(
            now, pl.col("event_type").is_in(["Impression", "View"])
        ).with_columns(event_type=pl.lit("Impression"), click=pl.lit(0, pl.Int8))
        past = pl.concat([today.filter(pl.col("timestamp") < moment), questions])
        again, _, _ = interaction_features(past, yesterday, USERS, ITEMS, DAY, look_back_days=7)
        assert features.filter(now).drop("click").equals(again.filter(now).drop("click"))


def test_shuffled_answers_from_a_moment_on_change_nothing_before():
    """Change clicks, items, visitors and times from the moment on."""
    today, yesterday = _random_day(DAY, 300, 31), _random_day(previous_day(DAY), 300, 32)
    features, _, states = interaction_features(
        today, yesterday, USERS, ITEMS, DAY, look_back_days=7
    )
    for seed, moment in enumerate(features["timestamp"].unique().sort()[10::13]):
        later = (
            _random_day(DAY, 300, 1_000 + seed)
            .filter(pl.col("timestamp") >= moment)
            .with_columns(pl.format("later-{}", "event_id").alias("event_id"))
        )
        other, _, other_states = interaction_features(
            pl.concat([today.filter(pl.col("timestamp") < moment), later]),
            yesterday,
            USERS,
            ITEMS,
            DAY,
            look_back_days=7,
        )
        before = pl.col("timestamp") < moment
        assert (
            features.filter(before).equals(other.filter(before)) and features.filter(before).height
        )
        assert states.filter(before).equals(other_states.filter(before))


def test_item_popularity_counts_the_views_of_its_day():
    day = _interactions(
        [
            ("1", "i0", START, "View"),
            ("2", "i0", END - 1, "View"),
            ("1", "i0", START - 1, "View"),
            ("1", "i0", END, "View"),
            ("1", "i0", START, "Purchase"),
            ("1", "i1", START, "Impression"),
            ("3", "i2", START + 5, "View"),
        ]
    )
    popularity = item_popularity(day, ITEMS, DAY)
    assert {name: str(kind) for name, kind in popularity.schema.items()} == {
        "item_id": "String",
        "item_clicks": "Float32",
        "timestamp": "Int64",
    }
    assert popularity["item_id"].to_list() == sorted(ITEMS["item_id"])
    assert popularity["timestamp"].unique().to_list() == [END]
    assert {i: n for i, n, _ in popularity.iter_rows() if n} == {"i0": 2.0, "i2": 1.0}


def test_features_are_the_exposures_with_their_attributes():
    today = _interactions(
        [
            ("2", "i1", START + 9, "View"),
            ("1", "i0", START + 5, "Impression"),
            ("2", "i1", START + 9, "AddToCart"),
            ("guest", "i2", START + 9, "View"),
        ]
    )
    features, _, activity = interaction_features(today, None, USERS, ITEMS, DAY, look_back_days=7)
    assert {name: str(kind) for name, kind in features.schema.items()} == INTERACTION_FEATURES
    assert features.select(
        "event_id", "click", "age", "gender", "category_l1", "category_l2", "price"
    ).rows() == [
        ("e1", 0, 30.0, "F", "books", "s0", 1.0),
        ("e0", 1, None, "M", "floral", "s1", 2.0),
        ("e3", 1, None, "-1", "tools", "s2", 3.0),
    ]
    assert features["item_clicks"].to_list() == [0.0, 0.0, 0.0]  # the calendar's first day
    assert activity.rows() == [
        ("2", START + 9, ["floral", "floral"], ["i1", "i1"], [START + 9] * 2),
        ("guest", START + 9, ["tools"], ["i2"], [START + 9]),
    ]


def test_the_order_of_input_rows_changes_nothing():
    today, yesterday = _random_day(DAY, 120, 3), _random_day(previous_day(DAY), 120, 4)
    first = interaction_features(today, yesterday, USERS, ITEMS, DAY, look_back_days=7)
    again = interaction_features(
        today.sample(fraction=1, shuffle=True, seed=1),
        yesterday.reverse(),
        USERS.reverse(),
        ITEMS.reverse(),
        DAY,
        look_back_days=7,
    )
    assert first[0].equals(again[0])
    assert first[1].equals(again[1]) and first[2].equals(again[2])


def test_a_day_without_clicks_and_an_unknown_item():
    shown = _interactions([("1", "i0", START, "Impression")])
    features, _, activity = interaction_features(shown, None, USERS, ITEMS, DAY, look_back_days=7)
    assert features.select(ACTIVITY).rows() == [("-1", 0.0, 24.0)]
    assert features.select(HISTORY).rows() == [(0.0, 0.0, 0.0)]
    assert activity.is_empty()
    with pytest.raises(FeatureError, match=r"item_id: 1 interactions .*'gone'"):
        interaction_features(
            _interactions([("1", "gone", START, "View")]), None, USERS, ITEMS, DAY, look_back_days=7
        )


def test_mask_hides_visitors_and_devices_independently():
    today = _interactions([(str(n % 3 + 1), "i0", START + n, "View") for n in range(8_000)])
    features, _, _ = interaction_features(
        today, None, USERS.with_columns(age=pl.lit(40, pl.Int32)), ITEMS, DAY, look_back_days=7
    )
    masked = mask(features, DAY, 7)
    assert masked.schema == features.schema
    assert masked.equals(mask(features, DAY, 7))
    assert not masked.equals(mask(features, DAY, 8))
    assert not masked.equals(mask(features, previous_day(DAY), 7))
    visitor, device = masked["user_id"] == "-1", masked["device_type"] == "-1"
    assert 0.04 < visitor.mean() < 0.06
    assert 0.04 < device.mean() < 0.06
    assert 0 < (visitor & device).sum() < 50
    hidden, shown = masked.filter(visitor), masked.filter(~visitor)
    assert (
        hidden["gender"].unique().to_list() == hidden["top_category"].unique().to_list() == ["-1"]
    )
    assert hidden["age"].is_null().all()
    assert hidden.select(*HISTORY).sum().row(0) == (0.0, 0.0, 0.0)
    assert hidden["clicks_24h"].unique().to_list() == [0.0] and hidden[
        "hours_since_click"
    ].unique().to_list() == [24.0]
    assert shown["clicks_24h"].max() == 200.0
    assert shown.drop("device_type").equals(features.filter(~visitor).drop("device_type"))
    untouched = [
        "event_id",
        "item_id",
        "timestamp",
        "click",
        "category_l1",
        "category_l2",
        "item_gender",
        "price",
        "item_clicks",
    ]
    assert masked.select(untouched).equals(features.select(untouched))


def test_docstring_examples_run():
    assert doctest.testmod(click_ranges).failed == 0
    assert doctest.testmod(click_ranges).attempted == 1


# --- late events
def _late(rows: pl.DataFrame, seed: int, share: float, longest: int = 200_000) -> pl.DataFrame:
    """Draw arrivals: most within a minute, some later, several at once."""
    rng = np.random.default_rng(seed)
    delay = np.where(
        rng.random(rows.height) < share,
        rng.integers(0, longest, rows.height) // 900 * 900,
        rng.integers(0, 61, rows.height),
    )
    return rows.with_columns((pl.col("timestamp") + pl.Series(delay)).alias("arrived"))


def test_an_event_of_ten_that_arrives_at_three_counts_from_then_on():
    """A click of 10:00 arrives at 15:00: not in the features of 12:00, in those of 16:00."""
    hour = [START + n * 3_600 for n in range(24)]
    rows = [("1", "i0", hour[9], "View"), ("1", "i1", hour[10], "View")]
    rows += [("1", "i1", at, "View") for at in (hour[12], hour[15], hour[16])]
    rows += [("2", "i1", hour[12], "View")]
    today = _interactions(rows).with_columns(
        pl.when(pl.col("timestamp") == hour[10])
        .then(pl.lit(hour[15], pl.Int64))
        .otherwise(pl.col("timestamp") + 3)
        .alias("arrived")
    )
    features, remembered, states = interaction_features(
        today, None, USERS, ITEMS, DAY, look_back_days=7
    )
    found = features.filter(pl.col("user_id") == "1").select(
        (pl.col("timestamp") - START) // 3_600, "clicks_24h", "hours_since_click", "top_category"
    )
    assert found.rows() == [
        (9, 0.0, 24.0, "-1"),
        (10, 1.0, 1.0, "books"),
        (12, 1.0, 3.0, "books"),  # the click of 10:00 is not there yet
        (15, 3.0, 3.0, "floral"),  # it is, in the second of its arrival
        (16, 4.0, 1.0, "floral"),
    ]
    assert remembered["categories"].to_list()[2:4] == [["books"], []]
    own = states.filter(pl.col("user_id") == "1").select("timestamp", "recent_items")
    assert own.rows() == [
        (hour[9], ["i0"]),
        (hour[12], ["i0", "i1"]),
        (hour[15] - 1, ["i0", "i1", "i1"]),
        (hour[15], ["i0", "i1", "i1", "i1"]),
        (hour[16], ["i0", "i1", "i1", "i1", "i1"]),
    ]


@pytest.mark.parametrize(("seed", "share"), [(0, 0.05), (1, 0.3), (2, 0.3), (3, 1.0)])
def test_every_row_with_late_events_equals_the_oracle(seed, share):
    today = _late(_random_day(DAY, 250, seed), seed, share)
    earlier = _late(_earlier(seed + 100), seed + 7, share)
    features, remembered, states = interaction_features(
        today, earlier, USERS, ITEMS, DAY, look_back_days=7
    )
    both = pl.concat([earlier, today])
    asked = features.select("user_id", "timestamp", "item_id").rows()
    expected = [_oracle(both, user, now) for user, now, _ in asked]
    assert features.select(ACTIVITY).rows() == expected
    assert features.select(HISTORY).rows() == [_history(both, *row) for row in asked]
    on_time, _, _ = interaction_features(
        today.drop("arrived"), earlier.drop("arrived"), USERS, ITEMS, DAY, look_back_days=7
    )
    assert not features.select(ACTIVITY + HISTORY).equals(on_time.select(ACTIVITY + HISTORY))
    clicked = features.filter(pl.col("click") == 1)
    assert remembered["categories"].to_list() == [
        [category for category, _, _ in _clicked(both, user, now, seconds=7 * 86_400)]
        for user, now in clicked.select("user_id", "timestamp").iter_rows()
    ]
    # the latest state strictly before a moment says what the features of that moment say
    for user, now, _ in asked[::5]:
        before = states.filter(pl.col("user_id") == user, pl.col("timestamp") < now)
        if before.height:
            latest = before.sort("timestamp").row(-1, named=True)
            kept = [at for at in latest["recent_timestamps"] if at >= now - 7 * 86_400]
            assert kept == [at for _, _, at in _clicked(both, user, now, seconds=7 * 86_400)]
    assert states.rows() == sorted(states.rows(), key=lambda row: row[:2])
    yesterday = earlier.filter(
        pl.col("timestamp") >= START - 86_400,
        (pl.col("arrived") - pl.col("timestamp") <= 60) | (pl.col("arrived") <= START),
    )
    assert features["item_clicks"].to_list() == [
        _popularity(yesterday, item) for item in features["item_id"]
    ]


@pytest.mark.parametrize("most", [1, 3])
def test_the_latest_clicks_alone_count_among_late_ones_too(monkeypatch, most):
    for module in (click_ranges, as_arrived):
        monkeypatch.setattr(module, "RECENT_CLICKS", most)
    today = _late(_random_day(DAY, 250, 4), 4, 0.4)
    earlier = _late(_earlier(104), 5, 0.4)
    features, _, _ = interaction_features(today, earlier, USERS, ITEMS, DAY, look_back_days=7)
    both = pl.concat([earlier, today])
    assert features["clicks_look_back"].to_list() == [
        float(len(_clicked(both, user, now, most, 7 * 86_400)))
        for user, now in features.select("user_id", "timestamp").iter_rows()
    ]


def test_events_on_time_give_the_same_as_without_their_arrivals():
    today, earlier = _random_day(DAY, 250, 6), _earlier(60)
    for with_arrivals, without in zip(
        interaction_features(
            _late(today, 1, 0.0), _late(earlier, 2, 0.0), USERS, ITEMS, DAY, look_back_days=7
        ),
        interaction_features(today, earlier, USERS, ITEMS, DAY, look_back_days=7),
        strict=True,
    ):
        assert with_arrivals.equals(without)
