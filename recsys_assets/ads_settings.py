"""Define the settings of the ads ranker."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings


class AdsSettings(BaseSettings):
    """Holds the ads log's calendar, what is logged, and when days or predictions have drifted."""

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
    ads_log: Literal["off", "on"] = Field(
        "on", description="Whether the gateway logs its predictions for ads."
    )
    ads_log_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the calls whose predictions for ads are logged, by the hash of the "
        "request id.",
    )
    ads_label_hours: float = Field(
        24.0,
        gt=0,
        le=24 * 60,
        description="Hours in which a label of a shown ad counts. An ad without a label was not "
        "clicked; a later label is left out.",
    )
    ads_auc_threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Rolling AUC of the ads ranker below which there is an alarm; None: derived "
        "from the AUC and click rate of the release.",
    )
    ads_window: int = Field(
        500, ge=2, le=100_000, description="Latest labelled predictions in the rolling AUC."
    )
    ads_window_least: int = Field(
        250, ge=2, description="Labelled predictions from which on the rolling AUC is known."
    )
    ads_cool_down: int = Field(
        5_000,
        ge=2,
        description="Labelled predictions after an alarm, or an incremental training that one "
        "asked for, without another; at least RECSYS_ADS_WINDOW.",
    )
    ads_tune_rows: int = Field(
        1_000,
        ge=100,
        description="Labelled predictions, not learnt yet, below which the ads ranker is not "
        "trained incrementally.",
    )

    @model_validator(mode="after")
    def _sizes_agree(self) -> AdsSettings:
        """Refuse sizes of the watch that exclude each other."""
        if self.ads_window < self.ads_window_least:
            raise ValueError(
                f"RECSYS_ADS_WINDOW ({self.ads_window}) must be at least RECSYS_ADS_WINDOW_LEAST "
                f"({self.ads_window_least}), or the rolling AUC is never known"
            )
        if self.ads_cool_down < self.ads_window:
            raise ValueError(
                f"RECSYS_ADS_COOL_DOWN ({self.ads_cool_down}) must be at least RECSYS_ADS_WINDOW "
                f"({self.ads_window}), so that two alarms share no prediction"
            )
        return self
