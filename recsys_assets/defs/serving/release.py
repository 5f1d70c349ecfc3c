"""ONNX exports, releases, and the champion that the Triton servers answer with."""

import dagster as dg
from pydantic import Field

from recsys_assets import partitions, reporting
from recsys_assets.resources import BuildConfig, Platform

PARITY = {"parity": "onnxruntime gives TensorFlow's own outputs, within 1e-5, on the sample that training wrote."}
GATE = {"gate": "Better than popularity, above the AUC floor, exports equal to their origin: else it cannot be promoted."}


@dg.asset(key=["serving", "onnx_exports"], kinds={"onnx"}, partitions_def=partitions.as_of(),
          deps=[["retrieval", "two_tower"], ["ranking", "dlrm"]],
          check_specs=reporting.check_specs(["serving", "onnx_exports"], partitions.as_of(), **PARITY))
def onnx_exports(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: both trained models. Out: query tower, item tower and DLRM as ONNX, held against their origin."""
    from recsys_assets.lib import retrieval_tables

    as_of, store = context.partition_key, platform.store
    inputs = {"two_tower": store.current("retrieval/two_tower", as_of), "dlrm": store.current("ranking/dlrm", as_of)}
    built = platform.build(context, "serving/onnx_exports", partition=as_of, inputs=inputs, force=config.force,
                           code=["recsys_assets.lib.retrieval_tables"],
                           write=lambda staged: retrieval_tables.write_exports(**inputs, target=staged.path))
    differences = built.artifact.metrics["max_abs_difference"]
    return reporting.result(built.artifact, reused=built.reused, checks=[
        reporting.check("parity", max(differences.values()) <= 1e-5, value=differences, threshold=1e-5)])


@dg.asset(
    key=["serving", "release"], kinds={"triton"}, partitions_def=partitions.as_of(),
    deps=[["serving", "onnx_exports"], ["evaluation", "offline"], ["retrieval", "faiss_index"], ["retrieval", "popularity"],
          ["embeddings", "aligned"], ["feature_store", "mean_age"], ["features", "workflows"], ["raw", "items"],
          ["features", "interactions"]],
    check_specs=reporting.check_specs(["serving", "release"], partitions.as_of(), **GATE),
)
def release(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """In: everything that must agree. Out: one self-contained release of all 14 models, with the gate's verdict."""
    from recsys_assets.lib import release_building

    release = release_building.full_release(platform.store, platform.settings, context.partition_key)
    verdict = release.metrics["gate"]
    return reporting.result(release, checks=[
        reporting.check("gate", verdict["passed"], value=verdict["checks"], threshold="every check passed")])


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
