"""Hyper-parameter search: a driver that proposes, and trials that are runs of their own, comparable
in the UI.

A trial trains on the data sets and embeddings of an as-of day and keeps its model under
``search/…``, so that nothing that the graph reads changes. Its run carries the tags SEARCH and
TRIAL, and reports a materialisation of the asset ``search/<model>``, whose page plots the trials.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from recsys_assets import partitions
from recsys_assets.defs.ranking.dlrm import DlrmConfig
from recsys_assets.defs.retrieval.model_inputs import ModelInputs
from recsys_assets.defs.retrieval.two_tower import TwoTowerConfig
from recsys_assets.files import sha256_json
from recsys_assets.orchestration import compute
from recsys_assets.orchestration.pipes import MODEL_STEPS, TrainingClient
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import open_inputs
from recsys_assets.settings import get_settings

SEARCH, TRIAL = "recsys/search", "recsys/trial"
CONFIGS: dict[str, type[BuildConfig]] = {"two_tower": TwoTowerConfig, "dlrm": DlrmConfig}
#: Op of the asset whose defaults are searched.
OPS = {"two_tower": "retrieval__two_tower", "dlrm": "ranking__dlrm"}


class TrialConfig(dg.Config):
    model: str = Field(description="two_tower or dlrm.")
    as_of: str = Field(description="As-of day whose data sets are trained on.")
    params: dict[str, Any] = Field(
        default={},
        description="Config of the asset that trains this model; the rest are its defaults.",
    )


class SearchConfig(dg.Config):
    trials: int = Field(
        default=20,
        ge=1,
        description="Trainings in all; those of an earlier search of the same data count.",
    )
    as_of: str = Field(
        default=partitions.first_as_of(get_settings()),
        description="As-of day whose data sets are trained on.",
    )
    seed: int = Field(
        default=7, description="Of the proposals; that of the trainings is the settings'."
    )
    fixed: dict[str, Any] = Field(
        default={},
        description="Parameters that are not searched, where the asset's default will not do, "
        "such as {epochs: 6}; one of the search space leaves it.",
    )


def _params(model: str, given: dict[str, Any]) -> dict[str, Any]:
    """Every parameter of a training; raises for what the asset's config does not know or allow."""
    config = CONFIGS[model]
    if unknown := sorted(set(given) - set(config.model_fields)):
        raise ValueError(
            f"{model} has no parameter {', '.join(unknown)}; it has "
            f"{', '.join(config.model_fields)}"
        )
    return config(**given).model_dump(exclude={"force"})


@dg.op(tags=compute.op_tags("GPU_TRAIN"), pool="training")
def train_trial(
    context: dg.OpExecutionContext,
    config: TrialConfig,
    platform: Platform,
    training: TrainingClient,
) -> dict[str, Any]:
    """One training under ``search/<model>``; gives its metrics."""
    params = _params(config.model, config.params)
    inputs = open_inputs(ModelInputs, platform, config.as_of)
    built = training.build(
        context,
        platform,
        f"search/{config.model}",
        MODEL_STEPS[config.model],
        inputs=inputs,
        partition=config.as_of,
        params=params,
    )
    metrics = built.artifact.metrics
    from recsys_assets.lib.automation import search

    wanted = search.SEARCHES[config.model]
    shown: dict[str, Any] = {
        wanted.figure: wanted.objective(metrics),
        **{name: params[name] for name in (*wanted.space, *config.params)},
        **{
            name: metrics[name]
            for name in ("epochs", "best_epoch", "rows_per_second", "seconds")
            if name in metrics
        },
    }
    tags = {name: context.run.tags[name] for name in (SEARCH, TRIAL) if name in context.run.tags}
    context.log_event(
        dg.AssetMaterialization(
            ["search", config.model],
            metadata={
                **shown,
                **{name.split("/")[1]: value for name, value in tags.items()},
                "uri": built.artifact.uri,
                "reused": built.reused,
            },
        )
    )
    return metrics


@dg.job(
    description="One training of a hyper-parameter search; search_two_tower and search_dlrm "
    "start it."
)
def search_trial():
    train_trial()


def _run_trial(
    context: dg.OpExecutionContext,
    platform: Platform,
    training: TrainingClient,
    name: str,
    number: int,
    config: TrialConfig,
) -> dg.ExecuteInProcessResult:
    # in this process, yet a run of its own on the same instance: needs no daemon, and works
    # wherever the driver does
    return search_trial.execute_in_process(
        instance=context.instance,
        resources={"platform": platform, "training": training},
        raise_on_error=False,
        tags={SEARCH: name, TRIAL: str(number)},
        run_config={
            "ops": {"train_trial": {"config": config.model_dump()}},
            "loggers": {"console": {"config": {"log_level": "ERROR"}}},
        },
    )


def _search(
    context: dg.OpExecutionContext,
    config: SearchConfig,
    platform: Platform,
    training: TrainingClient,
    model: str,
) -> None:
    """Trial after trial, until the study has as many as are asked for; the results are the op's
    metadata and files.
    """
    import optuna

    from recsys_assets.lib.automation import search

    _params(model, config.fixed)  # refuses what no training knows before anything is trained
    wanted, defaults = search.SEARCHES[model].without(config.fixed), _params(model, {})
    inputs: Mapping[str, Any] = open_inputs(ModelInputs, platform, config.as_of)
    data = {role: artifact.digest for role, artifact in inputs.items()}
    # figures of other data, or of other fixed parameters, cannot be compared
    digest = sha256_json([data, config.fixed, list(wanted.space), config.seed])[:8]
    name = f"{model}-{config.as_of}-{digest}"
    folder = platform.settings.home / "search"
    study = search.open_study(
        folder / f"{model}.db", name, wanted, config.trials, config.seed, defaults
    )
    for number in range(search.finished(study), config.trials):
        trial, params = search.propose(study, wanted)
        result = _run_trial(
            context,
            platform,
            training,
            name,
            number,
            TrialConfig(model=model, as_of=config.as_of, params={**config.fixed, **params}),
        )
        trial.set_user_attr("run", result.run_id)
        if not result.success:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            context.log.warning(
                f"trial {number} failed with {params}; run {result.run_id} says why"
            )
            continue
        metrics = result.output_for_node("train_trial")
        value = wanted.objective(metrics)
        trial.set_user_attr("seconds", metrics.get("seconds"))
        study.tell(trial, value)
        context.log.info(
            f"trial {number} of {config.trials}: {wanted.figure} {value:.4f}, best "
            f"{study.best_value:.4f}; "
            f"run {result.run_id}: {params}"
        )
    parts = search.report(study, wanted, defaults, OPS[model], config.fixed)
    (folder / f"{name}.md").write_text(
        "\n\n".join(f"## {title.replace('_', ' ')}\n{text}" for title, text in parts.items()) + "\n"
    )
    context.add_output_metadata(
        {
            **{title.replace("_", " "): dg.MetadataValue.md(text) for title, text in parts.items()},
            wanted.figure: study.best_value,
            "best params": dg.MetadataValue.json(study.best_params),
            "search": name,
            "file": dg.MetadataValue.path(str(folder / f"{name}.md")),
        }
    )


def _job(model: str) -> dg.JobDefinition:
    @dg.op(name=f"propose_{model}", out=dg.Out(dg.Nothing), tags=compute.CPU_SMALL)
    def propose(
        context: dg.OpExecutionContext,
        config: SearchConfig,
        platform: Platform,
        training: TrainingClient,
    ) -> None:
        _search(context, config, platform, training, model)

    @dg.job(
        name=f"search_{model}",
        description=f"Hyper-parameters of {model}: each trial a run of its own, tagged {SEARCH}.",
    )
    def search_model():
        propose()

    return search_model


search_two_tower, search_dlrm = _job("two_tower"), _job("dlrm")
