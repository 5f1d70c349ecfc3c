"""Declare every tensor of an answer once: name, Triton type, shape.

The stages, the packed wire between the thin models, the fused model and the gateway all import
these; ``triton_repo/`` repeats the names for Triton, and a test compares both. B visitors per
request. What belongs to a visitor is [B, …]; the items of all visitors lie flat, one visitor's
after the other's (``candidates.parts``). Imports none of the stages' libraries.
"""

from __future__ import annotations

from recsys_assets.columns import (
    CANDIDATE_CONTINUOUS,
    CONTEXT_CATEGORICAL,
    CONTEXT_CONTINUOUS,
    EMBEDDING_DIM,
    ITEM_CATEGORICAL,
    ITEM_CONTINUOUS,
    ITEM_HISTORY,
    ITEM_POPULARITY,
    QUERY_CATEGORICAL,
    QUERY_CONTINUOUS,
    USER_CATEGORICAL,
    USER_CONTINUOUS,
)
from recsys_assets.serving.stages.stage import TensorSpec

# --- request: "" and -1 mean the default, as absence does -----------------------------------------
USER_ID = TensorSpec("user_id", "STRING", (-1,))
DEVICE_TYPE = TensorSpec("device_type", "STRING", (-1,), optional=True)
TIMESTAMP = TensorSpec("timestamp", "INT64", (-1,), optional=True)  # unix seconds; -1: now
# items wanted; -1: as many as the release gives
TOP_K = TensorSpec("top_k", "INT32", (-1,), optional=True)
SEED = TensorSpec("seed", "INT64", (-1,), optional=True)  # of weighted sampling; -1: random

# --- context_preprocessor: the request with its defaults ------------------------------------------
VISITOR_ID = TensorSpec("visitor_id", "STRING", (-1,))
CONTEXT_DEVICE = TensorSpec("context_device", "STRING", (-1,))
CONTEXT_TIMESTAMP = TensorSpec("context_timestamp", "INT64", (-1,))
CONTEXT_TOP_K = TensorSpec("context_top_k", "INT32", (-1,))
CONTEXT_SEED = TensorSpec("context_seed", "INT64", (-1,))

# --- feast_user_lookup: raw user features ---------------------------------------------------------
USER_RAW = TensorSpec("user_raw", "STRING", (-1, 3))  # user_id, gender, top_category
# age, clicks_24h, hours_since_click, clicks_look_back
USER_NUMBERS = TensorSpec("user_numbers", "FP32", (-1, 4))
#: Categories of visitors' clicks, oldest first, one visitor's after the other's
#: (clicks_look_back counts them).
USER_HISTORY_RAW = TensorSpec("user_history_raw", "STRING", (-1,))
#: Items of the same clicks, "" where unknown, and their ages in hours at the request's time.
USER_ITEMS_RAW = TensorSpec("user_items_raw", "STRING", (-1,))
USER_AGES_RAW = TensorSpec("user_ages_raw", "FP32", (-1,))
USER_DEGRADED = TensorSpec("user_degraded", "INT32", (-1,))  # bits of ``answer.Degraded``

# --- nvt_user_transform and nvt_context_transform -------------------------------------------------
USER_CAT = TensorSpec("user_cat", "INT32", (-1, len(USER_CATEGORICAL)))
USER_CONT = TensorSpec("user_cont", "FP32", (-1, len(USER_CONTINUOUS)))
#: Clicks per category_l1 index, [B, 2·K]: of the look-back days, then of 24 hours.
USER_HISTORY = TensorSpec("user_history", "FP32", (-1, -1))
#: Categorify indices of the latest clicked items, newest first, 0 where there are fewer, and their
#: ages in hours.
USER_ITEMS = TensorSpec("user_items", "INT32", (-1, ITEM_HISTORY))
USER_AGES = TensorSpec("user_ages", "FP32", (-1, ITEM_HISTORY))
#: The same items by the index of the catalogue, which has those that a fine-tune added and the
#: models do not know; 2 where it has none.
USER_CLICKED = TensorSpec("user_clicked", "INT32", (-1, ITEM_HISTORY))
CONTEXT_CAT = TensorSpec("context_cat", "INT32", (-1, len(CONTEXT_CATEGORICAL)))
CONTEXT_CONT = TensorSpec("context_cont", "FP32", (-1, len(CONTEXT_CONTINUOUS)))

# --- query_tower and faiss_retrieval --------------------------------------------------------------
QUERY_EMBEDDING = TensorSpec("query_embedding", "FP32", (-1, EMBEDDING_DIM))
QUERY_RELEASE = TensorSpec("query_release", "INT64", (1,))
CANDIDATES = TensorSpec("candidates", "INT32", (-1,))
CANDIDATE_SIMILARITY = TensorSpec("candidate_similarity", "FP32", (-1,))
CANDIDATE_COUNTS = TensorSpec("candidate_counts", "INT32", (-1,))

# --- candidate_sources: the union of retrieval and the sources, best first ------------------------
UNION = TensorSpec("union", "INT32", (-1,))
# weighted ranks, or the inner products of retrieval where a release has no other source
UNION_SCORE = TensorSpec("union_score", "FP32", (-1,))
UNION_COUNTS = TensorSpec("union_counts", "INT32", (-1,))
UNION_BY_SOURCES = TensorSpec("union_by_sources", "INT32", (1,))  # 1: the scores are weighted ranks
# only in the trace: the lists that have an item, bit k for ALL_SOURCES[k]; the place in ALL_SOURCES
# of the one to which it owes most; the visitor's item that contributes most in that one, as
# Categorify index, 0: none
UNION_FOUND_BY = TensorSpec("union_found_by", "INT32", (-1,))
UNION_MOSTLY = TensorSpec("union_mostly", "INT32", (-1,))
UNION_AFTER = TensorSpec("union_after", "INT32", (-1,))

# --- filter_seen_items ----------------------------------------------------------------------------
KEPT = TensorSpec("kept", "INT32", (-1,))
KEPT_SIMILARITY = TensorSpec("kept_similarity", "FP32", (-1,))
KEPT_COUNTS = TensorSpec("kept_counts", "INT32", (-1,))
CONSIDERED = TensorSpec("considered", "INT32", (-1,))
CONSIDERED_FATE = TensorSpec("considered_fate", "INT32", (-1,))  # ``answer.Fate``
CONSIDERED_COUNTS = TensorSpec("considered_counts", "INT32", (-1,))
FILTER_DEGRADED = TensorSpec("filter_degraded", "INT32", (-1,))  # bits of ``answer.Degraded``

# --- feast_item_lookup, nvt_item_transform, multimodal_embedding_lookup: per kept item ------------
ITEM_CODES = TensorSpec("item_codes", "INT32", (-1, 3))  # category_l1, category_l2, item_gender
ITEM_NUMBERS = TensorSpec("item_numbers", "FP32", (-1, 2))  # price (NaN: unknown), item_clicks
ITEM_TABLE_VERSION = TensorSpec("item_table_version", "INT64", (1,))
ITEM_CAT = TensorSpec("item_cat", "INT32", (-1, len(ITEM_CATEGORICAL)))
ITEM_CONT = TensorSpec("item_cont", "FP32", (-1, len((*ITEM_CONTINUOUS, ITEM_POPULARITY))))
ITEM_EMBEDDINGS = TensorSpec("item_embeddings", "FP32", (-1, 2 * EMBEDDING_DIM))  # text, then image

# --- unroll_features: the ranker's columns, once per visitor and once per candidate ---------------
VISITOR_CAT = TensorSpec("visitor_cat", "INT32", (-1, len(QUERY_CATEGORICAL)))
VISITOR_CONT = TensorSpec("visitor_cont", "FP32", (-1, len(QUERY_CONTINUOUS)))
CANDIDATE_CONT = TensorSpec("candidate_cont", "FP32", (-1, len(CANDIDATE_CONTINUOUS)))

# --- dlrm_ranking and softmax_sampling ------------------------------------------------------------
SCORES = TensorSpec("scores", "FP32", (-1,))
RANKER_RELEASE = TensorSpec("ranker_release", "INT64", (1,))
# per kept item; the order of the list follows them
BLENDED_SCORES = TensorSpec("blended_scores", "FP32", (-1,))
PLACING = TensorSpec("placing", "INT32", (-1,))  # per kept item: ``answer.Placing``
SAMPLED_ITEMS = TensorSpec("sampled_items", "INT32", (-1,))
SAMPLED_SCORES = TensorSpec("sampled_scores", "FP32", (-1,))
# the probability of each draw, given those before it; 0: the item was not drawn
SAMPLED_PROPENSITIES = TensorSpec("sampled_propensities", "FP32", (-1,))
SAMPLED_COUNTS = TensorSpec("sampled_counts", "INT32", (-1,))

# --- item_id_decoder: the answer ------------------------------------------------------------------
ORDERED_IDS = TensorSpec("ordered_ids", "STRING", (-1,))
ORDERED_SCORES = TensorSpec("ordered_scores", "FP32", (-1,))
ORDERED_PROPENSITIES = TensorSpec("ordered_propensities", "FP32", (-1,))
ANSWER_INFO = TensorSpec("answer_info", "INT64", (-1, 4))  # columns: ``answer.COUNT`` and so on

#: Every tensor of an answer, packed (``packing``). Only the fused model gives it, and on request.
TRACE = TensorSpec("trace", "UINT8", (-1,))
