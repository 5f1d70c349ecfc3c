"""Point-in-time features and masked training rows, a day at a time."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.defs.features.lineage import FEATURE_SOURCES, MASKED_SOURCES, column_lineage
from recsys_assets.orchestration import reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

CHECKS = {
    "contract": "Columns, types, nulls, ranges and the catalogue's own values: no row may break "
    "them. Nothing is published where one does.",
    "point_in_time": "On a sample, the features of an event stay the same when everything from it "
    "on is removed.",
}
MASKED = {
    "contract": "The features' contract, and a masked visitor keeps no feature.",
    "masked_share": "Between 3 and 7 % of rows have a masked visitor, and as many a masked device "
    "(1,000 rows or more).",
}
DRIFT = dg.AssetCheckSpec(
    "drift",
    asset=dg.AssetKey(["features", "interactions"]),
    partitions_def=partitions.daily(),
    description="Jensen-Shannon divergence of each feature from up to seven days before, at most "
    "the threshold; a warning.",
)


class FeaturesInputs(TypedDict):
    interactions: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.LOOK_BACK)]
    users: Annotated[Artifact, Upstream("raw/users")]
    items: Annotated[Artifact, Upstream("raw/items")]


class MaskedInputs(TypedDict):
    features: Annotated[Artifact, Upstream("features/interactions", SAME)]


class FeaturesConfig(BuildConfig):
    drift_threshold: float = Field(
        0.06,
        gt=0,
        le=1,
        description="Divergence above which a feature counts as drifted (lib/quality/drift.py).",
    )


@dg.asset(
    key=["features", "interactions"],
    kinds={"polars", "parquet"},
    partitions_def=partitions.daily(),
    pool="cpu",
    deps=dependencies(FeaturesInputs),
    check_specs=[
        *reporting.check_specs(["features", "interactions"], CHECKS, partitions.daily()),
        DRIFT,
    ],
)
def interaction_features(
    context: dg.AssetExecutionContext, config: FeaturesConfig, platform: Platform
):
    """In: raw interactions of the day and the 7 before, users, items. Out: one row an exposure, as
    of just before it.
    """
    from recsys_assets import artifacts
    from recsys_assets.lib.features import daily, daily_checks
    from recsys_assets.lib.quality import drift

    day, store, settings = context.partition_key, platform.store, platform.settings
    inputs = open_inputs(FeaturesInputs, platform, day)

    def write(staged):
        metrics = daily.write_features(inputs, day, staged.path)
        daily_checks.check_and_profile(staged.path, inputs["items"], day)
        return metrics

    built = yield from reporting.read_under_contract(
        lambda: platform.build(
            context,
            "features/interactions",
            partition=day,
            inputs=inputs,
            force=config.force,
            write=write,
        )
    )
    changed = daily.changed_without_the_future(inputs, built.artifact, day)
    earlier = store.require(
        "features/interactions",
        artifacts.days_before(store, "features/interactions", day, drift.BASELINE_DAYS),
    )
    moved = drift.against_baseline(
        built.artifact,
        earlier,
        threshold=config.drift_threshold,
        first_day=partitions.calendar_start(settings).isoformat(),
    )
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        columns=c.INTERACTION_FEATURES,
        extra={
            **column_lineage(FEATURE_SOURCES),
            **daily_checks.around_the_day(inputs["interactions"][-1], store, settings.landing),
        },
    )
    yield reporting.check("contract", True, value=0, threshold="no failure")
    yield reporting.check("point_in_time", changed == 0, value=changed, threshold=0)
    yield drift_check(moved)


def drift_check(moved) -> dg.AssetCheckResult:
    """A warning with the value of each feature, the threshold and a plot; passed where nothing can
    be compared.
    """
    metadata = {
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
    kinds={"polars", "parquet"},
    partitions_def=partitions.daily(),
    deps=dependencies(MaskedInputs),
    check_specs=reporting.check_specs(["features", "masked_train"], MASKED, partitions.daily()),
)
def masked_train(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform):
    """In: the day's features. Out: the same rows, 5 % as if the visitor and 5 % as if the device
    were unknown.
    """
    from recsys_assets.lib.features import daily
    from recsys_assets.lib.quality import contracts

    day, seed = context.partition_key, platform.settings.seed
    inputs = open_inputs(MaskedInputs, platform, day)

    def write(staged):
        metrics = daily.write_masked(inputs["features"], day, seed, staged.path)
        contracts.read_checked(
            staged.path / "masked.parquet",
            c.INTERACTION_FEATURES,
            name=f"features/masked_train [{day}]",
            day=day,
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
    shares = {name: built.artifact.metrics[name] for name in ("masked_visitors", "masked_devices")}
    enough = built.artifact.metrics["rows"] >= 1000
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        columns=c.INTERACTION_FEATURES,
        extra=column_lineage(MASKED_SOURCES),
    )
    yield reporting.check("contract", True, value=0, threshold="no failure")
    yield reporting.check(
        "masked_share",
        not enough or all(0.03 <= s <= 0.07 for s in shares.values()),
        value=shares,
        threshold=[0.03, 0.07],
    )
