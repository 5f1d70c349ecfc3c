"""Define the asset of the evaluation queries: clicks of the validation days."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.click_values import click_values, values_metadata
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs
from recsys_assets.release_files import SEEN_RULE


class QueriesConfig(BuildConfig):
    """Config of ``evaluation/queries``."""

    limit: int = Field(
        default=20_000,
        ge=1,
        description="Approximate maximum number of queries; above it, whole users are sampled.",
    )


class QueriesInputs(TypedDict):
    """Inputs of ``evaluation/queries``."""

    features: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.VALIDATION)
    ]
    interactions: Annotated[
        Sequence[Artifact], Upstream("raw/interactions", partitions.WHOLE_WINDOW)
    ]
    items: Annotated[Artifact, Upstream("raw/items")]
    seen_rule: Annotated[Artifact, Upstream("features/seen_rule", SAME)]


class QueriesParams(TypedDict):
    """Parameters of ``evaluation/queries``, as its manifest records them."""

    seed: int
    time_zone: str
    limit: int


@dg.asset(
    key=["evaluation", "queries"],
    kinds={"polars"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.as_of(),
    deps=dependencies(QueriesInputs),
)
def queries(
    context: dg.AssetExecutionContext, config: QueriesConfig, platform: Platform
) -> reporting.Materialized:
    """Selects the queries on which all systems are compared, per as-of day.

    Reads the clicks of the validation days, the events of the window, items and the seen rule.
    Writes one row per query, the items that its list must not show, its slices and, where
    RECSYS_EVENT_VALUES says so, its value.
    """
    from recsys_assets.lib.evaluation.queries import Queries
    from recsys_assets.lib.features import seen
    from recsys_assets.lib.features.click_values import read_click_values
    from recsys_assets.lib.features.look_back import require_look_back

    as_of, settings = context.partition_key, platform.settings
    inputs = open_inputs(QueriesInputs, platform, as_of)
    require_look_back(inputs["features"], settings.look_back_days)
    values = click_values(
        context,
        platform,
        partition=as_of,
        training_days=partitions.train_days(as_of, settings),
        log=inputs["interactions"],
        items=inputs["items"],
    )
    params: QueriesParams = {
        "seed": settings.seed,
        "time_zone": partitions.time_zone(settings),
        "limit": config.limit,
    }
    built = platform.build(
        context,
        "evaluation/queries",
        partition=as_of,
        inputs={**inputs, **values},
        params=params,
        force=config.force,
        write=lambda staged: Queries.build(
            inputs["features"],
            inputs["interactions"],
            inputs["items"],
            seed=params["seed"],
            rule=seen.read_rule(inputs["seen_rule"].path(SEEN_RULE)),
            zone=params["time_zone"],
            limit=params["limit"],
            values=read_click_values(values["values"]) if values else None,
        ).write(staged.path),
    )
    return reporting.result(
        built.artifact, reused=built.reused, extra=values_metadata(values.get("values"))
    )
