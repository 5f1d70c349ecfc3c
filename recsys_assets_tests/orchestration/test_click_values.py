"""Which settings of event values add an input or a parameter to what is built."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from recsys_assets.orchestration.click_values import click_values, dismissal_params
from recsys_assets.settings import Settings


def platform(values: str) -> Any:
    built: list[dict[str, Any]] = []

    def build(context: Any, kind: str, **given: Any) -> Any:
        built.append(given["params"])
        return SimpleNamespace(artifact=kind)

    return SimpleNamespace(settings=Settings(event_values=values), build=build, built=built)


@pytest.mark.parametrize(
    ("values", "params"),
    [
        ("View=1", {}),
        ("Dismiss=0", {}),
        ("Purchase=10", {}),
        ("Dismiss=-1", {"dismissal_weight": 1.0}),
        ("Purchase=10,Dismiss=-2.5", {"dismissal_weight": 2.5}),
    ],
)
def test_a_dismissal_is_a_parameter_only_where_it_has_a_value(
    values: str, params: dict[str, float]
) -> None:
    assert dismissal_params(platform(values)) == params


def test_a_value_of_dismissals_alone_builds_no_values_of_clicks() -> None:
    given: dict[str, Any] = {"partition": "2026-01-12", "training_days": [], "log": []}
    alone, both = platform("Dismiss=-1"), platform("Purchase=10,Dismiss=-1")
    items: Any = None
    assert click_values(None, alone, items=items, **given) == {} and not alone.built
    assert set(click_values(None, both, items=items, **given)) == {"values"}
    # another value of dismissals does not build the values of clicks again
    assert both.built == [{"event_values": "View=1,Purchase=10"}]
