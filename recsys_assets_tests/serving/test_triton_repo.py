"""What Triton is told of each model (triton_repo/) against what the stage declares."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from recsys_assets.serving.ensemble import EnsembleError, render_ensemble
from recsys_assets.serving.pipeline import ANSWER, REQUEST
from recsys_assets.serving.stages.registry import STAGES, stage_class
from recsys_assets.settings import PROJECT_ROOT

TEMPLATES = PROJECT_ROOT / "triton_repo"
ENSEMBLE = (TEMPLATES / "ensemble_model" / "config.pbtxt").read_text()


def parse(text: str) -> pb.ModelConfig:
    return text_format.Parse(text, pb.ModelConfig())


def read(model: str) -> pb.ModelConfig:
    return parse((TEMPLATES / model / "config.pbtxt").read_text())


def tensors(declared) -> list[tuple]:
    return [(t.name, pb.DataType.Name(t.data_type).removeprefix("TYPE_"), tuple(t.dims), getattr(t, "optional", False))
            for t in declared]


def specs(declared) -> list[tuple]:
    return [(s.name, s.dtype, s.shape, s.optional) for s in declared]


def test_the_repository_holds_the_stages_and_the_ensemble():
    assert sorted(path.name for path in TEMPLATES.iterdir()) == sorted([*STAGES, "ensemble_model"])
    assert len(STAGES) == 14


@pytest.mark.parametrize("model", STAGES)
def test_a_model_declares_its_stages_tensors(model):
    config, stage = read(model), stage_class(model)
    assert stage.name == config.name == model
    assert tensors(config.input) == specs(stage.inputs)
    assert tensors(config.output) == specs(stage.outputs)


@pytest.mark.parametrize("model", STAGES)
def test_a_model_is_one_cpu_instance_of_all_versions_without_batching(model):
    config = read(model)
    assert (config.backend, config.max_batch_size) == ("python", 0)
    assert [(group.kind, group.count) for group in config.instance_group] == [(pb.ModelInstanceGroup.KIND_CPU, 1)]
    assert config.version_policy.WhichOneof("policy_choice") == "all"
    assert not config.HasField("dynamic_batching") and not config.HasField("sequence_batching")
    code = (TEMPLATES / model / "model.py").read_text()
    assert code.endswith(f'TritonPythonModel = model_class("{model}")\n') and len(code.splitlines()) == 3


def test_the_ensemble_wires_every_stage_by_its_tensors_names():
    config = parse(ENSEMBLE)
    assert (config.name, config.platform, config.max_batch_size) == ("ensemble_model", "ensemble", 0)
    steps = config.ensemble_scheduling.step
    assert [(step.model_name, step.model_version) for step in steps] == [(model, -1) for model in STAGES]
    known = {spec.name: spec for model in STAGES for spec in (*stage_class(model).inputs, *stage_class(model).outputs)}
    for step in steps:
        stage = stage_class(step.model_name)
        assert dict(step.input_map) == {spec.name: spec.name for spec in stage.inputs}
        assert dict(step.output_map) == {spec.name: spec.name for spec in stage.outputs}
    assert tensors(config.input) == specs(known[name] for name in REQUEST)
    assert tensors(config.output) == specs(known[name] for name in ANSWER)


VERSIONS = {model: number for number, model in enumerate(STAGES, start=1)}


def test_every_step_is_pinned_and_nothing_else_changes():
    config = parse(render_ensemble(ENSEMBLE, VERSIONS, name="ensemble_candidate"))
    steps = config.ensemble_scheduling.step
    assert {step.model_name: step.model_version for step in steps} == VERSIONS
    assert config.name == "ensemble_candidate"
    config.name = "ensemble_model"
    for step in steps:
        step.model_version = -1
    assert config == parse(ENSEMBLE)


def test_a_pinned_ensemble_can_be_pinned_again():
    assert render_ensemble(render_ensemble(ENSEMBLE, dict.fromkeys(STAGES, 12)), VERSIONS) == render_ensemble(
        ENSEMBLE, VERSIONS)


@pytest.mark.parametrize(("versions", "fault"), [
    ({k: v for k, v in VERSIONS.items() if k != "query_tower"}, "query_tower have no version"),
    ({**VERSIONS, "other": 1}, "other are no steps"),
    ({**VERSIONS, "query_tower": 0}, "query_tower need a version ≥ 1")])
def test_versions_must_fit_the_steps(versions, fault):
    with pytest.raises(EnsembleError, match=fault):
        render_ensemble(ENSEMBLE, versions)


def test_a_template_of_another_form_is_refused():
    with pytest.raises(EnsembleError, match="needs steps with model_name, then model_version"):
        render_ensemble(ENSEMBLE.replace("model_version: -1", "", 1), VERSIONS)
    with pytest.raises(EnsembleError, match="must begin with its name"):
        render_ensemble(ENSEMBLE.replace('name: "ensemble_model"', ""), VERSIONS)
