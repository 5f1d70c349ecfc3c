"""Define the asset of tuned baselines, which the models have to beat."""

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
    """Config of ``evaluation/baselines``."""

    trials: int = Field(
        default=16, ge=1, description="Number of parameter settings tried per baseline."
    )
    tuning_users: int = Field(
        default=60_000, ge=1, description="Maximum number of visitors that a trial is fitted on."
    )
    tuning_clicks: int = Field(
        default=8_000,
        ge=1,
        description="Approximate maximum number of held-out clicks that a trial is evaluated on.",
    )
    metric: str = Field(
        default="ndcg@10", description="Metric that compares the trials, on the last training days."
    )


class BaselinesInputs(TypedDict):
    """Inputs of ``evaluation/baselines``."""

    queries: Annotated[Artifact, Upstream("evaluation/queries", SAME)]
    #: the rule that the queries were made by
    seen_rule: Annotated[Artifact, Upstream("evaluation/queries", SAME, recorded="seen_rule")]
    items: Annotated[Artifact, Upstream("raw/items")]
    interactions: Annotated[
        Sequence[Artifact], Upstream("raw/interactions", partitions.WHOLE_WINDOW)
    ]
    features: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.INNER)]


class BaselinesParams(TypedDict):
    """Parameters of ``evaluation/baselines``, as its manifest records them."""

    train_days: list[str]
    seed: int
    time_zone: str


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
) -> reporting.Materialized:
    """Tunes the baselines and runs them on the queries, per as-of day.

    Reads the queries, items and events of the window. Writes the ranks and metrics of random,
    popularity (of all days, recent, streamed), own counts, follow-ups, session-kNN, item-kNN, EASE
    and iALS. Each answers with the visitor's clicks before the query.
    """
    from recsys_assets.lib.evaluation import baseline_tuning

    as_of, settings = context.partition_key, platform.settings
    budget = baseline_tuning.Budget(
        config.trials, config.tuning_users, config.tuning_clicks, config.metric
    )
    inputs = open_inputs(BaselinesInputs, platform, as_of)
    chosen: BaselinesParams = {
        "train_days": partitions.train_days(as_of, settings),
        "seed": settings.seed,
        "time_zone": partitions.time_zone(settings),
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
