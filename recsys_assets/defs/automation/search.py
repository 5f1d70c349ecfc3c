"""Define the jobs of the hyper-parameter search.

A driver proposes parameters, and each trial is a run of its own, so that the UI can compare them;
on Kubernetes it is a training pod of the search's run. A trial trains on the data sets and
embeddings of an as-of day and stores its model under ``search/…``, which no asset reads. It reports
a materialisation of the asset ``search/<model>``, whose page plots the trials; a run of its own has
the tags SEARCH and TRIAL.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

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
    """Config of one trial."""

    model: str = Field(description="Model to train: two_tower or dlrm.")
    as_of: str = Field(description="As-of day whose data sets are used for training.")
    params: dict[str, Any] = Field(
        default={},
        description="Config of the asset that trains the model; other fields keep their defaults.",
    )


class SearchConfig(dg.Config):
    """Config of a search."""

    trials: int = Field(
        default=20,
        ge=1,
        description="Total number of trials; trials of an earlier search on the same data count.",
    )
    as_of: str = Field(
        default=partitions.first_as_of(get_settings()),
        description="As-of day whose data sets are used for training.",
    )
    seed: int = Field(
        default=7,
        description="Random seed of the proposals; the trainings use the seed of the settings.",
    )
    fixed: dict[str, Any] = Field(
        default={},
        description="Parameters with a fixed value that differs from the asset's default, such as "
        "{epochs: 6}. They are not searched.",
    )


def _params(model: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return all parameters of a training, with defaults for those that are not given.

    Raises:
        ValueError: the asset's config has no such parameter, or does not allow its value.
    """
    config = CONFIGS[model]
    if unknown := sorted(set(given) - set(config.model_fields)):
        raise ValueError(
            f"{model} has no parameter {', '.join(unknown)}; it has "
            f"{', '.join(config.model_fields)}"
        )
    return config(**given).model_dump(exclude={"force"})


def _train(
    context: dg.OpExecutionContext,
    config: TrialConfig,
    platform: Platform,
    training: TrainingClient,
    tags: Mapping[str, str],
) -> dict[str, Any]:
    """Train one trial, store it under ``search/<model>`` and return its metrics."""
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
        profile="GPU_TRAIN",
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


@dg.op(tags=compute.op_tags("GPU_TRAIN"), pool="training")
def train_trial(
    context: dg.OpExecutionContext,
    config: TrialConfig,
    platform: Platform,
    training: TrainingClient,
) -> dict[str, Any]:
    """Trains one trial, stores it under `search/<model>` and returns its metrics."""
    tags = {name: context.run.tags[name] for name in (SEARCH, TRIAL) if name in context.run.tags}
    return _train(context, config, platform, training, tags)


@dg.job(
    description="Trains one trial of a hyper-parameter search; search_two_tower and search_dlrm "
    "start it."
)
def search_trial() -> None:
    """Train one trial of a search."""
    train_trial()


class Tried(NamedTuple):
    """Holds the metrics of a trial, None if it failed, and the run with its log."""

    metrics: dict[str, Any] | None
    run_id: str


def _run_trial(
    context: dg.OpExecutionContext,
    platform: Platform,
    training: TrainingClient,
    name: str,
    number: int,
    config: TrialConfig,
) -> Tried:
    tags = {SEARCH: name, TRIAL: str(number)}
    if platform.settings.executor == "k8s":
        # no run of its own: run monitoring would find no pod of that run, and mark it as failed
        try:
            return Tried(_train(context, config, platform, training, tags), context.run_id)
        except dg.Failure as failure:
            context.log.error(f"trial {number}: {failure.description}")
            return Tried(None, context.run_id)
    # a run of its own in this process: it needs no daemon
    result = search_trial.execute_in_process(
        instance=context.instance,
        resources={"platform": platform, "training": training},
        raise_on_error=False,
        tags=tags,
        run_config={
            "ops": {"train_trial": {"config": config.model_dump()}},
            "loggers": {"console": {"config": {"log_level": "ERROR"}}},
        },
    )
    metrics = result.output_for_node("train_trial") if result.success else None
    return Tried(metrics, result.run_id)


def _search(
    context: dg.OpExecutionContext,
    config: SearchConfig,
    platform: Platform,
    training: TrainingClient,
    model: str,
) -> None:
    """Run trials until the study has ``config.trials``, then write the results."""
    import optuna

    from recsys_assets.lib.automation import search

    _params(model, config.fixed)  # fails before the first training if a parameter is unknown
    wanted, defaults = search.SEARCHES[model].without(config.fixed), _params(model, {})
    name = _study_name(platform, model, config, list(wanted.space))
    folder = platform.settings.home / "search"
    study = search.open_study(
        folder / f"{model}.journal", name, wanted, config.trials, config.seed, defaults
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
        metrics = result.metrics
        if metrics is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            context.log.warning(
                f"trial {number} failed with {params}; see the error in run {result.run_id}"
            )
            continue
        value = wanted.objective(metrics)
        trial.set_user_attr("seconds", metrics.get("seconds"))
        study.tell(trial, value)
        context.log.info(
            f"trial {number} of {config.trials}: {wanted.figure} {value:.4f}, best "
            f"{study.best_value:.4f}; run {result.run_id}: {params}"
        )
    report = search.report(study, wanted, defaults, OPS[model], config.fixed)
    best = dg.MetadataValue.json(study.best_params)
    shown = {wanted.figure: study.best_value, "best params": best, "search": name}
    context.add_output_metadata({**_written(report, folder / f"{name}.md"), **shown})


def _written(report: Mapping[str, str], file: Path) -> dict[str, dg.MetadataValue[Any]]:
    """Write the parts of a report into a Markdown file; return them as metadata."""
    parts = {title.replace("_", " "): text for title, text in report.items()}
    file.write_text("\n\n".join(f"## {title}\n{text}" for title, text in parts.items()) + "\n")
    return {
        **{title: dg.MetadataValue.md(text) for title, text in parts.items()},
        "file": dg.MetadataValue.path(str(file)),
    }


def _study_name(platform: Platform, model: str, config: SearchConfig, space: list[str]) -> str:
    """Return a study's name, with a digest of its data and config.

    Trials that differ in one of these cannot be compared.
    """
    inputs: Mapping[str, Any] = open_inputs(ModelInputs, platform, config.as_of)
    data = {role: artifact.digest for role, artifact in inputs.items()}
    digest = sha256_json([data, config.fixed, space, config.seed])[:8]
    return f"{model}-{config.as_of}-{digest}"


def _job(model: str) -> dg.JobDefinition:
    @dg.op(name=f"propose_{model}", out=dg.Out(dg.Nothing), tags=compute.CPU_SMALL)
    def propose(
        context: dg.OpExecutionContext,
        config: SearchConfig,
        platform: Platform,
        training: TrainingClient,
    ) -> None:
        """Proposes parameters and runs one trial after another."""
        _search(context, config, platform, training, model)

    @dg.job(
        name=f"search_{model}",
        description=f"Searches hyper-parameters of {model}. Each trial is a run of its own with "
        f"the tag {SEARCH}; on Kubernetes a training pod.",
    )
    def search_model() -> None:
        propose()

    return search_model


search_two_tower, search_dlrm = _job("two_tower"), _job("dlrm")
