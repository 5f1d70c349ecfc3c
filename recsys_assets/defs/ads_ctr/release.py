"""Define the assets of the ads ranker's full releases and of its champion."""

from collections.abc import Sequence
from typing import Annotated

import dagster as dg
from pydantic import Field

from recsys_assets import ads_partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.gates import ads as gates
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

from .ranker import AdsEvaluationInputs

DAYS = ads_partitions.ads_days()


class AdsReleaseInputs(AdsEvaluationInputs):
    """Inputs of ``ads_ctr/release``."""

    evaluation: Annotated[Artifact, Upstream("ads_ctr/evaluation", SAME)]
    valid: Annotated[Sequence[Artifact], Upstream("ads_ctr/logs", SAME)]


@dg.asset(
    key=["ads_ctr", "release"],
    kinds={"triton"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=DAYS,
    pool="cpu",
    deps=dependencies(AdsReleaseInputs),
    check_specs=reporting.gate_specs(["ads_ctr", "release"], DAYS, gates.ADS_GROUPS),
)
def release(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Builds a release of the ads ranker per as-of day, and records the gate verdict.

    Reads workflow, network, evaluation, the rows of the as-of day and the champion. A release is
    self-contained: compiled transforms, ONNX, and a sample of rows with their scores, which each
    replica must give again before it serves.
    """
    import numpy as np

    from recsys_assets.lib.ads_ctr import ads_datasets, ads_release
    from recsys_assets.release_files import VALID_SCORES

    day, store = context.partition_key, platform.store
    parts = open_inputs(AdsReleaseInputs, platform, day)
    rows = ads_datasets.rows_of_days(parts["valid"])
    scores = np.load(parts["dcn"].path(VALID_SCORES), allow_pickle=False)
    differences = ads_datasets.parity_differences(
        parts["datasets"], parts["workflow"], parts["valid"]
    )
    champion = ads_release.ads_champion(store, platform.home_settings)
    metrics = parts["dcn"].metrics
    verdict = gates.ads_release(
        metrics,
        parts["evaluation"].metrics,
        sum(differences.values()),
        ads_release.above_champion(champion, rows, scores),
    )
    built = ads_release.build_ads_release(
        store,
        day=day,
        workflow=parts["workflow"],
        dcn=parts["dcn"],
        sample=rows,
        gate=verdict,
        metrics={name: metrics[name] for name in ("auc", "log_loss", "rows", "validation_rows")}
        | {"click_rate": metrics["validation_clicks"] / max(metrics["validation_rows"], 1)},
        learnt=f"trained on {metrics['rows']:,} ads of the days before {day}",
    )
    return reporting.result(
        built, checks=reporting.gate_checks(verdict, gates.by_ads_group(verdict))
    )


class AdsPromotionConfig(dg.Config):
    """Config of ``ads_ctr/champion``."""

    release: int | None = Field(
        default=None, description="Number of the release; empty: the newest whose gate passed."
    )


@dg.asset(
    key=["ads_ctr", "champion"],
    kinds={"triton"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    deps=[["ads_ctr", "release"], ["ads_ctr", "tuned_release"]],
    pool="promotion",
)
def champion(
    context: dg.AssetExecutionContext, config: AdsPromotionConfig, platform: Platform
) -> reporting.Materialized:
    """Promotes a release of the ads ranker whose gate passed to all Triton replicas.

    All replicas switch together, and their answers are verified. A failed promotion is undone on
    all replicas. The recommender's models are not touched.
    """
    from recsys_assets.lib.release import releases
    from recsys_assets.lib.release.lines import ADS
    from recsys_assets.serving.promotion import promotion

    settings = platform.home_settings
    number = config.release or releases.newest_passed(platform.store, settings, ADS)
    report = promotion.promote(settings, number, ADS, log=context.log.info)
    return dg.MaterializeResult(
        metadata=report.metadata(), data_version=dg.DataVersion(str(number))
    )
