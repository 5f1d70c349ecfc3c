"""Declare which tensors each thin model takes and gives on the wire.

The outputs of a stage travel as one packed tensor, named as the stage. Only a request comes in, and
an answer goes out, as separate tensors. The two models of the ads ranker exchange plain tensors.
``triton_repo/`` declares the same to Triton.
"""

from __future__ import annotations

from functools import lru_cache

from recsys_assets.serving.stages.answer import ANSWER, REQUEST
from recsys_assets.serving.stages.packing import Layout
from recsys_assets.serving.stages.registry import ADS_STAGES, STAGES, stage_class
from recsys_assets.serving.stages.stage import TensorSpec

FIRST, LAST = next(iter(STAGES)), list(STAGES)[-1]


def packed(name: str) -> TensorSpec:
    """Return the tensor of a stage's packed outputs."""
    return TensorSpec(name, "UINT8", (-1,))


def takes_plain(name: str) -> bool:
    """Return whether a stage's inputs are separate tensors on the wire."""
    return name == FIRST or name in ADS_STAGES


def gives_plain(name: str) -> bool:
    """Return whether a stage's outputs are separate tensors on the wire."""
    return name == LAST or name in ADS_STAGES


@lru_cache(maxsize=len(STAGES))
def layout(name: str) -> Layout:
    """Return the layout of a stage's packed outputs."""
    return Layout(stage_class(name).outputs)


@lru_cache(maxsize=len(STAGES))
def sources(name: str) -> dict[str, tuple[str, ...]]:
    """Return the stages whose outputs a stage takes → the tensors that it takes.

    Stages are in the order of an answer.
    """
    wanted = {spec.name for spec in stage_class(name).inputs}
    given = {
        source: tuple(spec.name for spec in stage_class(source).outputs if spec.name in wanted)
        for source in STAGES
    }
    return {source: names for source, names in given.items() if names}


def wire_inputs(name: str) -> tuple[TensorSpec, ...]:
    """Return the tensors that a thin model takes."""
    if name in ADS_STAGES:
        return stage_class(name).inputs
    return REQUEST if name == FIRST else tuple(packed(source) for source in sources(name))


def wire_outputs(name: str) -> tuple[TensorSpec, ...]:
    """Return the tensors that a thin model gives."""
    if name in ADS_STAGES:
        return stage_class(name).outputs
    return ANSWER if name == LAST else (packed(name),)
