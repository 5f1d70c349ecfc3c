"""Everything that was measured of a generation, in one place."""

from typing import TypedDict

import dagster as dg

from recsys_assets import partitions, reporting
from recsys_assets.artifacts import Artifact
from recsys_assets.resources import BuildConfig, Platform

KEY = ["evaluation", "report"]
PARTS = ("queries", "offline", "baselines", "oracle")
OPTIONAL = "evaluation/ablations"  # read where it is there; a report needs none


class ReportParts(TypedDict):
    queries: Artifact
    offline: Artifact
    baselines: Artifact
    oracle: Artifact


class ReportInputs(ReportParts, total=False):
    ablations: Artifact


class ReportParams(TypedDict):
    scale: str
    seed: int


@dg.asset(key=KEY, kinds={"html", "json"}, partitions_def=partitions.as_of(), deps=[["evaluation", part] for part in PARTS])
def report(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: the evaluation's metrics and lists, ablations where there are any. Out: evaluation.json with its targets, an HTML page."""
    from recsys_assets.lib import evaluation_summary, evaluation_writing
    from recsys_assets.lib.oracle import truth_digest

    as_of, store, settings = context.partition_key, platform.store, platform.settings
    parts = {part: store.current(f"evaluation/{part}", as_of) for part in PARTS}
    inputs: ReportInputs = {
        "queries": parts["queries"], "offline": parts["offline"], "baselines": parts["baselines"], "oracle": parts["oracle"]}
    if store.exists(OPTIONAL, as_of):
        inputs["ablations"] = store.current(OPTIONAL, as_of)
    params: ReportParams = {"scale": evaluation_summary.scale_of(settings.landing, settings.scale), "seed": settings.seed}
    built = platform.build(
        context, "evaluation/report", partition=as_of, inputs={**inputs, "truth": truth_digest(settings.landing)},
        params=params, force=config.force,
        write=lambda staged: evaluation_writing.write_report(**inputs, **params, target=staged.path, landing=settings.landing))
    page = built.artifact.path(evaluation_writing.PAGE_FILE)
    return reporting.result(built.artifact, reused=built.reused, extra={"page": dg.MetadataValue.path(str(page))})
