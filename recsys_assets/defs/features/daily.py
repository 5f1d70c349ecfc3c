"""Define the daily assets of point-in-time features and masked training rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, Staged
from recsys_assets.defs.features.lineage import FEATURE_SOURCES, MASKED_SOURCES, column_lineage
from recsys_assets.orchestration import compute, days, freshness_policies, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

if TYPE_CHECKING:
    from recsys_assets.lib.quality.drift import Drift

CHECKS = {
    "contract": "All rows meet the contract: columns, types, nulls, ranges and values of the "
    "catalogue. Otherwise nothing is materialised.",
    "point_in_time": "On a sample, the features of an event do not change if this event and all "
    "later ones are removed.",
}
MASKED = {
    "contract": "All rows meet the contract of the features, and masked visitors have no features."
}
MASKED_SHARE = {
    "masked_share": "5 % of the rows with a visitor are masked, and 5 % of those with a device, up "
    "to chance. Warns otherwise. A day with too few such rows passes."
}
DRIFT = dg.AssetCheckSpec(
    "drift",
    asset=dg.AssetKey(["features", "interactions"]),
    partitions_def=partitions.daily(),
    description="The Jensen-Shannon divergence of each feature from up to seven days before is at "
    "most the threshold. Warns otherwise.",
)


class FeaturesInputs(TypedDict):
    """Inputs of ``features/interactions``."""

    interactions: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.LOOK_BACK)]
    users: Annotated[Artifact, Upstream("raw/users")]
    items: Annotated[Artifact, Upstream("raw/items")]


class MaskedInputs(TypedDict):
    """Inputs of ``features/masked_train``."""

    features: Annotated[Artifact, Upstream("features/interactions", SAME)]


class FeaturesConfig(BuildConfig):
    """Config of ``features/interactions``."""

    drift_threshold: float = Field(
        0.06,
        gt=0,
        le=1,
        description="Jensen-Shannon divergence above which a feature counts as drifted.",
    )


@dg.asset(
    key=["features", "interactions"],
    freshness_policy=freshness_policies.INGESTED,
    kinds={"polars", "parquet"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.daily(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="cpu",
    deps=dependencies(FeaturesInputs),
    check_specs=[
        *reporting.check_specs(["features", "interactions"], CHECKS, partitions.daily()),
        DRIFT,
    ],
)
def interaction_features(
    context: dg.AssetExecutionContext, config: FeaturesConfig, platform: Platform
) -> days.DayEvents:
    """Computes the features of each exposure of a day, as of just before the exposure.

    Reads raw interactions of the day and of the look-back days before it, users and items. Writes
    one row per exposure.
    """
    yield from days.each_day(context, lambda day: _features_of(context, config, platform, day))


def _features_of(
    context: dg.AssetExecutionContext, config: FeaturesConfig, platform: Platform, day: str
) -> reporting.Events:
    from recsys_assets.lib.features import daily, daily_checks

    settings = platform.settings
    inputs, zone = open_inputs(FeaturesInputs, platform, day), partitions.time_zone(settings)
    look_back_days = settings.look_back_days

    def write(staged: Staged) -> dict[str, Any]:
        metrics = daily.write_features(
            inputs, day, staged.path, zone, look_back_days=look_back_days
        )
        daily_checks.check_and_profile(staged.path, inputs["items"], day, zone)
        return metrics

    built = yield from reporting.read_under_contract(
        lambda: platform.build(
            context,
            "features/interactions",
            partition=day,
            inputs=inputs,
            params={"time_zone": zone, "look_back_days": look_back_days},
            force=config.force,
            write=write,
        )
    )
    changed = daily.changed_without_the_future(
        inputs, built.artifact, day, zone, look_back_days=look_back_days
    )
    moved = _drift(platform, built.artifact, day, config.drift_threshold)
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        columns=c.INTERACTION_FEATURES,
        extra=column_lineage(FEATURE_SOURCES),
    )
    yield reporting.check("contract", True, value=0, threshold="no failure")
    yield reporting.check("point_in_time", changed == 0, value=changed, threshold=0)
    yield drift_check(moved)


def _drift(platform: Platform, features: Artifact, day: str, threshold: float) -> "Drift":
    from recsys_assets.lib.quality import drift

    store = platform.store
    earlier = store.require(
        "features/interactions",
        store.days_before("features/interactions", day, drift.BASELINE_DAYS),
    )
    return drift.against_baseline(
        features,
        earlier,
        threshold=threshold,
        first_day=partitions.calendar_start(platform.settings).isoformat(),
        look_back_days=platform.settings.look_back_days,
    )


def drift_check(moved: "Drift") -> dg.AssetCheckResult:
    """Return the check ``drift``, with the divergence per feature and a plot.

    It is a warning if a feature has drifted. It passes if there is nothing to compare with.
    """
    metadata: dict[str, Any] = {
        "threshold": moved.threshold,
        "drifted": moved.drifted,
        "baseline": list(moved.days),
        "divergence": moved.divergence,
    }
    if moved.divergence:
        metadata |= {
            "value": max(moved.divergence.values()),
            "plot": dg.MetadataValue.md(moved.figure()),
        }
    return dg.AssetCheckResult(
        check_name="drift",
        passed=not moved.drifted,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
        description=moved.reason
        or f"{len(moved.drifted)} of {len(moved.divergence)} features drifted",
    )


@dg.asset(
    key=["features", "masked_train"],
    freshness_policy=freshness_policies.INGESTED,
    kinds={"polars", "parquet"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.daily(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=dependencies(MaskedInputs),
    check_specs=[
        *reporting.check_specs(["features", "masked_train"], MASKED, partitions.daily()),
        *reporting.check_specs(
            ["features", "masked_train"], MASKED_SHARE, partitions.daily(), blocking=False
        ),
    ],
)
def masked_train(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> days.DayEvents:
    """Masks visitors and devices in the training rows of a day.

    Reads the day's features. Writes the same rows, one per exposure: in 5 % the visitor is unknown,
    and in 5 % the device.
    """
    yield from days.each_day(context, lambda day: _masked_of(context, config, platform, day))


def _masked_of(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform, day: str
) -> reporting.Events:
    from recsys_assets.lib.features import daily, daily_checks
    from recsys_assets.lib.quality import contracts

    seed = platform.settings.seed
    inputs = open_inputs(MaskedInputs, platform, day)

    def write(staged: Staged) -> dict[str, Any]:
        metrics = daily.write_masked(inputs["features"], day, seed, staged.path)
        contracts.read_checked(
            staged.path / "masked.parquet",
            c.INTERACTION_FEATURES,
            name=f"features/masked_train [{day}]",
            day=day,
            zone=partitions.time_zone(platform.settings),
        )
        return metrics

    built = yield from reporting.read_under_contract(
        lambda: platform.build(
            context,
            "features/masked_train",
            partition=day,
            inputs=inputs,
            params={"seed": seed},
            force=config.force,
            write=write,
        )
    )
    shares = daily_checks.masked_shares(built.artifact.metrics)
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        columns=c.INTERACTION_FEATURES,
        extra=column_lineage(MASKED_SOURCES),
    )
    yield reporting.check("contract", True, value=0, threshold="no failure")
    yield reporting.check(
        "masked_share",
        all(share.within for share in shares.values()),
        value={name: str(share) for name, share in shares.items()},
        threshold="0.05 up to chance",
        blocking=False,
    )
