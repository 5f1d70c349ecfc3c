"""Define the settings of the ads ranker."""

from __future__ import annotations

from datetime import date

from pydantic import Field
from pydantic_settings import BaseSettings


class AdsSettings(BaseSettings):
    """Holds the calendar of the ads log, and when its days have drifted."""

    ads_start_day: date | None = Field(
        None, description="First day of the ads log; None: that of `recsys ingest-ads`."
    )
    ads_train_days: int = Field(
        1, ge=1, le=60, description="Days before the as-of day that the ads ranker learns."
    )
    ads_baseline_days: int = Field(
        7, ge=1, le=60, description="Days before a day of the ads log that it is compared with."
    )
    ads_drift_threshold: float = Field(
        0.06,
        gt=0,
        le=1,
        description="Jensen-Shannon divergence above which a feature of the ads log has drifted.",
    )
    ads_drift_blocks: bool = Field(
        False, description="Stop a day of the ads log that has drifted; off: warn."
    )
