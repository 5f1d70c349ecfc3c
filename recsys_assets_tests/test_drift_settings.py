"""Test the limits of drift."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from recsys_assets.drift_settings import DriftSettings
from recsys_assets.settings import Settings


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("drift_days", "0"),
        ("drift_reference_days", "0"),
        ("drift_min_rows", "9"),
        ("drift_min_clicks", "-1"),
        ("drift_auc", "0"),
        ("drift_auc", "nan"),
        ("drift_auc_floor", "1"),
        ("drift_ndcg", "1"),
        ("drift_calibration", "1"),
        ("drift_divergence", "0"),
        ("drift_unknown", "20"),
        ("drift_cool_down_days", "0"),
    ],
)
def test_a_limit_out_of_its_bounds_is_refused_by_name(
    name: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"RECSYS_{name.upper()}", wrong)
    with pytest.raises(ValidationError, match=name):
        Settings()


def test_every_limit_is_described_and_reaches_child_processes() -> None:
    environment = Settings().environment()
    for name, field in DriftSettings.model_fields.items():
        assert name.startswith("drift_") and (field.description or "").endswith(".")
        assert environment[f"RECSYS_{name.upper()}"] == str(field.default)


def test_the_cool_down_is_as_long_as_the_window() -> None:
    """Otherwise answers of before a new model decide on it."""
    fields = DriftSettings.model_fields
    assert fields["drift_cool_down_days"].default >= fields["drift_days"].default
