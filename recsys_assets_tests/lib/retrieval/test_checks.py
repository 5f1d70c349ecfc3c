"""Test the judgement of recall against chance."""

from __future__ import annotations

import pytest

from recsys_assets.lib.retrieval.checks import against_chance


@pytest.mark.parametrize(
    ("recall", "clicks", "items", "passed", "judged"),
    [
        (1.0, 400, 80, True, False),  # every item is among the 100
        (0.0, 30, 2_000, True, False),  # a random ranking finds 1.5 clicks: nothing to tell
        (0.05, 4_000, 2_000, False, True),  # as random
        (0.055, 4_000, 2_000, False, True),  # above random by chance
        (0.2, 4_000, 2_000, True, True),
    ],
)
def test_recall_is_judged_against_chance(recall, clicks, items, passed, judged):
    found = against_chance(recall, clicks, min(1.0, 100 / items))
    assert found.passed is passed and (found.threshold is not None) is judged
    assert judged or "too few to judge" in found.text or "every item" in found.text
