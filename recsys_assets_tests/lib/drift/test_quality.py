"""Test the verdict on served answers over simulated months."""

from __future__ import annotations

import json
import math
from datetime import date, timedelta
from pathlib import Path

import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.loop import months
from recsys_assets.lib.drift import quality
from recsys_assets.lib.drift.answers import ScoresOf
from recsys_assets.lib.monitor.rolling import Minimum
from recsys_assets.lib.simulator import answers
from recsys_assets.lib.simulator.catalogue import synthetic_catalogue
from recsys_assets.lib.simulator.exposures import calibrated
from recsys_assets.lib.simulator.population import make_truth
from recsys_assets.lib.simulator.truth import Truth

DAYS = [(date(2026, 3, 2) + timedelta(days=n)).isoformat() for n in range(33)]
TOLERANCES = quality.tolerances(0.02, 0.0, 0.02, math.log(1.25))
MINIMUM = Minimum()


def world(seed: int, users: int = 1_500) -> Truth:
    items = synthetic_catalogue(200, seed)
    return answers.steady(calibrated(make_truth(items, users, seed, DAYS[0]), DAYS[0]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13, 14])
def test_no_alarm_in_thirty_days_without_drift(seed: int, tmp_path: Path) -> None:
    steady = world(seed)
    model = answers.taste_model(steady, DAYS[0])
    found = months.judge_month(tmp_path, steady, model, DAYS, 400, MINIMUM, TOLERANCES)
    assert [day for day, drifted in found.items() if drifted is None] == DAYS[:3]
    assert {day: drifted for day, drifted in found.items() if drifted} == {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [21, 22, 23])
def test_a_shift_of_interests_is_found_on_its_first_or_second_day(
    seed: int, tmp_path: Path
) -> None:
    moved = answers.shifted(world(seed), DAYS[7])
    model = answers.taste_model(moved, DAYS[0])
    found = months.judge_month(tmp_path, moved, model, DAYS[:10], 400, MINIMUM, TOLERANCES)
    alarms = [day for day, drifted in found.items() if drifted]
    assert alarms and alarms[0] in DAYS[7:9]
    # with the evidence on file, and in the figure
    artifact = ArtifactStore(tmp_path).current("monitor/quality", alarms[0])
    verdicts = json.loads(artifact.path(quality.QUALITY_FILE).read_text())
    [first] = {tuple(one["reference_days"]) for one in verdicts.values()}
    assert first == tuple(DAYS[:3])
    assert verdicts["auc"]["change"]["high"] < -0.02
    assert "data:image/svg+xml" in artifact.path(quality.TIMELINE_FIGURE).read_text()


def test_a_day_without_answers_judges_nothing(tmp_path: Path) -> None:
    store, steady = ArtifactStore(tmp_path), world(31, 300)
    log, clicks = answers.simulate_answers(steady, steady, DAYS[0], 50, 1)
    scored = {1: months.SCORES}
    served = [
        months.measure_day(store, DAYS[0], log, clicks, scored),
        months.measure_day(store, DAYS[1], log.clear(), clicks.clear(), scored),
    ]
    metrics = quality.write_quality(served, MINIMUM, TOLERANCES, tmp_path)
    assert not metrics["judged"] and metrics["drifted"] == []
    assert metrics["verdicts"]["auc"]["reason"] == f"{DAYS[1]} has no measured answer"
    empty = quality.write_quality(served[1:], MINIMUM, TOLERANCES, tmp_path)
    assert not empty["judged"]
    assert "No day has enough" in (tmp_path / quality.TIMELINE_FIGURE).read_text()


def test_the_days_that_are_read_are_the_newest_and_the_familys_first() -> None:
    days = [(date(2026, 1, 1) + timedelta(days=n)).isoformat() for n in range(120)]
    families = {day: [1] if n < 20 else [1, 2] if n == 20 else [2] for n, day in enumerate(days)}
    found = quality.compared_days(families)
    assert found == [*days[20:34], *days[-35:]]
    assert quality.compared_days({days[0]: []}) == [days[0]]
    quiet = {**families, "2026-05-01": []}  # the newest day has no answers
    assert quality.compared_days(quiet)[:14] == days[20:34]


def test_marks_name_the_releases_and_full_trainings(tmp_path: Path) -> None:
    store, steady = ArtifactStore(tmp_path), world(32, 300)
    strata = []
    for day, release, family in (
        (DAYS[0], 1, 1),
        (DAYS[1], 2, 1),
        (DAYS[2], 2, 1),
        (DAYS[3], 3, 3),
    ):
        log, clicks = answers.simulate_answers(steady, steady, day, 50, release)
        scored = {release: ScoresOf(family=family, probabilities=True)}
        one = months.measure_day(store, day, log, clicks, scored)
        strata += quality.read_strata(one.local, day)
    assert quality.marks_of(strata) == {DAYS[0]: "1 full", DAYS[1]: "2", DAYS[3]: "3 full"}
