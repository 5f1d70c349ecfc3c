"""What Triton is told of each model (triton_repo/) against what the stage declares."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from recsys_assets.serving.stages.answer import ANSWER, REQUEST
from recsys_assets.serving.stages.registry import ADS_STAGES, STAGES, stage_class
from recsys_assets.serving.triton.ensemble import EnsembleError, render_ensemble
from recsys_assets.serving.triton.fused_model import TRACE_SPEC
from recsys_assets.serving.triton.wiring import sources, wire_inputs, wire_outputs
from recsys_assets.settings import PROJECT_ROOT

TEMPLATES = PROJECT_ROOT / "triton_repo"
ENSEMBLE = (TEMPLATES / "ensemble_model" / "config.pbtxt").read_text()
RECOMMENDER = (TEMPLATES / "recommender" / "config.pbtxt").read_text()


def parse(text: str) -> pb.ModelConfig:
    return text_format.Parse(text, pb.ModelConfig())


def read(model: str) -> pb.ModelConfig:
    return parse((TEMPLATES / model / "config.pbtxt").read_text())


def tensors(declared) -> list[tuple]:
    return [
        (
            t.name,
            pb.DataType.Name(t.data_type).removeprefix("TYPE_"),
            tuple(t.dims),
            getattr(t, "optional", False),
        )
        for t in declared
    ]


def specs(declared) -> list[tuple]:
    return [(s.name, s.dtype, s.shape, s.optional) for s in declared]


def test_the_repository_holds_the_stages_the_fused_model_and_the_ensembles():
    assert sorted(path.name for path in TEMPLATES.iterdir()) == sorted(
        [*STAGES, "ensemble_model", "fused_model", "recommender", *ADS_STAGES, "ads_ensemble"]
    )
    assert len(STAGES) == 15


@pytest.mark.parametrize("model", ADS_STAGES)
def test_a_model_of_the_ads_ranker_takes_plain_tensors(model):
    config = read(model)
    assert stage_class(model).name == config.name == model
    assert tensors(config.input) == specs(stage_class(model).inputs) == specs(wire_inputs(model))
    assert tensors(config.output) == specs(stage_class(model).outputs) == specs(wire_outputs(model))


def test_the_ads_ensemble_is_the_transform_and_the_network():
    config = read("ads_ensemble")
    first, last = config.ensemble_scheduling.step
    assert [step.model_name for step in (first, last)] == list(ADS_STAGES)
    assert {step.model_version for step in (first, last)} == {-1}
    assert dict(first.input_map) == {one.name: one.name for one in config.input}
    assert dict(first.output_map) == dict(last.input_map) == {"cat": "cat", "cont": "cont"}
    assert dict(last.output_map) == {one.name: one.name for one in config.output}
    assert tensors(config.input) == tensors(read("ads_nvt_transform").input)
    assert tensors(config.output) == tensors(read("ads_dcn").output)
    assert "ads_dcn" in render_ensemble(
        (TEMPLATES / "ads_ensemble/config.pbtxt").read_text(),
        {"ads_nvt_transform": 1, "ads_dcn": 2},
        "ads_ensemble",
    )


@pytest.mark.parametrize("model", STAGES)
def test_a_model_takes_the_packed_outputs_of_the_stages_before_it(model):
    config = read(model)
    assert stage_class(model).name == config.name == model
    assert tensors(config.input) == specs(wire_inputs(model))
    assert tensors(config.output) == specs(wire_outputs(model))


def test_every_stages_inputs_come_from_the_stages_before_it():
    for position, model in enumerate(STAGES):
        wanted = {spec.name for spec in stage_class(model).inputs} - {spec.name for spec in REQUEST}
        assert {name for names in sources(model).values() for name in names} == wanted
        assert all(source in list(STAGES)[:position] for source in sources(model))


def test_the_fused_model_takes_a_request_and_gives_the_answer_and_the_trace():
    config = read("fused_model")
    assert tensors(config.input) == specs(REQUEST) and tensors(config.output) == specs(
        (*ANSWER, TRACE_SPEC)
    )
    code = (TEMPLATES / "fused_model" / "model.py").read_text()
    assert code.endswith("TritonPythonModel = fused_class()\n") and len(code.splitlines()) == 5


@pytest.mark.parametrize("model", [*STAGES, *ADS_STAGES, "fused_model"])
def test_a_model_is_served_by_the_cpu_in_all_versions_without_batching(model):
    config = read(model)
    assert (config.backend, config.max_batch_size) == ("python", 0)
    instances = 2 if model == "fused_model" else 1
    assert [(group.kind, group.count) for group in config.instance_group] == [
        (pb.ModelInstanceGroup.KIND_CPU, instances)
    ]
    assert config.version_policy.WhichOneof("policy_choice") == "all"
    assert not config.HasField("dynamic_batching") and not config.HasField("sequence_batching")
    if model != "fused_model":
        code = (TEMPLATES / model / "model.py").read_text()
        assert (
            code.endswith(f'TritonPythonModel = model_class("{model}")\n')
            and len(code.splitlines()) == 5
        )


def test_the_recommender_is_the_fused_model_alone():
    config = parse(RECOMMENDER)
    (step,) = config.ensemble_scheduling.step
    assert (config.name, step.model_name, step.model_version) == ("recommender", "fused_model", -1)
    assert dict(step.input_map) == {spec.name: spec.name for spec in REQUEST}
    assert dict(step.output_map) == {
        spec.name: spec.name for spec in ANSWER
    }  # the trace is not made for nobody
    assert tensors(config.input) == specs(REQUEST) and tensors(config.output) == specs(ANSWER)


def test_the_ensemble_wires_every_stage_by_its_tensors_names():
    config = parse(ENSEMBLE)
    assert (config.name, config.platform, config.max_batch_size) == (
        "ensemble_model",
        "ensemble",
        0,
    )
    steps = config.ensemble_scheduling.step
    assert [(step.model_name, step.model_version) for step in steps] == [
        (model, -1) for model in STAGES
    ]
    for step in steps:
        assert dict(step.input_map) == {
            spec.name: spec.name for spec in wire_inputs(step.model_name)
        }
        assert dict(step.output_map) == {
            spec.name: spec.name for spec in wire_outputs(step.model_name)
        }
    assert tensors(config.input) == specs(REQUEST) and tensors(config.output) == specs(ANSWER)


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
    assert render_ensemble(
        render_ensemble(ENSEMBLE, dict.fromkeys(STAGES, 12)), VERSIONS
    ) == render_ensemble(ENSEMBLE, VERSIONS)


@pytest.mark.parametrize(
    ("versions", "fault"),
    [
        ({k: v for k, v in VERSIONS.items() if k != "query_tower"}, "query_tower have no version"),
        ({**VERSIONS, "other": 1}, "other are not steps"),
        ({**VERSIONS, "query_tower": 0}, "query_tower need a version ≥ 1"),
    ],
)
def test_versions_must_fit_the_steps(versions, fault):
    with pytest.raises(EnsembleError, match=fault):
        render_ensemble(ENSEMBLE, versions)


def test_a_template_of_another_form_is_refused():
    with pytest.raises(EnsembleError, match="needs steps with model_name, then model_version"):
        render_ensemble(ENSEMBLE.replace("model_version: -1", "", 1), VERSIONS)
    with pytest.raises(EnsembleError, match="must begin with its name"):
        render_ensemble(ENSEMBLE.replace('name: "ensemble_model"', ""), VERSIONS)
