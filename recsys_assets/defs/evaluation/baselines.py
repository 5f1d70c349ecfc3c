"""Simple systems, tuned with equal care: what the models have to beat."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class BaselinesConfig(BuildConfig):
    trials: int = Field(
        default=16, ge=1, description="Parameters that each baseline is tried with."
    )
    tuning_users: int = Field(
        default=60_000, ge=1, description="Visitors that a trial is fitted on, at most."
    )
    tuning_clicks: int = Field(
        default=8_000,
        ge=1,
        description="Clicks of the inner split that a trial is judged on, at most.",
    )
    metric: str = Field(
        default="ndcg@100",
        description="What the trials are compared by, on the last training days.",
    )


class BaselinesInputs(TypedDict):
    queries: Annotated[Artifact, Upstream("evaluation/queries", SAME)]
    items: Annotated[Artifact, Upstream("raw/items")]
    interactions: Annotated[
        Sequence[Artifact], Upstream("raw/interactions", partitions.WHOLE_WINDOW)
    ]
    features: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.INNER)]


class BaselinesParams(TypedDict):
    train_days: list[str]
    seed: int
    seen_days: int


@dg.asset(
    key=["evaluation", "baselines"],
    kinds={"scipy", "polars"},
    partitions_def=partitions.as_of(),
    pool="cpu",
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(BaselinesInputs),
)
def baselines(
    context: dg.AssetExecutionContext, config: BaselinesConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: queries, clicks of the window. Out: ranks of random, popularity, recent popularity,
    item-kNN, EASE and iALS, tuned.
    """
    from recsys_assets.lib.evaluation import baseline_tuning

    as_of, settings = context.partition_key, platform.settings
    budget = baseline_tuning.Budget(
        config.trials, config.tuning_users, config.tuning_clicks, config.metric
    )
    inputs = open_inputs(BaselinesInputs, platform, as_of)
    chosen: BaselinesParams = {
        "train_days": partitions.train_days(as_of),
        "seed": settings.seed,
        "seen_days": settings.seen_days,
    }
    built = platform.build(
        context,
        "evaluation/baselines",
        partition=as_of,
        inputs=inputs,
        params={**chosen, **config.model_dump(exclude={"force"})},
        force=config.force,
        write=lambda staged: baseline_tuning.write_baselines(
            **inputs, target=staged.path, budget=budget, **chosen
        ),
    )
    return reporting.result(built.artifact, reused=built.reused)
