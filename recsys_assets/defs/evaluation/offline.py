"""What the exported models are worth on days they have not seen, over the whole catalogue."""

import dagster as dg

from recsys_assets import partitions, reporting
from recsys_assets.resources import BuildConfig, Platform

KEY = ["evaluation", "offline"]


@dg.asset(
    key=KEY, kinds={"onnx", "numpy"}, partitions_def=partitions.as_of(),
    deps=[["serving", "onnx_exports"], ["retrieval", "item_vectors"], ["retrieval", "popularity"], ["features", "datasets"],
          ["embeddings", "aligned"], ["features", "workflows"],
          dg.AssetDep(["features", "interactions"], partition_mapping=partitions.whole_window())],
    check_specs=reporting.check_specs(
        KEY, partitions.as_of(), recall_above_popularity="Two-tower recall@100 over the whole catalogue beats popularity's.",
        auc="DLRM's AUC on the validation days is above its floor."),
)
def offline(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: exported models, validation days. Out: recall, nDCG, MRR and AUC beside popularity and random, with intervals."""
    from recsys_assets.lib import evaluation_report, gates

    as_of, store = context.partition_key, platform.store
    kinds = {"models": "serving/onnx_exports", "vectors": "retrieval/item_vectors", "popularity": "retrieval/popularity",
             "datasets": "features/datasets", "aligned": "embeddings/aligned", "workflows": "features/workflows"}
    inputs = {role: store.current(kind, as_of) for role, kind in kinds.items()}
    inputs["days_before"] = store.require(
        "features/interactions", [partitions.previous_day(day) for day in partitions.validation_days(as_of)])
    built = platform.build(
        context, "evaluation/offline", partition=as_of, inputs=inputs, params={"seed": platform.settings.seed}, force=config.force,
        code=["recsys_assets.lib.evaluation", "recsys_assets.lib.evaluation_report"],
        write=lambda staged: evaluation_report.write_report(**inputs, target=staged.path, seed=platform.settings.seed))
    metrics = built.artifact.metrics
    recall, baseline = metrics["retrieval"]["recall@100"], metrics["popularity"]["recall@100"]
    return reporting.result(built.artifact, reused=built.reused, checks=[
        reporting.check("recall_above_popularity", recall["value"] > baseline["value"], value=recall, threshold=baseline),
        reporting.check("auc", metrics["ranking"]["auc"] > gates.AUC_FLOOR, value=metrics["ranking"]["auc"], threshold=gates.AUC_FLOOR)])
