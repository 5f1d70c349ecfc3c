"""The rows of the large catalogue's memory, and the bar that judges them."""

from __future__ import annotations

from typing import Any

import pytest

from recsys_assets.bench.serving import report
from recsys_assets.bench.serving.million import RECALL


def large(sources_gib: float) -> dict[str, Any]:
    """A report with a large catalogue that takes so much more memory with its sources."""
    system = {"p50_ms": 2.0, "p99_ms": 4.0, "throughput": {"1": 300.0}}
    return {
        **dict.fromkeys(("reference", "ensemble", "fused", "floor", "gateway"), system),
        "without_sources": {},
        "million_items": {
            RECALL: 0.97,
            "ratio": 1.5,
            "p50_ms": 8.25,
            "private_mib": 3_100.5,
            "mapped_mib": 1_200.0,
            "sources_gib": sources_gib,
            "sources_files_mib": 2_388.0,
            "without_sources": {"p50_ms": 5.0, "private_mib": 3_050.25, "mapped_mib": 700.0},
        },
    }


def test_the_memory_of_the_sources_is_the_difference_of_two_servers():
    assert report.memory_rows(large(0.537)) == [
        ("with sources", "8.25", "3,100.5", "1,200.0", "4,300.5"),
        ("without", "5.00", "3,050.2", "700.0", "3,750.2"),
        ("difference", "3.25", "50.2", "500.0", "550.2"),
        ("difference, all pages", "3.25", "50.2", "2,388.0", "2,438.2"),
    ]
    assert report.memory_rows({}) == []


@pytest.mark.parametrize(("gib", "met"), [(0.537, True), (1.0, True), (1.2, False)])
def test_a_gib_of_memory_is_the_bar(gib: float, met: bool):
    found = report.ratios(large(gib))[report.SOURCES_GIB]
    assert found == {"value": gib, "bar": 1.0, "at": "most", "met": met}
