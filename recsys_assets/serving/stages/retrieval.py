"""Candidates out of the FAISS index: the items whose vectors agree best with the query embedding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsys_assets.columns import EMBEDDING_DIM
from recsys_assets.serving.stage import Stage, StageFileCorrupt, Tensors, TensorSpec
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    import faiss

INDEX = "index.faiss"
#: Retrieved beyond RETRIEVAL_TOPK, because the next stage drops what the visitor has seen.
OVER_FETCH = 100


class FaissRetrieval(Stage):
    """Query embedding → Categorify item indices and their inner products with it, best first.

    Never the -1 with which FAISS pads a short result.
    """

    name = "faiss_retrieval"
    inputs = (TensorSpec("query_embedding", "FP32", (EMBEDDING_DIM,)),)
    outputs = (TensorSpec("candidates", "INT32", (-1,)), TensorSpec("candidate_similarity", "FP32", (-1,)))
    files = (INDEX,)

    def __init__(self, index: faiss.Index, topk: int):
        self._index = index
        self._topk = min(topk, index.ntotal)

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> FaissRetrieval:
        import faiss

        index = faiss.read_index(str(directory / INDEX))
        if index.d != EMBEDDING_DIM or index.ntotal == 0:
            raise StageFileCorrupt(f"{directory / INDEX} must hold vectors of {EMBEDDING_DIM}, got {index.ntotal} of "
                                   f"{index.d}; build the index again")
        if index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise StageFileCorrupt(f"{directory / INDEX} must search by inner product; build the index again")
        return cls(index, settings.retrieval_topk + OVER_FETCH)

    def run(self, inputs: Tensors) -> Tensors:
        (similarity,), (found,) = self._index.search(inputs["query_embedding"][None], self._topk)
        items = found >= 0
        return {"candidates": found[items].astype(np.int32), "candidate_similarity": similarity[items]}
