"""Test that the launchpad's config and the training step's parameters are the same."""

import dataclasses
import importlib
import json
import subprocess
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from recsys_assets import columns, hyper_parameters
from recsys_assets.defs.features.training import WorkflowsConfig
from recsys_assets.defs.fine_tune.daily import FineTuneDlrmConfig, FineTuneQueryTowerConfig
from recsys_assets.defs.ranking.dlrm import DlrmConfig
from recsys_assets.defs.retrieval.two_tower import TwoTowerConfig
from recsys_assets.hyper_parameters import Bounds, ParameterInvalid, Parameters, parameter
from recsys_assets.lib.automation.search import SEARCHES
from recsys_assets.lib.evaluation.ablation_variants import VARIANTS
from recsys_assets.lib.evaluation.baseline_spaces import Between
from recsys_assets.orchestration.resources import BuildConfig
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets.training import step

#: Asset's config, training module, and the class that the module's ``run`` must receive.
SIDES: dict[str, tuple[type[BuildConfig], str, type[Parameters]]] = {
    "workflows": (WorkflowsConfig, "features.fit_workflows", hyper_parameters.WorkflowsParams),
    "two_tower": (TwoTowerConfig, "retrieval.two_tower", hyper_parameters.TwoTowerParams),
    "dlrm": (DlrmConfig, "ranking.dlrm", hyper_parameters.DlrmParams),
    "fine_tune_query_tower": (
        FineTuneQueryTowerConfig,
        "retrieval.fine_tune_query_tower",
        hyper_parameters.FineTuneQueryTowerParams,
    ),
    "fine_tune_dlrm": (
        FineTuneDlrmConfig,
        "ranking.fine_tune_dlrm",
        hyper_parameters.FineTuneDlrmParams,
    ),
}
#: As they were before both sides were made from one definition.
DEFAULTS: dict[str, dict[str, Any]] = {
    "workflows": {"hashed_buckets": 0},
    "two_tower": {
        "epochs": 25,
        "batch_size": 1024,
        "learning_rate": 2e-3,
        "learning_rate_decay": 0.1,
        "negatives": 0,
        "uniform_negatives": 0,
        "temperature": 0.1,
        "learned_temperature": False,
        "use_context": True,
        "use_history": True,
        "use_items": True,
        "history_heads": 4,
        "history_dropout": 0.0,
        "last_item_share": 0.5,
        "use_user_id": False,
        "logq_correction": True,
        "item_id_dropout": 0.1,
        "embedding_dim": 32,
        "dropout": 0.3,
        "embedding_l2": 0.0,
        "held_out": 0.05,
        "patience": 2,
    },
    "dlrm": {
        "epochs": 4,
        "batch_size": 4096,
        "learning_rate": 1e-3,
        "learning_rate_decay": 0.1,
        "negatives_per_positive": 5,
        "item_id_dropout": 0.1,
        "use_user_id": False,
        "dropout": 0.1,
        "embedding_l2": 1e-4,
        "held_out": 0.05,
        "patience": 1,
    },
    "fine_tune_query_tower": {"epochs": 1, "batch_size": 1024, "learning_rate": 1e-4},
    "fine_tune_dlrm": {"epochs": 1, "batch_size": 4096, "learning_rate": 1e-4},
}
EVERY = [(name, one) for name, (_, _, params) in SIDES.items() for one in params.declared()]
BOUNDED = [(name, one) for name, one in EVERY if one.bounds.given()]


def outside(one: hyper_parameters.Parameter) -> list[Any]:
    """Return the nearest value beyond each limit."""
    step_size = 1 if one.kind is int else 1e-6
    beyond = {"ge": -step_size, "gt": 0, "le": step_size, "lt": 0}
    return [one.kind(limit + beyond[name]) for name, limit in one.bounds.given().items()]


@pytest.mark.parametrize("name", SIDES)
def test_both_sides_have_the_same_names_defaults_and_types(name: str) -> None:
    config, module, params = SIDES[name]
    own = {
        field: config.model_fields[field]
        for field in config.model_fields
        if field not in BuildConfig.model_fields
    }
    assert (
        {field: info.default for field, info in own.items()}
        == dataclasses.asdict(params())
        == DEFAULTS[name]
    )
    assert {field: info.annotation for field, info in own.items()} == {
        one.name: one.kind for one in params.declared()
    }
    assert all(type(getattr(params(), one.name)) is one.kind for one in params.declared())
    body = next(
        value
        for key, value in vars(importlib.import_module(f"recsys_assets.training.{module}")).items()
        if callable(value)
        and getattr(value, "__annotations__", {}).get("step", "").startswith("Step[")
    )
    assert body.__annotations__["step"] == f"Step[{params.__name__}]"


def test_no_class_of_parameters_is_left_out() -> None:
    defined = {
        cls
        for cls in vars(hyper_parameters).values()
        if isinstance(cls, type) and issubclass(cls, Parameters) and cls is not Parameters
    }
    assert defined == {params for _, _, params in SIDES.values()}


@pytest.mark.parametrize(("name", "one"), EVERY, ids=[f"{name}-{one.name}" for name, one in EVERY])
def test_the_launchpad_shows_description_and_bounds(
    name: str, one: hyper_parameters.Parameter
) -> None:
    shown = SIDES[name][0].to_fields_dict()[one.name].description
    assert (
        len(one.description) > 15
        and one.description.endswith(".")
        and shown is not None
        and shown.startswith(one.description)
    )
    assert all(
        f"{limit:g}" in shown.removeprefix(one.description) for limit in one.bounds.given().values()
    )


@pytest.mark.parametrize(
    ("name", "one"), BOUNDED, ids=[f"{name}-{one.name}" for name, one in BOUNDED]
)
def test_both_sides_refuse_what_lies_outside_and_name_it(
    name: str, one: hyper_parameters.Parameter
) -> None:
    config, _, params = SIDES[name]
    for value in outside(one):
        with pytest.raises(ValidationError, match=one.name):
            config(**{one.name: value})
        with pytest.raises(step.StepError, match=rf"{one.name} must be .*, got {value!r}"):
            step.parse_params(params, {one.name: value})


@pytest.mark.parametrize(
    ("name", "one"), BOUNDED, ids=[f"{name}-{one.name}" for name, one in BOUNDED]
)
def test_both_sides_take_a_limit_that_is_included(
    name: str, one: hyper_parameters.Parameter
) -> None:
    config, _, params = SIDES[name]
    for limit in (one.bounds.ge, one.bounds.le):
        if limit is not None:
            value = one.kind(limit)
            assert getattr(config(**{one.name: value}), one.name) == value
            assert getattr(step.parse_params(params, {one.name: value}), one.name) == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 2.5}, "epochs must be of type int, got 2.5"),
        ({"epochs": True}, "epochs must be of type int, got True"),
        ({"learning_rate": "fast"}, "learning_rate must be of type float, got 'fast'"),
        ({"use_context": 1}, "use_context must be of type bool, got 1"),
        ({"learning_rate": float("nan")}, "learning_rate must be > 0, got nan"),
        ({"history_heads": 3}, "history_heads must be a divisor of 64, got 3"),
        ({"epoch": 3}, "unknown parameter epoch; this step has epochs, "),
    ],
)
def test_a_step_refuses_a_wrong_type_and_an_unknown_name(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(step.StepError, match=message):
        step.parse_params(hyper_parameters.TwoTowerParams, given)


def test_the_heads_divide_the_width_of_the_towers_vectors() -> None:
    assert hyper_parameters.VECTOR_WIDTH == columns.EMBEDDING_DIM
    for heads in (1, 2, 4, 8, 64):
        assert hyper_parameters.TwoTowerParams(history_heads=heads).history_heads == heads


def test_a_whole_number_is_a_float() -> None:
    assert (
        step.parse_params(hyper_parameters.TwoTowerParams, {"learning_rate": 1}).learning_rate == 1
    )


def test_bounds_are_read_as_pydantic_reads_them() -> None:
    @dataclasses.dataclass(frozen=True)
    class Params(Parameters):
        share: float = parameter(0.5, "A share.", gt=0, le=1)

    assert str(Bounds(gt=0, le=1)) == "> 0 and ≤ 1" and Params(1.0).share == 1.0
    for value in (0.0, 1.1):
        with pytest.raises(ParameterInvalid, match=rf"share must be > 0 and ≤ 1, got {value}"):
            Params(value)


@pytest.mark.parametrize("model", SEARCHES)
def test_every_value_that_a_search_tries_is_allowed(model: str) -> None:
    declared = {one.name: one for one in SIDES[model][2].declared()}
    for name, choice in SEARCHES[model].space.items():
        for value in (choice.low, choice.high) if isinstance(choice, Between) else choice.values:
            declared[name].check(value)  # KeyError: a parameter that the training does not have


def test_every_parameter_that_a_variant_changes_exists() -> None:
    changed = [variant.two_tower for variant in VARIANTS.values() if variant.two_tower]
    assert changed and all(
        step.parse_params(hyper_parameters.TwoTowerParams, dict(one)) for one in changed
    )


def test_an_asset_hands_every_parameter_to_its_step() -> None:
    @dg.op
    def takes(config: TwoTowerConfig) -> dict[str, Any]:
        return config.model_dump(exclude={"force"})

    @dg.job
    def job() -> None:
        takes()

    result = job.execute_in_process(
        run_config={"ops": {"takes": {"config": {"epochs": 3, "temperature": 0.2}}}}
    )
    assert result.output_for_node("takes") == {
        **DEFAULTS["two_tower"],
        "epochs": 3,
        "temperature": 0.2,
    }


@pytest.mark.training
def test_the_training_environment_refuses_a_value_out_of_bounds(tmp_path: Path) -> None:
    python = Settings().training_python
    if not python.exists():
        pytest.skip(f"no training environment at {python}: run `make setup`")
    extras = tmp_path / "extras.json"
    extras.write_text(
        json.dumps(
            {"inputs": {}, "output": str(tmp_path / "out"), "params": {"item_id_dropout": 1.0}}
        )
    )
    done = subprocess.run(
        [str(python), "-m", "recsys_assets.training.ranking.dlrm", "--extras", str(extras)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": str(PROJECT_ROOT), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"},
    )
    assert (
        done.returncode == 1
        and "StepError: item_id_dropout must be ≥ 0 and < 1, got 1.0" in done.stderr
    )
