"""Measures how many lists hold an item that their visitor dismisses later.

Negative feedback has a figure of its own beside nDCG. A negative gain within nDCG would have no
ideal list to be divided by, and one number would hide whether a system shows more that is clicked
or less that is not wanted. So the field counts unwanted items apart, as a share of lists: the lower
the better. Items that were dismissed before the query are in no list, because they are hidden.
"""

from __future__ import annotations

import numpy as np

from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.measures import DISMISSED_AT, ListFigures
from recsys_assets.lib.evaluation.queries import Queries


def judge(lists: Lists, queries: Queries, seed: int = 7) -> ListFigures:
    """Return ``list_metrics.judge``, and DISMISSED_AT where a visitor dismisses an item later.

    DISMISSED_AT is the share of the lists whose first 10 hold such an item, per visitor and then
    averaged, of the queries whose visitor dismisses an item at them or after them.
    """
    figures = list_metrics.judge(lists.ranks, queries, seed)
    later = queries.later
    if later is None:
        return figures
    asked = queries.overall & (np.diff(later.start) > 0)
    if not asked.any():
        return figures
    held = later.held(lists.top)[asked].astype(np.float64)
    share = list_metrics.mean_per_user(held, queries.users[asked], seed)
    return {**figures, DISMISSED_AT: share}
