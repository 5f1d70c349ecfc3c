"""ONNX exports, releases, and the champion that the Triton servers answer with."""

import dataclasses
from typing import TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import partitions, reporting
from recsys_assets.defs.serving.gate_config import LIMITS, GateConfig
from recsys_assets.lib import gates
from recsys_assets.resources import BuildConfig, Platform

PARITY = {"parity": "onnxruntime gives TensorFlow's own outputs, within 1e-6, on the sample that training wrote."}


@dg.asset(key=["serving", "onnx_exports"], kinds={"onnx"}, partitions_def=partitions.as_of(),
          deps=[["retrieval", "two_tower"], ["ranking", "dlrm"]],
          check_specs=reporting.check_specs(["serving", "onnx_exports"], PARITY, partitions.as_of()))
def onnx_exports(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: both trained models. Out: query tower, item tower and DLRM as ONNX, held against their origin."""
    from recsys_assets.lib import retrieval_tables

    as_of, store = context.partition_key, platform.store
    inputs = {"two_tower": store.current("retrieval/two_tower", as_of), "dlrm": store.current("ranking/dlrm", as_of)}
    built = platform.build(context, "serving/onnx_exports", partition=as_of, inputs=inputs, force=config.force,
                           write=lambda staged: retrieval_tables.write_exports(**inputs, target=staged.path))
    differences, limit = built.artifact.metrics["max_abs_difference"], LIMITS.parity
    return reporting.result(built.artifact, reused=built.reused, checks=[
        reporting.check("parity", max(differences.values()) <= limit, value=differences, threshold=limit)])


class VerdictParams(TypedDict):
    seed: int
    retrieval_topk: int
    first_day: str


@dg.asset(
    key=["serving", "release"], kinds={"triton"}, partitions_def=partitions.as_of(),
    deps=[["serving", "onnx_exports"], ["evaluation", "offline"], ["evaluation", "queries"], ["retrieval", "item_vectors"],
          ["retrieval", "faiss_index"], ["retrieval", "popularity"], ["embeddings", "aligned"], ["feature_store", "mean_age"],
          ["features", "workflows"], ["raw", "items"],
          dg.AssetDep(["raw", "interactions"], partition_mapping=partitions.whole_window()),
          dg.AssetDep(["features", "interactions"], partition_mapping=partitions.whole_window())],
    check_specs=reporting.gate_specs(["serving", "release"], partitions.as_of(), gates.GROUPS),
)
def release(context: dg.AssetExecutionContext, config: GateConfig, platform: Platform) -> dg.MaterializeResult:
    """In: everything that must agree, the champion. Out: one self-contained release of all 14 models, with the gates' verdict."""
    from recsys_assets.lib import release_building

    as_of, store, settings = context.partition_key, platform.store, platform.settings
    inputs, limits = release_building.full_inputs(store, settings, as_of), config.limits()
    params: VerdictParams = {"seed": settings.seed, "retrieval_topk": settings.retrieval_topk,
                             "first_day": partitions.calendar_start(settings).isoformat()}
    release = release_building.full_release_in_force(store, settings, as_of)
    if release is None:
        judged = platform.build(
            context, "serving/verdict", partition=as_of, inputs=inputs, params={**params, **dataclasses.asdict(limits)},
            force=config.force,
            write=lambda staged: release_building.write_full_verdict(store, inputs, staged.path, as_of=as_of, limits=limits, **params))
        release = release_building.full_release(store, settings, as_of, judged.artifact)
    verdict = release.metrics["gate"]
    return reporting.result(release, checks=reporting.gate_checks(verdict, gates.by_group(verdict)))


class PromotionConfig(dg.Config):
    release: int | None = Field(default=None, description="Number of the release; empty: the newest one whose gate passed.")


@dg.asset(key=["serving", "champion"], kinds={"triton"}, deps=[["serving", "release"], ["fine_tune", "release"]], pool="promotion")
def champion(context: dg.AssetExecutionContext, config: PromotionConfig, platform: Platform) -> dg.MaterializeResult:
    """In: a release whose gate passed. Out: every Triton replica answers with it, switched as one and verified, or undone."""
    from recsys_assets.lib import releases
    from recsys_assets.serving import promotion

    number = config.release or releases.newest_passed(platform.store)
    report = promotion.promote(platform.settings, number, log=context.log.info)
    return dg.MaterializeResult(metadata=report.metadata(), data_version=dg.DataVersion(str(number)))
