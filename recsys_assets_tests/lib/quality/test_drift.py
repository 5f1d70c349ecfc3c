"""Divergence: golden values, scipy as the oracle, binning that adds up over days."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import jensenshannon

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.quality import drift, profiles

# by hand: m = (3/4, 1/4), so half of [log2(4/3)] and of [1/2 log2(2/3) + 1/2 log2(2)]
HALF = 0.5 * math.log2(4 / 3) + 0.5 * (0.5 * math.log2(2 / 3) + 0.5)


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        ([1, 1], [7, 7], 0.0),
        ([1, 0], [0, 1], 1.0),
        ([1, 0], [1, 1], HALF),
        ([1, 1], [1, 0], HALF),
        ([5, 0, 0], [5, 0, 0], 0.0),
        ([1, 1, 0, 0], [0, 0, 3, 3], 1.0),
        ([1, 1, 0], [0, 1, 1], 0.5),
    ],
)
def test_golden_values(p, q, expected):
    assert drift.jensen_shannon(p, q) == pytest.approx(expected, abs=1e-15)


def test_it_is_scipys_distance_squared_and_lies_between_0_and_1():
    rng = np.random.default_rng(1)
    for _ in range(200):
        p, q = rng.integers(0, 20, (2, rng.integers(2, 40))) + np.eye(2, 40)[:, :1].astype(int)
        ours = drift.jensen_shannon(p, q)
        assert 0 <= ours <= 1 and ours == drift.jensen_shannon(q, p)
        # scipy's root enlarges rounding near 0: the squares differ by rounding alone
        assert ours == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-12)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        ([1, 2], [1, 2, 3]),
        ([[1]], [[1]]),
        ([1, -1], [1, 1]),
        ([0, 0], [1, 1]),
        ([1, math.nan], [1, 1]),
    ],
)
def test_what_is_no_distribution_is_refused(p, q):
    with pytest.raises(ValueError, match=r"vectors|counts"):
        drift.jensen_shannon(p, q)


def _profile(feature: str, **rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "feature": feature,
            "position": range(len(rows)),
            "value": list(rows),
            "rows": list(rows.values()),
        },
        schema=profiles.SCHEMA,
    )


def test_days_of_a_baseline_add_up():
    base = pl.concat(
        [
            _profile("device_type", mobile=10, desktop=30),
            _profile("device_type", mobile=30, tablet=10),
        ]
    )
    assert drift.divergence(
        _profile("device_type", tablet=1, mobile=4, desktop=3), base
    ) == pytest.approx(0)
    assert drift.divergence(_profile("device_type", fridge=9), base) == 1


def test_rare_values_count_together():
    common = {f"c{i:02}": 1000 - i for i in range(drift.TOP_VALUES)}
    base = _profile("item_id", **common, **{f"old{i}": 1 for i in range(300)})
    same_share = _profile("item_id", **common, **{f"new{i}": 1 for i in range(300)})
    assert drift.divergence(same_share, base) == pytest.approx(
        0, abs=1e-12
    )  # all rare items count as one value
    more = _profile("item_id", **common, **{f"new{i}": 100 for i in range(300)})
    assert drift.divergence(more, base) > drift.THRESHOLD


def test_samples_of_one_distribution_stay_below_the_threshold():
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(84))
    for rows in (500, 5_000):  # independent rows: the documented reason for MINIMUM_ROWS
        now, before = (
            _profile(
                "category_l2",
                **{f"v{i}": int(n) for i, n in enumerate(rng.multinomial(rows, p)) if n},
            )
            for _ in range(2)
        )
        assert drift.divergence(now, before) < drift.THRESHOLD


def _days(tmp_path: Path, *frames: pl.DataFrame | None) -> list[Artifact]:
    """Write one artifact per profile (None: an old artifact without a profile)."""
    store, days = ArtifactStore(tmp_path), []
    for number, frame in enumerate(frames, 1):
        with store.stage("features/interactions", f"2026-01-{number:02}") as staged:
            (staged.path / "features.parquet").write_text("rows")
            if frame is not None:
                frame.write_parquet(staged.path / profiles.PROFILE_FILE)
            days.append(staged.publish())
    return days


def test_the_first_day_has_no_baseline(tmp_path):
    [only] = _days(tmp_path, _profile("device_type", mobile=9_000))
    found = drift.against_baseline(only, [], first_day="2026-01-01", look_back_days=7)
    assert found.divergence == {} and found.drifted == [] and "no day before" in found.reason
    with pytest.raises(ValueError, match="finite values, at least one"):
        found.figure()


def test_a_feature_that_moved_is_named(tmp_path):
    usual = pl.concat(
        [
            _profile("device_type", mobile=6_000, desktop=3_000),
            _profile("click", **{"0": 8_000, "1": 1_000}),
        ]
    )
    moved = pl.concat(
        [
            _profile("device_type", mobile=3_000, desktop=6_000),
            _profile("click", **{"0": 8_000, "1": 1_000}),
        ]
    )
    *earlier, today = _days(tmp_path, None, usual, usual, moved)
    found = drift.against_baseline(today, earlier, first_day="2026-01-01", look_back_days=7)
    assert (
        found.drifted == ["device_type"]
        and found.divergence["click"] == 0
        and found.days == ("2026-01-02", "2026-01-03")
    )
    assert found.divergence["device_type"] == pytest.approx(
        jensenshannon([1, 2], [2, 1], base=2) ** 2
    )
    assert (
        drift.against_baseline(
            today, earlier, first_day="2026-01-01", threshold=0.5, look_back_days=7
        ).drifted
        == []
    )
    assert found.figure().startswith("![Jensen-Shannon")


def test_only_the_last_seven_days_count(tmp_path):
    other, usual = _profile("device_type", desktop=9_000), _profile("device_type", mobile=9_000)
    *earlier, today = _days(tmp_path, other, *[usual] * (drift.BASELINE_DAYS + 1))
    assert drift.against_baseline(
        today, earlier, first_day="2026-01-01", look_back_days=7
    ).divergence == {"device_type": 0}


def test_empty_look_backs_of_the_first_day_are_no_baseline(tmp_path):
    def day(clicks: dict[str, int]) -> pl.DataFrame:
        return pl.concat([_profile("item_clicks", **clicks), _profile("gender", F=9_000)])

    empty, full = day({"0": 9_000}), day({"0": 1_000, "8 to 16": 8_000})
    first, second, third = _days(tmp_path, empty, full, full)
    assert drift.against_baseline(
        second, [first], first_day="2026-01-01", look_back_days=7
    ).divergence == {"gender": 0}
    assert (
        drift.against_baseline(
            second, [first], first_day="2025-12-01", look_back_days=7
        ).divergence["item_clicks"]
        > 0.3
    )
    assert drift.against_baseline(
        third, [first, second], first_day="2026-01-01", look_back_days=7
    ).divergence == {"item_clicks": 0, "gender": 0}


@pytest.mark.parametrize(("look_back_days", "compared"), [(2, ["clicks_look_back"]), (3, [])])
def test_the_first_look_back_days_are_no_baseline(tmp_path, look_back_days, compared):
    """The days are 1 to 4 January; the last one is compared."""
    *earlier, today = _days(tmp_path, *[_profile("clicks_look_back", **{"0": 9_000})] * 4)
    found = drift.against_baseline(
        today, earlier, first_day="2026-01-01", look_back_days=look_back_days
    )
    assert list(found.divergence) == compared


def test_few_rows_are_not_compared(tmp_path):
    earlier, today = _days(
        tmp_path,
        _profile("gender", F=drift.MINIMUM_ROWS),
        _profile("gender", M=drift.MINIMUM_ROWS - 1),
    )
    found = drift.against_baseline(today, [earlier], first_day="2025-01-01", look_back_days=7)
    assert found.divergence == {} and "fewer than" in found.reason


@pytest.mark.parametrize(
    ("values", "now", "before"), [(31, 500, 4_500), (5, 300, 300), (2, 60, 90)]
)
def test_two_samples_of_one_distribution_differ_as_expected_by_chance(values, now, before):
    rng = np.random.default_rng(values)
    share = rng.dirichlet(np.full(values, 5.0))
    samples = [(rng.multinomial(now, share), rng.multinomial(before, share)) for _ in range(400)]
    measured = np.mean([drift.jensen_shannon(p, q) for p, q in samples])
    assert measured == pytest.approx(
        np.mean([drift.by_chance(p, q, 1) for p, q in samples]), rel=0.1
    )


def test_a_feature_with_one_value_has_no_chance_to_differ():
    assert drift.by_chance(np.array([9, 0]), np.array([4, 0])) == 0.0
    assert drift.by_chance(np.array([1, 1]), np.array([1, 1]), 1e9) == 1.0
