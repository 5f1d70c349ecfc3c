"""Define how fresh assets must be; the UI shows which ones are late.

A policy looks at the last materialisation of an asset, of any partition. It stops no run.
"""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from recsys_assets import partitions
from recsys_assets.schedule_settings import cron, later
from recsys_assets.settings import get_settings

#: Hours after the time of its schedule by which a daily asset must be there.
HOURS_ALLOWED = 6
#: Days after which a weekly asset is late, and after which it has missed two weeks.
LATE_DAYS, MISSED_DAYS = 8, 15


def _daily(time: str) -> dg.FreshnessPolicy:
    """Return the policy of an asset that is made every day, some hours after a time of day."""
    return dg.FreshnessPolicy.cron(
        deadline_cron=cron(later(time, HOURS_ALLOWED)),
        lower_bound_delta=timedelta(hours=24),
        timezone=partitions.time_zone(get_settings()),
    )


#: Of raw interactions, features and masked rows.
INGESTED = _daily(get_settings().schedule_ingest)
#: Of the online store.
ONLINE = _daily(get_settings().schedule_refresh)
#: Of releases, the champion and the report.
WEEKLY = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(days=MISSED_DAYS), warn_window=timedelta(days=LATE_DAYS)
)
