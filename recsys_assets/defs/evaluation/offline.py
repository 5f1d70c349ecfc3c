"""Define the asset that evaluates the exported models on the validation days."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, Staged
from recsys_assets.defs.evaluation.judged import JudgedInputs
from recsys_assets.orchestration import compute, reporting, session_check
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

KEY = ["evaluation", "offline"]


class OfflineInputs(JudgedInputs):
    """Inputs of ``evaluation/offline``."""

    blend: Annotated[Artifact, Upstream("evaluation/blend", SAME)]
    history: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.QUERY_HISTORY)]


class OfflineParams(TypedDict):
    """Parameters of ``evaluation/offline``, as its manifest records them."""

    seed: int
    retrieval_topk: int
    retrieval_weight: float


@dg.asset(
    key=KEY,
    kinds={"onnx", "numpy"},
    op_tags=compute.step_tags("CPU_LARGE"),
    partitions_def=partitions.as_of(),
    deps=dependencies(OfflineInputs),
    # warnings only: the verdict of serving/release decides whether these models may be released
    check_specs=reporting.check_specs(
        KEY,
        {
            "recall_above_popularity": "Recall@100 of the two towers over the whole catalogue is "
            "not surely below recall@100 of popularity. Warns otherwise.",
            "auc": "AUC of the ranker on the validation days is above what chance gives at that "
            "size. Warns otherwise.",
            **session_check.SPEC,
        },
        partitions.as_of(),
        blocking=False,
    ),
)
def offline(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Evaluates the exported models on the held-out queries, per as-of day.

    Reads the queries, the exported models, item vectors and features of the validation days. Writes
    the served lists and the retrieval lists, and the metrics of both and of the ranker, per slice
    and with confidence intervals. It shows how far the clicks of a session move the served list.
    """
    from recsys_assets.lib.blend import released
    from recsys_assets.lib.evaluation import offline as evaluation_report

    as_of, settings = context.partition_key, platform.settings
    inputs = open_inputs(OfflineInputs, platform, as_of)
    params: OfflineParams = {
        "seed": settings.seed,
        "retrieval_topk": settings.retrieval_topk,
        "retrieval_weight": settings.retrieval_weight,
    }

    def write(staged: Staged) -> Mapping[str, Any]:
        judged: dict[str, Any] = {
            name: value for name, value in inputs.items() if name not in ("blend", "history")
        }
        sources = released.judged_sources(
            inputs["blend"],
            inputs["aligned"],
            inputs["workflows"],
            inputs["history"],
            settings.look_back_days,
        )
        return evaluation_report.write_report(
            **judged,
            target=staged.path,
            **params,
            sources=sources,
            places=released.judged_places(inputs["blend"]),
        )

    built = platform.build(
        context,
        "evaluation/offline",
        partition=as_of,
        inputs=inputs,
        params=params,
        force=config.force,
        write=write,
    )
    metrics = built.artifact.metrics
    # the hundreds of figures per slice stay in the artifact: the UI plots the headline only
    shown = {name: metrics[name] for name in evaluation_report.HEADLINE}
    headline = dataclasses.replace(
        built.artifact, manifest={**built.artifact.manifest, "metrics": shown}
    )
    return reporting.result(headline, reused=built.reused, checks=_checks(metrics))


def _checks(metrics: Mapping[str, Any]) -> list[dg.AssetCheckResult]:
    from recsys_assets.lib.gates.limits import Limits
    from recsys_assets.lib.gates.statistical import above_chance

    auc, rows, rate = (metrics["ranker"][name] for name in ("auc", "rows", "click_rate"))
    difference = metrics["retrieval_minus_popularity"]
    return [
        reporting.check(
            "recall_above_popularity",
            difference is None or difference["high"] >= 0,
            value="too few to judge: no query" if difference is None else difference,
            threshold="high of the difference at least 0",
            blocking=False,
        ),
        reporting.of_verdict("auc", above_chance(auc, round(rows * (rate or 0)), rows, Limits())),
        session_check.check(metrics["session_moves"], metrics["items"]),
    ]
