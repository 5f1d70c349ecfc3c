"""The check of the towers' recall: against chance, and a warning only."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from recsys_assets.defs.retrieval.two_tower import _recall


def metrics(recall: float, clicks: int, items: int) -> dict[str, Any]:
    return {
        "recall@100": recall,
        "random_recall@100": min(1.0, 100 / items),
        "validation_clicks": clicks,
        "items": items,
    }


@pytest.mark.parametrize(
    ("recall", "clicks", "items", "passed"),
    [(0.4, 500, 1_000, True), (0.11, 500, 1_000, False), (0.11, 50_000, 1_000, True)],
)
def test_recall_has_to_be_above_chance(recall, clicks, items, passed):
    found = _recall(metrics(recall, clicks, items))
    assert found.passed is passed and found.severity == dg.AssetCheckSeverity.WARN
    assert found.metadata["value"].value == recall


@pytest.mark.parametrize(("clicks", "items"), [(500, 12), (500, 100), (0, 1_000)])
def test_a_small_catalogue_or_no_click_is_too_few_to_judge(clicks, items):
    found = _recall(metrics(0.0, clicks, items))
    assert found.passed and found.metadata["value"].value.startswith("too few to judge")
