"""Find stray days: a few events, long before all others.

One event of 1999, in a log of last month, would make a calendar of 26 years.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from itertools import pairwise

#: Days without a row after which earlier days may be stray. A shop that closes for a month, or
#: sells at Christmas only, has more rows on both sides than STRAY_SHARE.
STRAY_GAP_DAYS = 31
#: Largest share of a log's rows that stray days hold together.
STRAY_SHARE = 0.05


def stray_days(rows: Mapping[str, int]) -> list[str]:
    """Return the stray days, oldest first.

    Args:
        rows: ISO day → number of rows.

    >>> stray_days({"1999-01-01": 1, "2026-01-01": 40, "2026-01-03": 50})
    ['1999-01-01']
    >>> stray_days({"2025-12-20": 400, "2026-12-20": 500})
    []
    """
    days, total = sorted(rows), sum(rows.values())
    before, stray = 0, 0
    for place, (day, following) in enumerate(pairwise(days), 1):
        before += rows[day]
        gap = date.fromisoformat(following) - date.fromisoformat(day)
        if gap > timedelta(days=STRAY_GAP_DAYS) and before <= STRAY_SHARE * total:
            stray = place
    return days[:stray]
