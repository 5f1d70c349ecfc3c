"""Define the asset of the evaluation report."""

from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, freshness_policies, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

KEY = ["evaluation", "report"]


class ReportParts(TypedDict):
    """Inputs of ``evaluation/report`` that must exist."""

    queries: Annotated[Artifact, Upstream("evaluation/queries", SAME)]
    offline: Annotated[Artifact, Upstream("evaluation/offline", SAME)]
    baselines: Annotated[Artifact, Upstream("evaluation/baselines", SAME)]
    oracle: Annotated[Artifact, Upstream("evaluation/oracle", SAME)]


class ReportInputs(ReportParts, total=False):
    """Inputs of ``evaluation/report``; ``ablations`` is optional."""

    ablations: Annotated[Artifact, Upstream("evaluation/ablations", SAME)]


class ReportParams(TypedDict):
    """Parameters of ``evaluation/report``, as its manifest records them."""

    scale: str
    seed: int


@dg.asset(
    key=KEY,
    freshness_policy=freshness_policies.WEEKLY,
    kinds={"html", "json"},
    op_tags=compute.step_tags("CPU_SMALL"),
    partitions_def=partitions.as_of(),
    deps=dependencies(ReportInputs),
)
def report(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Writes the evaluation report of a generation, per as-of day.

    Reads queries, offline evaluation, baselines, oracle and, if they exist, ablations. Writes
    evaluation.json with the targets, and an HTML page.
    """
    from recsys_assets.lib.evaluation import report as evaluation_writing
    from recsys_assets.lib.evaluation import summary
    from recsys_assets.lib.evaluation.oracle import truth_digest

    as_of, settings = context.partition_key, platform.settings
    inputs = open_inputs(ReportInputs, platform, as_of)
    params: ReportParams = {
        "scale": summary.scale_of(settings.landing, settings.scale),
        "seed": settings.seed,
    }
    built = platform.build(
        context,
        "evaluation/report",
        partition=as_of,
        inputs={**inputs, "truth": truth_digest(settings.landing)},
        params=params,
        force=config.force,
        write=lambda staged: evaluation_writing.write_report(
            **inputs, **params, target=staged.path, landing=settings.landing
        ),
    )
    page = built.artifact.path(evaluation_writing.PAGE_FILE)
    return reporting.result(
        built.artifact, reused=built.reused, extra={"page": dg.MetadataValue.path(str(page))}
    )
