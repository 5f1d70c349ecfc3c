"""Declare the inputs that judge a generation: models and validation days."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration.upstream import SAME, Upstream


class JudgedInputs(TypedDict):
    """Inputs of ``evaluation/offline``; ``serving/release`` opens them too."""

    queries: Annotated[Artifact, Upstream("evaluation/queries", SAME)]
    models: Annotated[Artifact, Upstream("exports/onnx", SAME)]
    vectors: Annotated[Artifact, Upstream("retrieval/item_vectors", SAME)]
    aligned: Annotated[Artifact, Upstream("embeddings/aligned", SAME)]
    workflows: Annotated[Artifact, Upstream("features/workflows", SAME)]
    features: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.VALIDATION)
    ]
    days_before: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.BEFORE_VALIDATION)
    ]
