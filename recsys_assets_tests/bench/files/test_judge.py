"""Test that each case ends as it must, and that a wrong reading is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recsys_assets.bench.files.all_cases import CASES
from recsys_assets.bench.files.case import FileCase, Reading, Refusal, events, log_text
from recsys_assets.bench.files.judge import judge

LARGE = {"one_line_of_1_gb"}
ROW = "u,i,2026-01-05 10:00:00"
PLAIN = FileCase(
    "plain", "CSV", {"a.csv": log_text(ROW)}, events(("u", "i", "2026-01-05T10:00:00"))
)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.name in LARGE else [])
        for case in CASES
    ],
)
def test_a_file_is_read_right_or_refused_with_the_remedy(tmp_path: Path, case: FileCase):
    verdict = judge(case, tmp_path)
    assert verdict.why == ""
    assert verdict.ended == ("refused" if isinstance(case.expected, Refusal) else "right")
    assert verdict.seconds < 60


def test_there_are_enough_cases_with_names_of_their_own():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 60


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        (events(("u", "j", "2026-01-05T10:00:00")), "read "),
        (replace(PLAIN.expected, rejected=1), "0 rows rejected, not 1"),
        (replace(PLAIN.expected, says=("nothing like it",)), "does not say"),
        (Refusal(("remedy",)), "accepted without a word"),
    ],
)
def test_another_reading_is_wrong(tmp_path: Path, expected: Reading | Refusal, why: str):
    verdict = judge(replace(PLAIN, expected=expected), tmp_path)
    assert verdict.ended == "wrong" and why in verdict.why


def test_a_refusal_without_the_remedy_is_wrong(tmp_path: Path):
    case = FileCase("empty", "empty", {"a.csv": b""}, Refusal(("press any key",)))
    verdict = judge(case, tmp_path)
    assert verdict.ended == "wrong" and "press any key" in verdict.why


def test_a_crash_is_wrong(tmp_path: Path):
    case = replace(PLAIN, options={"no_such_rule": 1})
    assert judge(case, tmp_path).why.startswith("TypeError")
