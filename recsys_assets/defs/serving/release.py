"""Define the assets of full releases and of the champion."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.defs.evaluation.judged import JudgedInputs
from recsys_assets.defs.serving.gate_config import GateConfig
from recsys_assets.lib.gates import gates
from recsys_assets.orchestration import compute, freshness_policies, reporting, served_check
from recsys_assets.orchestration.resources import Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class ReleaseParts(JudgedInputs):
    """Inputs of ``serving/release``."""

    # read by the gates
    offline: Annotated[Artifact, Upstream("evaluation/offline", SAME)]
    training: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.TRAINING)]
    interactions: Annotated[
        Sequence[Artifact], Upstream("raw/interactions", partitions.WHOLE_WINDOW)
    ]
    faiss_index: Annotated[Artifact, Upstream("retrieval/faiss_index", SAME)]
    simple_rung: Annotated[Artifact, Upstream("ladder/fusion", SAME)]
    blend: Annotated[Artifact, Upstream("evaluation/blend", SAME)]
    # stored in the release
    raw_items: Annotated[Artifact, Upstream("raw/items")]
    query_tower: Annotated[Artifact, Upstream("retrieval/two_tower", SAME)]
    ranker: Annotated[Artifact, Upstream("ranking/dlrm", SAME)]
    popularity: Annotated[Artifact, Upstream("features/popularity", SAME)]
    #: the rule that the queries were made by
    seen_rule: Annotated[Artifact, Upstream("evaluation/queries", SAME, recorded="seen_rule")]


class FullVerdictParams(TypedDict):
    """Parameters of ``serving/verdict``, as its manifest records them."""

    seed: int
    retrieval_topk: int
    first_day: str


@dg.asset(
    key=["serving", "release"],
    freshness_policy=freshness_policies.WEEKLY,
    kinds={"triton"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.as_of(),
    deps=dependencies(ReleaseParts),
    check_specs=[
        *reporting.gate_specs(["serving", "release"], partitions.as_of(), gates.GROUPS),
        *served_check.served_specs(["serving", "release"], partitions.as_of()),
    ],
)
def release(
    context: dg.AssetExecutionContext, config: GateConfig, platform: Platform
) -> reporting.Materialized:
    """Builds one release (all 15 models) per as-of day and records the gate verdict.

    Reads the exports, the index, the workflows, the catalogue, the offline evaluation and the
    champion. A release is self-contained.
    """
    from recsys_assets.lib.gates import verdicts

    as_of, store, settings = context.partition_key, platform.store, platform.settings
    parts, limits = open_inputs(ReleaseParts, platform, as_of), config.limits()
    inputs = verdicts.full_inputs(store, settings, parts)
    params: FullVerdictParams = {
        "seed": settings.seed,
        "retrieval_topk": settings.retrieval_topk,
        "first_day": partitions.calendar_start(settings).isoformat(),
    }
    release = verdicts.full_release_in_force(store, settings, parts)
    if release is None:
        judged = platform.build(
            context,
            "serving/verdict",
            partition=as_of,
            inputs=inputs,
            params={**params, **dataclasses.asdict(limits)},
            force=config.force,
            write=lambda staged: verdicts.write_full_verdict(
                store, inputs, staged.path, as_of=as_of, limits=limits, **params
            ),
        )
        release = verdicts.full_release(store, settings, as_of, parts, judged.artifact)
    verdict = release.metrics["gate"]
    served = served_check.served_check(context, platform, release, force=config.force)
    gate = reporting.gate_checks(verdict, gates.by_group(verdict))
    return reporting.released(release, checks=[*gate, served])


LEARNED_DAYS = dg.AssetCheckSpec(
    "learned_days",
    asset=dg.AssetKey(["serving", "champion"]),
    description="No day that the release has learned was corrected since. Otherwise it warns and "
    "names the days. The release stays in service; the next full training learns the corrected "
    "days. The sensor ingested_day reports this check again when a learned day changes.",
)


class PromotionConfig(dg.Config):
    """Config of ``serving/champion``."""

    release: int | None = Field(
        default=None, description="Number of the release; empty: the newest whose gate passed."
    )


@dg.asset(
    key=["serving", "champion"],
    freshness_policy=freshness_policies.WEEKLY,
    kinds={"triton"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    deps=[["serving", "release"], ["fine_tune", "release"]],
    pool="promotion",
    check_specs=[LEARNED_DAYS],
)
def champion(
    context: dg.AssetExecutionContext, config: PromotionConfig, platform: Platform
) -> reporting.Materialized:
    """Promotes a release whose gate passed to all Triton replicas.

    Reads the releases of full trainings and fine-tunes. All replicas switch together, and their
    answers are verified. A failed promotion is undone on all replicas.
    """
    from recsys_assets.lib.release import releases
    from recsys_assets.lib.release.corrected import corrected_since
    from recsys_assets.serving.promotion import promotion

    number = config.release or releases.newest_passed(platform.store, platform.home_settings)
    report = promotion.promote(platform.home_settings, number, log=context.log.info)
    promoted = releases.open_release(platform.store, number).artifact
    corrected = corrected_since(platform.store, promoted)
    return dg.MaterializeResult(
        metadata=report.metadata(),
        data_version=dg.DataVersion(str(number)),
        check_results=[
            reporting.check(
                "learned_days",
                not corrected,
                value=corrected,
                threshold="none corrected",
                blocking=False,
                release=number,
            )
        ],
    )
