"""Define the asset that exports the trained models to ONNX."""

from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

PARITY = {
    "parity": "Outputs of onnxruntime and TensorFlow differ by at most 1e-6 on the sample that "
    "training wrote."
}


class OnnxInputs(TypedDict):
    """Inputs of ``exports/onnx``."""

    two_tower: Annotated[Artifact, Upstream("retrieval/two_tower", SAME)]
    dlrm: Annotated[Artifact, Upstream("ranking/dlrm", SAME)]


@dg.asset(
    key=["exports", "onnx"],
    kinds={"onnx"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.as_of(),
    deps=dependencies(OnnxInputs),
    check_specs=reporting.check_specs(["exports", "onnx"], PARITY, partitions.as_of()),
)
def onnx(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Exports both models to ONNX and compares them with TensorFlow, per as-of day.

    Reads both trained models. Writes query tower, item tower and DLRM as ONNX files.
    """
    from recsys_assets.lib.exports import exports

    inputs = open_inputs(OnnxInputs, platform, context.partition_key)
    built = platform.build(
        context,
        "exports/onnx",
        partition=context.partition_key,
        inputs=inputs,
        force=config.force,
        write=lambda staged: exports.write_exports(**inputs, target=staged.path),
    )
    differences, limit = built.artifact.metrics["max_abs_difference"], Limits().parity
    return reporting.result(
        built.artifact,
        reused=built.reused,
        checks=[
            reporting.check(
                "parity", max(differences.values()) <= limit, value=differences, threshold=limit
            )
        ],
    )
