"""List the 15 stages in the order of an answer, and the two of the ads ranker.

Each is imported by name, so that a thin model loads only its own libraries.
"""

from __future__ import annotations

from importlib import import_module

from recsys_assets.serving.stages.stage import Stage

#: Model name → (module of this package, class), in the order in which an answer passes them.
STAGES: dict[str, tuple[str, str]] = {
    "context_preprocessor": ("context", "ContextPreprocessor"),
    "feast_user_lookup": ("user_lookup", "FeastUserLookup"),
    "nvt_user_transform": ("tabular", "NvtUserTransform"),
    "nvt_context_transform": ("tabular", "NvtContextTransform"),
    "query_tower": ("onnx_models", "QueryTower"),
    "faiss_retrieval": ("retrieval", "FaissRetrieval"),
    "candidate_sources": ("candidate_sources", "CandidateSources"),
    "filter_seen_items": ("seen_items", "FilterSeenItems"),
    "feast_item_lookup": ("item_lookup", "FeastItemLookup"),
    "nvt_item_transform": ("tabular", "NvtItemTransform"),
    "multimodal_embedding_lookup": ("embedding_lookup", "MultimodalEmbeddingLookup"),
    "unroll_features": ("tabular", "UnrollFeatures"),
    "dlrm_ranking": ("onnx_models", "DlrmRanking"),
    "softmax_sampling": ("ordering", "SoftmaxSampling"),
    "item_id_decoder": ("decoding", "ItemIdDecoder"),
}


#: The same of the ads ranker, whose stages exchange plain tensors.
ADS_STAGES: dict[str, tuple[str, str]] = {
    "ads_nvt_transform": ("ads", "AdsNvtTransform"),
    "ads_dcn": ("ads", "AdsDcn"),
}


def stage_class(name: str) -> type[Stage]:
    """Return the class of a stage.

    Raises:
        ValueError: there is no such stage; the message names the known ones.
    """
    every = STAGES | ADS_STAGES
    if name not in every:
        raise ValueError(f"{name!r} is not a stage; stages are {', '.join(every)}")
    module, attribute = every[name]
    found: type[Stage] = getattr(import_module(f"{__package__}.{module}"), attribute)
    return found
