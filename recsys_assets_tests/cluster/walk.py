"""Steps of a walk: tests of one file that run in order, each on what the ones before it did."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest


@pytest.fixture(autouse=True)
def after_the_last(request: pytest.FixtureRequest) -> None:
    """Skip the rest of the walk after a step without which it makes no sense."""
    failed = getattr(request.module, "STOPPED_AT", "")
    if failed:
        pytest.skip(f"the walk ended at: {failed}")


def essential(function: Callable[..., None]) -> Callable[..., None]:
    """Mark a step without which the next ones make no sense."""

    @functools.wraps(function)
    def tried(*arguments: object, **named: object) -> None:
        try:
            function(*arguments, **named)
        except BaseException:
            function.__globals__["STOPPED_AT"] = function.__name__
            raise

    return tried
