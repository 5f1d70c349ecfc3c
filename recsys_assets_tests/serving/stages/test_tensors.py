"""Test that each tensor is declared once and imported where it is used."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from recsys_assets.serving.stages import answer, tensors
from recsys_assets.serving.stages.pipeline import trace_layout
from recsys_assets.serving.stages.registry import STAGES, stage_class
from recsys_assets.serving.stages.stage import TensorSpec
from recsys_assets.settings import PROJECT_ROOT

SERVING = PROJECT_ROOT / "recsys_assets" / "serving"
DECLARED = {name: spec for name, spec in vars(tensors).items() if isinstance(spec, TensorSpec)}
#: Where a tensor's name may not be written as text; a request's field names are also those of the
#: gateway's JSON.
USERS = [
    *sorted((SERVING / "stages").glob("*.py")),
    *(
        SERVING / name
        for name in (
            "triton/fused_model.py",
            "triton/replicas.py",
            "triton/triton_model.py",
            "triton/triton_tensors.py",
            "triton/wiring.py",
            "gateway/explanation.py",
            "gateway/triton_client.py",
        )
    ),
]


def test_every_tensor_has_a_name_of_its_own_which_is_its_constants() -> None:
    assert len(DECLARED) > 40 and {name: spec.name for name, spec in DECLARED.items()} == {
        name: name.lower() for name in DECLARED
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_takes_and_gives_declared_tensors(stage: str) -> None:
    declared = {id(spec) for spec in DECLARED.values()}
    kind = stage_class(stage)
    assert kind.outputs and all(id(spec) in declared for spec in (*kind.inputs, *kind.outputs))


def test_request_answer_and_trace_are_of_the_vocabulary() -> None:
    declared = {id(spec) for spec in DECLARED.values()}
    assert all(
        id(spec) in declared for spec in (*answer.REQUEST, *answer.ANSWER, *trace_layout().specs)
    )
    used = {
        spec.name
        for name in STAGES
        for spec in (
            *stage_class(name).inputs,
            *stage_class(name).outputs,
            *stage_class(name).explains,
        )
    } | {answer.TRACE}
    assert used == {spec.name for spec in DECLARED.values()}  # nothing is declared that nobody uses


def test_a_tensor_is_declared_nowhere_else() -> None:
    found = [
        path
        for path in sorted((PROJECT_ROOT / "recsys_assets").rglob("*.py"))
        if "training" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "TensorSpec"
    ]
    # a packed tensor is named as its stage
    assert (
        set(found)
        == {
            SERVING / "stages" / "tensors.py",
            SERVING / "stages" / "ads_tensors.py",
            SERVING / "triton" / "wiring.py",
        }
        and found.count(SERVING / "triton" / "wiring.py") == 1
    )


@pytest.mark.parametrize("path", USERS, ids=lambda path: path.name)
def test_no_tensors_name_is_written_as_text(path: Path) -> None:
    names = {spec.name for spec in DECLARED.values()}
    written = [
        f"{path.name}:{node.lineno} {node.value}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert path.name == "tensors.py" or written == []
