"""What the exported models are worth on days they have not seen, over the whole catalogue."""

import dataclasses
from typing import TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.defs.evaluation.judged import JudgedInputs
from recsys_assets.orchestration import reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import dependencies, open_inputs

KEY = ["evaluation", "offline"]


class OfflineParams(TypedDict):
    seed: int
    retrieval_topk: int
    retrieval_weight: float


@dg.asset(
    key=KEY,
    kinds={"onnx", "numpy"},
    partitions_def=partitions.as_of(),
    deps=dependencies(JudgedInputs),
    # warnings: whether these models may be released is for the verdict of serving/release to say
    check_specs=reporting.check_specs(
        KEY,
        {
            "recall_above_popularity": "Two-tower recall@100 over the whole catalogue beats "
            "popularity's.",
            "auc": "DLRM's AUC on the validation days is above its floor.",
        },
        partitions.as_of(),
        blocking=False,
    ),
)
def offline(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: queries, exported models. Out: lists as served and of retrieval alone, the ranker's
    scores; slices, intervals.
    """
    from recsys_assets.lib.evaluation import offline as evaluation_report
    from recsys_assets.lib.gates import gates

    as_of, settings = context.partition_key, platform.settings
    inputs = open_inputs(JudgedInputs, platform, as_of)
    params: OfflineParams = {
        "seed": settings.seed,
        "retrieval_topk": settings.retrieval_topk,
        "retrieval_weight": settings.retrieval_weight,
    }
    built = platform.build(
        context,
        "evaluation/offline",
        partition=as_of,
        inputs=inputs,
        params=params,
        force=config.force,
        write=lambda staged: evaluation_report.write_report(**inputs, target=staged.path, **params),
    )
    metrics = built.artifact.metrics
    recall, popular, auc = (
        metrics["retrieval"]["recall@100"],
        metrics["popularity"]["recall@100"],
        metrics["ranker"]["auc"],
    )
    # the slices' hundreds of figures stay in the artifact and in a table: the UI plots what one
    # follows
    shown = {name: metrics[name] for name in evaluation_report.HEADLINE}
    headline = dataclasses.replace(
        built.artifact, manifest={**built.artifact.manifest, "metrics": shown}
    )
    return reporting.result(
        headline,
        reused=built.reused,
        checks=[
            reporting.check(
                "recall_above_popularity",
                recall["value"] > popular["value"],
                value=recall,
                threshold=popular,
                blocking=False,
            ),
            reporting.check(
                "auc",
                auc is None or auc > gates.AUC_FLOOR,
                value=gates.NO_UNCLICKED if auc is None else auc,
                threshold=gates.AUC_FLOOR,
                blocking=False,
            ),
        ],
    )
