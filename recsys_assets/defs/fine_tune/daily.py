"""Define the assets that fine-tune the champion's models on a new day, and their release.

The query tower and the ranker are trained. The item tower stays the same. Beside this module,
``items`` adds the new items of the day, and ``sources`` refits the sources.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.defs.serving.gate_config import GateConfig
from recsys_assets.hyper_parameters import FineTuneDlrmParams, FineTuneQueryTowerParams
from recsys_assets.lib.gates import gates
from recsys_assets.orchestration import compute, reporting, served_check
from recsys_assets.orchestration.click_values import click_values, dismissal_params
from recsys_assets.orchestration.corrections import require_read
from recsys_assets.orchestration.pipes import FINE_TUNE_STEPS, TrainingClient
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.step_config import config_of
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


@config_of(FineTuneQueryTowerParams)
class FineTuneQueryTowerConfig(BuildConfig):
    """Config of ``fine_tune/query_tower``: the parameters of its training step."""


@config_of(FineTuneDlrmParams)
class FineTuneDlrmConfig(BuildConfig):
    """Config of ``fine_tune/dlrm``: the parameters of its training step."""


class ReplayedDays(TypedDict):
    """Declared inputs of ``fine_tune/rows``: the new day and the replayed days."""

    masked: Annotated[
        Sequence[Artifact], Upstream("features/masked_train", partitions.REPLAY, chosen=True)
    ]
    features: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.REPLAY, chosen=True)
    ]


class LoggedDays(ReplayedDays):
    """Inputs of ``fine_tune/rows`` that values of clicks are made from, beside the days."""

    log: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.REPLAY, chosen=True)]
    items: Annotated[Artifact, Upstream("raw/items")]


class RowsInputs(ReplayedDays):
    """Inputs of ``fine_tune/rows``, with the champion (see upstream.py)."""

    champion: Artifact


class RowsOfDay(TypedDict):
    """Inputs of ``fine_tune/query_tower`` and ``fine_tune/dlrm``."""

    rows: Annotated[Artifact, Upstream("fine_tune/rows", SAME)]


class FineTuneParts(RowsOfDay):
    """Inputs of ``fine_tune/release``."""

    query_tower: Annotated[Artifact, Upstream("fine_tune/query_tower", SAME)]
    dlrm: Annotated[Artifact, Upstream("fine_tune/dlrm", SAME)]
    added_items: Annotated[Artifact, Upstream("fine_tune/items", SAME)]
    sources: Annotated[Artifact, Upstream("fine_tune/sources", SAME)]
    blend: Annotated[Artifact, Upstream("fine_tune/blend", SAME)]
    items: Annotated[Artifact, Upstream("raw/items")]
    days_before: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.DAY_BEFORE)
    ]
    training: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.REPLAY, chosen=True)
    ]
    interactions: Annotated[
        Sequence[Artifact], Upstream("raw/interactions", partitions.RECENT_WINDOW)
    ]


@dg.asset(
    key=["fine_tune", "rows"],
    kinds={"polars", "parquet"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.daily(),
    deps=dependencies(LoggedDays),
)
def rows(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Selects and transforms the rows of a fine-tune, per day.

    Reads masked rows and features of the new day and of replayed older days, and the champion's
    transforms. Writes the training rows (70 % of the new day, and the replayed days) and the
    held-out rows (30 % of the new day), one row per exposure. Where RECSYS_EVENT_VALUES says so,
    rows have the values of their clicks, by the events up to the end of the day, and the training
    rows have the days' dismissals. The metric "learns" names the models that learn: not the ranker
    where every row of the day is clicked, and none for a champion of the fusion, for which no row
    is written and the whole day is held out.
    """
    from recsys_assets.lib.features.look_back import require_look_back
    from recsys_assets.lib.fine_tune import fine_tuning

    day, store = context.partition_key, platform.store
    plan = fine_tuning.plan(platform.settings, store, day)
    learnt = plan.training_days
    days = open_inputs(LoggedDays, platform, day, masked=learnt, features=learnt, log=learnt)
    require_look_back(days["features"], platform.settings.look_back_days)
    require_read(context, platform, plan.training_days)
    inputs: RowsInputs = {
        "champion": plan.base.artifact,
        "masked": days["masked"],
        "features": days["features"],
    }
    values = click_values(
        context, platform, partition=day, training_days=learnt, log=days["log"], items=days["items"]
    )
    weight = dismissal_params(platform)
    built = platform.build(
        context,
        "fine_tune/rows",
        partition=day,
        inputs={**inputs, **values},
        params={"seed": platform.settings.seed, **weight},
        force=config.force,
        write=lambda staged: fine_tuning.write_rows(
            store,
            **inputs,
            values=values.get("values"),
            target=staged.path,
            seed=platform.settings.seed,
            dismissal_weight=weight.get("dismissal_weight", 0.0),
        ),
    )
    return reporting.result(
        built.artifact,
        reused=built.reused,
        extra={"base_release": plan.base.number, "days": plan.training_days},
    )


def _fine_tune(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    platform: Platform,
    training: TrainingClient,
    name: str,
) -> reporting.Materialized:
    from recsys_assets.lib.fine_tune import fine_tuning

    day, store = context.partition_key, platform.store
    rows = open_inputs(RowsOfDay, platform, day)["rows"]
    champion = fine_tuning.origin(store, rows, name)
    inputs = {"champion": champion, "rows": rows, **fine_tuning.generation_inputs(store, champion)}
    if name not in fine_tuning.learns(rows):
        kept = platform.build(
            context,
            f"fine_tune/{name}",
            partition=day,
            inputs=inputs,
            params={"carried": True},
            force=config.force,
            write=lambda staged: fine_tuning.carry(champion, staged.path),
        )
        return reporting.result(kept.artifact, reused=kept.reused)
    built = training.build(
        context,
        platform,
        f"fine_tune/{name}",
        FINE_TUNE_STEPS[name],
        partition=day,
        inputs=inputs,
        params={**config.model_dump(exclude={"force"}), "seed": platform.settings.seed},
        force=config.force,
    )
    return reporting.result(built.artifact, reused=built.reused)


@dg.asset(
    key=["fine_tune", "query_tower"],
    kinds={"tensorflow", "merlin"},
    partitions_def=partitions.daily(),
    op_tags=compute.op_tags("GPU_TRAIN"),
    pool="training",
    deps=dependencies(RowsOfDay),
)
def query_tower(
    context: dg.AssetExecutionContext,
    config: FineTuneQueryTowerConfig,
    platform: Platform,
    training: TrainingClient,
) -> reporting.Materialized:
    """Fine-tunes the champion's query tower on a new day.

    Reads the day's rows and the champion's towers. Writes a new query tower as checkpoint and ONNX.
    The item tower is frozen and stays bit-identical. A champion of the fusion keeps its own.
    """
    return _fine_tune(context, config, platform, training, "query_tower")


@dg.asset(
    key=["fine_tune", "dlrm"],
    kinds={"tensorflow", "merlin"},
    partitions_def=partitions.daily(),
    op_tags=compute.op_tags("GPU_TRAIN"),
    pool="training",
    deps=dependencies(RowsOfDay),
)
def dlrm(
    context: dg.AssetExecutionContext,
    config: FineTuneDlrmConfig,
    platform: Platform,
    training: TrainingClient,
) -> reporting.Materialized:
    """Fine-tunes all parameters of the champion's DLRM on a new day.

    Reads the day's rows and the champion's DLRM. Writes a new DLRM as checkpoint and ONNX. Where
    every row of the day is clicked, it cannot learn, and the champion's is carried over.
    """
    return _fine_tune(context, config, platform, training, "dlrm")


class FineTuneVerdictParams(TypedDict):
    """Parameters of ``fine_tune/verdict``, as its manifest records them."""

    seed: int
    time_zone: str
    retrieval_topk: int
    first_day: str


@dg.asset(
    key=["fine_tune", "release"],
    kinds={"triton"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.daily(),
    deps=dependencies(FineTuneParts),
    check_specs=[
        *reporting.gate_specs(
            ["fine_tune", "release"],
            partitions.daily(),
            {name: gates.GROUPS[name] for name in gates.FINE_TUNE_GROUPS},
        ),
        *served_check.served_specs(["fine_tune", "release"], partitions.daily()),
    ],
)
def release(
    context: dg.AssetExecutionContext, config: GateConfig, platform: Platform
) -> reporting.Materialized:
    """Builds a fine-tuned release per day and records the gate verdict.

    Reads both fine-tuned models, the refitted sources with their weights, the items, the day's
    held-out rows and the champion. The release keeps the champion's generation (workflows, item
    vectors and index), to which the new items of the day are added. It says which days it has
    learnt, and which model was carried over.
    """
    from recsys_assets.lib.gates import fine_tuned

    day, store, settings = context.partition_key, platform.store, platform.settings
    parts = open_inputs(
        FineTuneParts,
        platform,
        day,
        training=lambda opened: fine_tuned.training_days(store, opened["rows"]),
    )
    inputs, limits = fine_tuned.fine_tune_inputs(store, settings, parts), config.limits()
    params: FineTuneVerdictParams = {
        "seed": settings.seed,
        "time_zone": partitions.time_zone(settings),
        "retrieval_topk": settings.retrieval_topk,
        "first_day": partitions.calendar_start(settings).isoformat(),
    }
    judged = platform.build(
        context,
        "fine_tune/verdict",
        partition=day,
        inputs=inputs,
        params={**params, **dataclasses.asdict(limits)},
        force=config.force,
        write=lambda staged: fine_tuned.write_fine_tune_verdict(
            store, inputs, staged.path, day=day, limits=limits, **params
        ),
    )
    release = fine_tuned.fine_tuned_release(store, day, inputs, judged.artifact)
    verdict = release.metrics["gate"]
    served = served_check.served_check(context, platform, release, force=config.force)
    gate = reporting.gate_checks(verdict, gates.by_group(verdict))
    return reporting.released(release, checks=[*gate, served])
