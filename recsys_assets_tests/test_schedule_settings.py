"""Test the times of the schedules and the setting of promotion."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from recsys_assets.schedule_settings import cron, later
from recsys_assets.settings import Settings


@pytest.mark.parametrize(
    ("name", "given", "kept", "expected"),
    [
        ("ingest", "02:30", "02:30", "30 2 * * *"),
        ("refresh", " 0:05 ", "00:05", "5 0 * * *"),
        ("fine_tune", "23:59", "23:59", "59 23 * * *"),
        ("training", "sunday 6:00", "Sunday 06:00", "0 6 * * 0"),
        ("evaluation", "SAT 18:30", "Saturday 18:30", "30 18 * * 6"),
    ],
)
def test_times_are_read_as_people_write_them(
    name: str, given: str, kept: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"RECSYS_SCHEDULE_{name.upper()}", given)
    settings = Settings()
    assert getattr(settings, f"schedule_{name}") == kept and cron(kept) == expected
    assert settings.environment()[f"RECSYS_SCHEDULE_{name.upper()}"] == kept


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("ingest", wrong) for wrong in ("", "2", "24:00", "02:60", "2.30", "-1:00", "٠٢:٣٠")),
        ("fine_tune", "Sunday 02:30"),
        *(("training", wrong) for wrong in ("06:00", "Someday 06:00", "Sunday", "Sun Mon 06:00")),
        ("evaluation", "Su 06:00"),
    ],
)
def test_a_wrong_time_is_refused_by_its_name_with_the_remedy(
    name: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"RECSYS_SCHEDULE_{name.upper()}"
    monkeypatch.setenv(variable, wrong)
    with pytest.raises(ValidationError) as error:
        Settings()
    assert f"{variable} must be a" in str(error.value) and "such as" in str(error.value)
    assert f"got {wrong!r}. Set it to such a value" in str(error.value)


def test_promotion_is_auto_or_manual(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().promotion == "auto"
    monkeypatch.setenv("RECSYS_PROMOTION", "never")
    with pytest.raises(ValidationError, match="'auto' or 'manual'"):
        Settings()


def test_a_later_time_passes_midnight() -> None:
    assert [later("02:30", 6), later("18:00", 6), later("23:59", 1)] == ["08:30", "00:00", "00:59"]
