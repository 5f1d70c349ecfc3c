"""Test the bars of the days."""

from __future__ import annotations

from recsys_assets.lib.ingest_check.days import days_chart


def test_a_bar_per_day_and_a_table_with_the_days_between():
    text = days_chart({"2026-01-01": 10, "2026-01-03": 5})
    assert text.count("<rect") == 3 and "2026-01-03: 5 rows" in text
    assert "<td>2026-01-02</td>" in text and "3 days, 2026-01-01 to 2026-01-03" in text


def test_many_days_are_drawn_by_week_and_by_four_weeks():
    assert "per week" in days_chart({"2024-01-01": 1, "2025-12-31": 2})
    assert "per four weeks" in days_chart({"2010-01-01": 1, "2025-12-31": 2})
    assert days_chart({"1990-01-01": 1, "2199-12-31": 2}).count("<rect") < 400


def test_no_day_is_no_picture():
    assert days_chart({}) == ""
