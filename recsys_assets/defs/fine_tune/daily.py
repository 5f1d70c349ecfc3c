"""Daily fine-tuning: the champion, warm-started, on the newest day; the item side stays as it
is.
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
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.pipes import FINE_TUNE_STEPS, TrainingClient
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.step_config import config_of
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


@config_of(FineTuneQueryTowerParams)
class FineTuneQueryTowerConfig(BuildConfig):
    """Config of the asset: the parameters of its training step."""


@config_of(FineTuneDlrmParams)
class FineTuneDlrmConfig(BuildConfig):
    """Config of the asset: the parameters of its training step."""


class ReplayedDays(TypedDict):
    masked: Annotated[
        Sequence[Artifact], Upstream("features/masked_train", partitions.REPLAY, chosen=True)
    ]
    features: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.REPLAY, chosen=True)
    ]


class RowsInputs(ReplayedDays):
    champion: Artifact  # the release in force (see upstream.py)


class RowsOfDay(TypedDict):
    rows: Annotated[Artifact, Upstream("fine_tune/rows", SAME)]


class FineTuneParts(RowsOfDay):
    query_tower: Annotated[Artifact, Upstream("fine_tune/query_tower", SAME)]
    dlrm: Annotated[Artifact, Upstream("fine_tune/dlrm", SAME)]
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
    partitions_def=partitions.daily(),
    deps=dependencies(ReplayedDays),
)
def rows(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: the new day and a replay of older ones, the champion's transforms. Out: train (70 % of
    the day, replay), holdout.
    """
    from recsys_assets.lib.fine_tune import fine_tuning

    day, store = context.partition_key, platform.store
    plan = fine_tuning.plan(platform.settings, store, day)
    days = open_inputs(
        ReplayedDays, platform, day, masked=plan.training_days, features=plan.training_days
    )
    inputs: RowsInputs = {"champion": plan.base.artifact, **days}
    built = platform.build(
        context,
        "fine_tune/rows",
        partition=day,
        inputs=inputs,
        params={"seed": platform.settings.seed},
        force=config.force,
        write=lambda staged: fine_tuning.write_rows(
            store, **inputs, target=staged.path, seed=platform.settings.seed
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
) -> dg.MaterializeResult:
    from recsys_assets.lib.fine_tune import fine_tuning

    day, store = context.partition_key, platform.store
    rows = open_inputs(RowsOfDay, platform, day)["rows"]
    champion = fine_tuning.origin(store, rows, name)
    inputs = {"champion": champion, "rows": rows, **fine_tuning.generation_inputs(store, champion)}
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
) -> dg.MaterializeResult:
    """In: rows, the champion's towers. Out: a new query tower; the item tower is frozen and stays
    equal to the bit.
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
) -> dg.MaterializeResult:
    """In: rows, the champion's DLRM. Out: a new DLRM, all parameters tuned."""
    return _fine_tune(context, config, platform, training, "dlrm")


class FineTuneVerdictParams(TypedDict):
    seed: int
    seen_days: int
    retrieval_topk: int
    first_day: str


@dg.asset(
    key=["fine_tune", "release"],
    kinds={"triton"},
    partitions_def=partitions.daily(),
    deps=dependencies(FineTuneParts),
    check_specs=reporting.gate_specs(
        ["fine_tune", "release"],
        partitions.daily(),
        {name: gates.GROUPS[name] for name in gates.FINE_TUNE_GROUPS},
    ),
)
def release(
    context: dg.AssetExecutionContext, config: GateConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: both tuned models, the champion, the day's held-out rows. Out: a release of the
    champion's generation with its verdict.
    """
    from recsys_assets.lib.gates import verdicts

    day, store, settings = context.partition_key, platform.store, platform.settings
    parts = open_inputs(
        FineTuneParts,
        platform,
        day,
        training=lambda opened: verdicts.training_days(store, opened["rows"]),
    )
    inputs, limits = verdicts.fine_tune_inputs(store, settings, parts), config.limits()
    params: FineTuneVerdictParams = {
        "seed": settings.seed,
        "seen_days": settings.seen_days,
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
        write=lambda staged: verdicts.write_fine_tune_verdict(
            store, inputs, staged.path, day=day, limits=limits, **params
        ),
    )
    release = verdicts.fine_tuned_release(store, day, inputs, judged.artifact)
    verdict = release.metrics["gate"]
    return reporting.result(release, checks=reporting.gate_checks(verdict, gates.by_group(verdict)))
