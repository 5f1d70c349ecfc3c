"""Define the asset of the rule of what a visitor has seen."""

from collections.abc import Sequence
from typing import Annotated, Literal, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.columns import EventType
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import Upstream, dependencies, open_inputs


class SeenRuleInputs(TypedDict):
    """Inputs of ``features/seen_rule``."""

    interactions: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.TRAINING)]


class SeenRuleParams(TypedDict):
    """Parameters of ``features/seen_rule``, as its manifest records them."""

    seen_events: Sequence[EventType] | None
    seen_days: int | Literal["auto"]
    time_zone: str
    look_back_days: int
    seed: int


@dg.asset(
    key=["features", "seen_rule"],
    kinds={"polars"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.as_of(),
    deps=dependencies(SeenRuleInputs),
)
def seen_rule(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Chooses which events hide an item from a visitor, and for how long, per as-of day.

    Reads raw interactions of the training days and the settings seen_events and seen_days. Writes
    one rule, with the lists' figures under each rule. The evaluation and the release use it.
    """
    from recsys_assets.lib.blend import seen_choice

    settings = platform.settings
    inputs = open_inputs(SeenRuleInputs, platform, context.partition_key)
    params: SeenRuleParams = {
        "seen_events": settings.seen_event_types,
        "seen_days": settings.seen_days,
        "time_zone": partitions.time_zone(settings),
        "look_back_days": settings.look_back_days,
        "seed": settings.seed,
    }
    built = platform.build(
        context,
        "features/seen_rule",
        partition=context.partition_key,
        inputs=inputs,
        params={**params},
        force=config.force,
        write=lambda staged: seen_choice.write_seen_rule(**inputs, target=staged.path, **params),
    )
    return reporting.result(built.artifact, reused=built.reused)
