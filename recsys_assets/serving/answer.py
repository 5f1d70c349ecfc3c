"""What is asked and answered: the tensors of a request and of an answer, and the codes in them.

One definition for the stages, Triton's models and the gateway, which has none of the stages' libraries.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from recsys_assets.serving.stage import TensorSpec

#: One entry a visitor; B visitors a request. "" and -1 say that the caller leaves it to the defaults, as absence does.
REQUEST = (
    TensorSpec("user_id", "STRING", (-1,)),
    TensorSpec("device_type", "STRING", (-1,), optional=True),
    TensorSpec("timestamp", "INT64", (-1,), optional=True),  # unix seconds; -1: now
    TensorSpec("top_k", "INT32", (-1,), optional=True),  # items wanted; -1: as many as the release gives
    TensorSpec("seed", "INT64", (-1,), optional=True),  # of weighted sampling; -1: random
)
#: The items of all visitors, one visitor's after the other's; ``answer_info`` says how many are whose.
ANSWER = (
    TensorSpec("ordered_ids", "STRING", (-1,)),
    TensorSpec("ordered_scores", "FP32", (-1,)),
    TensorSpec("answer_info", "INT64", (-1, 4)),
)
#: Columns of ``answer_info``.
COUNT, QUERY_RELEASE, RANKER_RELEASE, DEGRADED = range(4)
#: Visitors of one request at most.
MAX_VISITORS = 256
#: The whole course of an answer, packed (``packing``); of the fused model alone, and only for who asks for it.
TRACE = "trace"


class Degraded(IntFlag):
    """What an answer had to do without."""

    USER_FEATURES = 1
    SEEN_FILTER = 2
    AVAILABILITY = 4

    @property
    def reasons(self) -> list[str]:
        """As the gateway names them."""
        return [_REASONS[flag] for flag in Degraded if flag in self]


_REASONS = {
    Degraded.USER_FEATURES: "user_features_unavailable",
    Degraded.SEEN_FILTER: "seen_filter_unavailable",
    Degraded.AVAILABILITY: "availability_unavailable",
}


class Fate(IntEnum):
    """What the filter made of an item that retrieval or backfilling brought."""

    KEPT = 0
    SEEN = 1
    OUT_OF_STOCK = 2
    HIDDEN = 3
    SURPLUS = 4  # beyond RETRIEVAL_TOPK: over-fetched in case others had been seen
    BACKFILLED = 5  # popular, because too few candidates were left
    SHOWN_AGAIN = 6  # seen, but nothing unseen is left

    @property
    def kept(self) -> bool:
        return self in (Fate.KEPT, Fate.BACKFILLED, Fate.SHOWN_AGAIN)
