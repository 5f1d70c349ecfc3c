"""Everything that was measured of a generation, in one place."""

from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

KEY = ["evaluation", "report"]


class ReportParts(TypedDict):
    queries: Annotated[Artifact, Upstream("evaluation/queries", SAME)]
    offline: Annotated[Artifact, Upstream("evaluation/offline", SAME)]
    baselines: Annotated[Artifact, Upstream("evaluation/baselines", SAME)]
    oracle: Annotated[Artifact, Upstream("evaluation/oracle", SAME)]


class ReportInputs(ReportParts, total=False):
    ablations: Annotated[
        Artifact, Upstream("evaluation/ablations", SAME)
    ]  # read where it exists; a report needs none


class ReportParams(TypedDict):
    scale: str
    seed: int


@dg.asset(
    key=KEY,
    kinds={"html", "json"},
    partitions_def=partitions.as_of(),
    deps=dependencies(ReportInputs),
)
def report(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: the evaluation's metrics and lists, ablations where there are any. Out: evaluation.json
    with its targets, an HTML page.
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
