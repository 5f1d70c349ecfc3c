"""Define the asset of the ads ranker's incremental releases."""

from typing import Annotated

import dagster as dg

from recsys_assets import ads_partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.gates import ads as gates
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

from .incremental import TunedDcnInputs

DAYS = ads_partitions.ads_days()
GROUPS = {name: gates.ADS_GROUPS[name] for name in gates.ADS_TUNED_GROUPS}


class TunedReleaseInputs(TunedDcnInputs):
    """Inputs of ``ads_ctr/tuned_release``, beside the release that the rows name."""

    dcn: Annotated[Artifact, Upstream("ads_ctr/tuned_dcn", SAME)]


@dg.asset(
    key=["ads_ctr", "tuned_release"],
    kinds={"triton"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=DAYS,
    pool="cpu",
    deps=dependencies(TunedReleaseInputs),
    check_specs=reporting.gate_specs(["ads_ctr", "tuned_release"], DAYS, GROUPS),
)
def tuned_release(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Builds the release of an incremental training, and records the gate verdict.

    Reads the network that was trained on, its held-out predictions, and the release that it started
    from. The release is the next version of that one: its workflow serves on.
    """
    import numpy as np

    from recsys_assets.ads_columns import LABEL
    from recsys_assets.lib.ads_ctr import ads_release, incremental
    from recsys_assets.lib.evaluation.ranker_metrics import ranking_metrics
    from recsys_assets.lib.release.releases import read_release
    from recsys_assets.release_files import VALID_SCORES

    day, store = context.partition_key, platform.store
    parts = open_inputs(TunedReleaseInputs, platform, day)
    base = read_release(incremental.base_of(store, parts["rows"])["base"])
    held_out = incremental.held_out_rows(parts["rows"])
    scores = np.load(parts["dcn"].path(VALID_SCORES), allow_pickle=False)
    figures = ranking_metrics(held_out[LABEL].to_numpy(), scores)
    metrics, rows = parts["dcn"].metrics, parts["rows"].metrics
    verdict = gates.ads_tuned(metrics, figures, ads_release.above_champion(base, held_out, scores))
    built = ads_release.build_tuned_release(
        store,
        day=day,
        base=base,
        tuned=parts["dcn"],
        sample=held_out,
        gate=verdict,
        metrics={name: figures[name] for name in ("auc", "log_loss", "click_rate")}
        | {"rows": rows["train"], "validation_rows": rows["held_out"]},
        learnt=f"release {base.number}, trained on {rows['train']:,} labelled predictions",
    )
    return reporting.result(
        built, checks=reporting.gate_checks(verdict, gates.by_ads_group(verdict))
    )
