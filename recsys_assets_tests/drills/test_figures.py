"""The arithmetic of the drills against numbers by hand."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from recsys_assets.drills import figures, overload, restart, soak
from recsys_assets.drills.client import CUT, DEGRADED, FULL, REFUSED
from recsys_assets.drills.figures import Answers, Bar, growth, normal_again, trend


def answers(*rows: tuple[float, float, float, int, int]) -> Answers:
    """(meant, sent, done, status, bits)."""
    return Answers.of([[list(row) for row in rows]])


def test_docstring_examples_run() -> None:
    assert doctest.testmod(figures).failed == 0 and doctest.testmod(figures).attempted >= 6


def test_latency_counts_from_when_a_request_was_meant_to_be_sent() -> None:
    """A pause of a second, in which ten more would have come: all of them waited, though each was
    answered in a millisecond.
    """
    held = answers(
        *((n / 10, 1.0, 1.001, 200, FULL) for n in range(10)), (1.0, 1.0, 1.001, 200, FULL)
    )
    assert held.percentile(50) == pytest.approx(501) and held.percentile(100) == pytest.approx(
        1_001
    )


def test_a_summary_by_hand() -> None:
    found = answers(
        (0, 0, 0.01, 200, FULL),
        (1, 1, 1.02, 200, FULL | DEGRADED),
        (2, 2, 2.03, 429, 0),
        (3, 3, 3, REFUSED, 0),
        (4, 4, 4.5, CUT, 0),
        (5, 5, 5.03, 200, DEGRADED),
    ).summary()
    assert found == {
        "requests": 6,
        "not_200": 3,
        "short_lists": 1,
        "429": 1,
        "cut": 1,
        "refused": 1,
        "degraded": 0.6667,
        "p50_ms": 20.0,
        "p99_ms": pytest.approx(29.8),
    }


def test_nothing_answered_has_no_percentiles() -> None:
    found = answers((0, 0, 1, 503, 0)).summary()
    assert found["p50_ms"] is found["p99_ms"] is found["degraded"] is None and found["not_200"] == 1
    assert Answers.of([[], []]).summary()["requests"] == 0


def test_clients_are_joined_in_the_order_of_time() -> None:
    found = Answers.of([[[2, 2, 3, 200, 2], [0, 0, 1, 200, 2]], [[1, 1, 2, 429, 0]]])
    assert found.meant.tolist() == [0, 1, 2] and found.between(1, 2).status.tolist() == [429]


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ([0, 0, 0], 0.0),
        ([1, 0, 0], 1.0),
        ([1, 0, 1], None),
        ([1, 1, 0], 2.0),
        ([1, 1, 1], None),
        ([1, 0, 1, 0, 0, 1], 3.0),
    ],
)
def test_normal_again_is_when_none_is_degraded_for_a_while(
    bits: list[int], expected: float | None
) -> None:
    rows = [
        (10.0 + n, 10 + n, 10 + n, 200, DEGRADED if bit else FULL) for n, bit in enumerate(bits)
    ]
    assert normal_again(answers((5, 5, 5, 200, DEGRADED), *rows), returned=10.0) == expected


def test_a_line_is_found_in_noise_and_none_where_there_is_none() -> None:
    random, minutes = np.random.default_rng(0), np.arange(60) * 60.0
    noise = random.normal(0, 0.05, 60)
    rising = trend(minutes, 5 + 1.0 * minutes / 3_600 + noise)
    assert (
        rising.grows
        and rising.low < rising.per_hour < rising.high
        and rising.per_hour == pytest.approx(0.18, abs=0.02)
    )
    assert (
        not trend(minutes, 5 + noise).grows
        and not trend(minutes, 5 - minutes / 3_600 + noise).grows
    )


def test_some_busy_minutes_are_no_trend() -> None:
    values = 5 + np.random.default_rng(1).normal(0, 0.05, 60)
    values[[50, 53, 57]] = 40
    assert not trend(np.arange(60) * 60.0, values).grows
    with pytest.raises(ValueError, match="at least 3 values"):
        trend([0, 1], [1.0, 1.0])


def test_growth_is_from_the_first_tenth_to_the_last() -> None:
    assert growth([100] * 6 + [500] * 48 + [103] * 6) == pytest.approx(0.03)
    assert growth([100.0, 110.0]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("bar", "met"),
    [
        (Bar("x", 1.0), None),
        (Bar("x", 1.0, most=1), True),
        (Bar("x", 1.01, most=1), False),
        (Bar("x", 0.8, least=0.8), True),
        (Bar("x", 0.79, least=0.8), False),
        (Bar("x", None, most=5), False),
        (Bar("x", None), None),
    ],
)
def test_a_bar_is_met_up_to_its_limit_and_not_by_nothing(bar: Bar, met: bool | None) -> None:
    assert bar.met is met and bar.told()["met"] is met
    assert bar.words[2] == {None: "", True: "yes", False: "no"}[met]


def test_in_flight_is_what_was_sent_and_not_yet_answered() -> None:
    found = restart.in_flight(
        answers(
            (0, 0, 1, 200, FULL),
            (1, 1, 3, 200, FULL),
            (1.5, 2.5, 3, 200, FULL),
            (1.9, 1.9, 2.1, CUT, 0),
        ),
        2.0,
    )
    assert found.meant.tolist() == [1, 1.9] and int((~found.full).sum()) == 1


def test_goodput_counts_full_answers_alone() -> None:
    assert (
        overload.goodput(
            answers(
                (0, 0, 1, 200, FULL),
                (0, 0, 1, 200, 0),
                (0, 0, 1, 429, 0),
                (1, 1, 2, 200, FULL | DEGRADED),
            ),
            2.0,
        )
        == 1
    )


def windows(grow: float, slow: float) -> list[dict]:
    random = np.random.default_rng(3)
    return [
        {
            "at": 60.0 * n,
            "requests": 100,
            "not_200": 0,
            "short_lists": 0,
            "p50_ms": 5 + slow * n / 60 + random.normal(0, 0.02),
            "memory_mib": {part: 100 * (1 + grow * n / 59) for part in soak.PARTS},
        }
        for n in range(60)
    ]


def test_a_soak_is_judged_by_growth_and_trend() -> None:
    _, steady = soak.judge(windows(0.02, 0.0))
    assert all(bar.met is not False for bar in steady)
    found, grown = soak.judge(windows(0.2, 0.5))
    assert [bar.name for bar in grown if bar.met is False] == [
        *(f"memory of {part}, growth" for part in soak.PARTS),
        "p50, lower end of its 95 % interval",
    ]
    assert found["requests"] == 6_000 and math.isclose(
        found["p50_growth_per_hour"], 0.1, abs_tol=0.01
    )
