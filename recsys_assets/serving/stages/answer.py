"""Define a request and an answer: their tensors, and the codes in them.

One definition serves the stages, Triton's models and the gateway, which has none of the stages'
libraries.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from recsys_assets.serving.stages import tensors as t

#: One entry per visitor; B visitors per request.
REQUEST = (t.USER_ID, t.DEVICE_TYPE, t.TIMESTAMP, t.TOP_K, t.SEED)
#: The items of all visitors, one visitor's after the other's; ``answer_info`` counts each
#: visitor's.
ANSWER = (t.ORDERED_IDS, t.ORDERED_SCORES, t.ORDERED_PROPENSITIES, t.ANSWER_INFO)
#: Columns of ``answer_info``.
COUNT, QUERY_RELEASE, RANKER_RELEASE, DEGRADED = range(4)
#: Most visitors of one request.
MAX_VISITORS = 256
TRACE = t.TRACE.name


class Degraded(IntFlag):
    """The parts that failed while an answer was made."""

    USER_FEATURES = 1
    SEEN_FILTER = 2
    AVAILABILITY = 4

    @property
    def reasons(self) -> list[str]:
        """Return the names that the gateway gives the parts."""
        return [_REASONS[flag] for flag in Degraded if flag in self]


_REASONS = {
    Degraded.USER_FEATURES: "user_features_unavailable",
    Degraded.SEEN_FILTER: "seen_filter_unavailable",
    Degraded.AVAILABILITY: "availability_unavailable",
}


class Placing(IntEnum):
    """Outcome of a scored item: it is in the list, or the reason why it is not."""

    RANKED_BELOW = 0
    # left out by the category cap or the diversity mode: an item of the list has a lower blended
    # score
    DIVERSITY = 1
    LISTED = 2
    NEW_ITEM = 3  # it was in the list until a new item got a reserved place


class Fate(IntEnum):
    """Outcome of the filter for an item that retrieval or backfilling found."""

    KEPT = 0
    SEEN = 1
    OUT_OF_STOCK = 2
    HIDDEN = 3
    SURPLUS = 4  # beyond RETRIEVAL_TOPK: over-fetched to replace seen items
    BACKFILLED = 5  # popular, because too few candidates were left
    SHOWN_AGAIN = 6  # seen or dismissed, but nothing else is left
    DISMISSED = 7  # the visitor does not want to be shown it

    @property
    def kept(self) -> bool:
        """Return whether the item is passed on."""
        return self in (Fate.KEPT, Fate.BACKFILLED, Fate.SHOWN_AGAIN)
