"""Pin every step of an ensemble to one version of its model.

This one file is the switch from one release to another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_STEP = re.compile(r'(model_name:\s*"(?P<model>[^"]+)"\s+model_version:\s*)-?\d+')
_NAME = re.compile(r'\A((?:\s*#[^\n]*\n)*\s*name:\s*)"[^"]+"')


class EnsembleError(ValueError):
    """The template and the versions do not match; the message names the models."""


def render_ensemble(
    template: str, versions: Mapping[str, int], name: str = "ensemble_model"
) -> str:
    """Return the ensemble's config.pbtxt with ``model_version`` of each step pinned.

    Args:
        template: config.pbtxt of triton_repo/ensemble_model; ``model_version`` follows
            ``model_name`` in each step.
        versions: model → version number ≥ 1, for exactly the models of the template.
        name: of the ensemble, which is also its folder's.

    Raises:
        EnsembleError: a step without a version, a version without a step, or a number below 1.
    """
    steps = [match["model"] for match in _STEP.finditer(template)]
    if not steps or len(steps) != template.count("model_name:"):
        raise EnsembleError("the template needs steps with model_name, then model_version")
    missing, unknown = sorted(set(steps) - set(versions)), sorted(set(versions) - set(steps))
    below = sorted(model for model, version in versions.items() if version < 1)
    for models, fault in (
        (missing, "have no version"),
        (unknown, "are not steps"),
        (below, "need a version ≥ 1"),
    ):
        if models:
            raise EnsembleError(f"{', '.join(models)} {fault}")
    pinned = _STEP.sub(lambda match: f"{match[1]}{versions[match['model']]}", template)
    renamed, count = _NAME.subn(lambda match: f'{match[1]}"{name}"', pinned, count=1)
    if count != 1:
        raise EnsembleError("the template must begin with its name")
    return renamed
