"""Make the Dagster config of an asset from the parameters of its training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import dagster as dg
from pydantic import Field, create_model

from recsys_assets.hyper_parameters import Parameter, Parameters

C = TypeVar("C", bound=dg.Config)


def config_of(parameters: type[Parameters]) -> Callable[[type[C]], type[C]]:
    """Return a class decorator that adds one config field per parameter.

    Each field has the parameter's default, bounds and description.
    """

    def with_fields(config: type[C]) -> type[C]:
        fields: dict[str, Any] = {
            one.name: (one.kind, _field(one)) for one in parameters.declared()
        }
        return create_model(
            config.__name__,
            __base__=config,
            __module__=config.__module__,
            __doc__=config.__doc__,
            **fields,
        )

    return with_fields


def _field(one: Parameter) -> Any:
    limits: dict[str, Any] = dict(one.bounds.given())
    return Field(default=one.default, description=_text(one), **limits)


def _text(one: Parameter) -> str:
    """Return the description with the bounds, which the launchpad does not show."""
    return f"{one.description} Allowed: {one.bounds}." if one.bounds.given() else one.description
