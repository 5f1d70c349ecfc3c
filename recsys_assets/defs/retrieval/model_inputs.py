"""Declare the inputs of the training steps of both models."""

from typing import Annotated, TypedDict

from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration.upstream import SAME, Upstream

ALIGNED = Upstream("embeddings/aligned", SAME)


class ModelInputs(TypedDict):
    """Inputs of ``retrieval/two_tower`` and ``ranking/dlrm``.

    ``embeddings`` and ``item_inputs`` are the same artifact here. Ablations replace each of them.
    """

    datasets: Annotated[Artifact, Upstream("features/datasets", SAME)]
    workflows: Annotated[Artifact, Upstream("features/workflows", SAME)]
    embeddings: Annotated[Artifact, ALIGNED]
    item_inputs: Annotated[Artifact, ALIGNED]
