"""How the thin models hang together: which tensors each takes and gives on the wire.

What a stage gives travels as one packed tensor, named as the stage; only a request comes in and an
answer goes out as tensors of their own. ``triton_repo/`` says the same to Triton.
"""

from __future__ import annotations

from functools import lru_cache

from recsys_assets.serving.stages.answer import ANSWER, REQUEST
from recsys_assets.serving.stages.packing import Layout
from recsys_assets.serving.stages.registry import STAGES, stage_class
from recsys_assets.serving.stages.stage import TensorSpec

FIRST, LAST = next(iter(STAGES)), list(STAGES)[-1]


def packed(name: str) -> TensorSpec:
    """The packed outputs of a stage."""
    return TensorSpec(name, "UINT8", (-1,))


@lru_cache(maxsize=len(STAGES))
def layout(name: str) -> Layout:
    return Layout(stage_class(name).outputs)


@lru_cache(maxsize=len(STAGES))
def sources(name: str) -> dict[str, tuple[str, ...]]:
    """Stages whose outputs a stage takes, in the order of an answer → the tensors that it takes of
    each.
    """
    wanted = {spec.name for spec in stage_class(name).inputs}
    given = {
        source: tuple(spec.name for spec in stage_class(source).outputs if spec.name in wanted)
        for source in STAGES
    }
    return {source: names for source, names in given.items() if names}


def wire_inputs(name: str) -> tuple[TensorSpec, ...]:
    return REQUEST if name == FIRST else tuple(packed(source) for source in sources(name))


def wire_outputs(name: str) -> tuple[TensorSpec, ...]:
    return ANSWER if name == LAST else (packed(name),)
