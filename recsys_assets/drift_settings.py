"""Define the settings of the drift monitor."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class DriftSettings(BaseSettings):
    """Holds which change of served answers and inputs is drift, and how often it asks for a run."""

    drift_days: int = Field(
        3,
        ge=1,
        le=30,
        description="Most days that are judged together, where one has too few rows.",
    )
    drift_reference_days: int = Field(
        3,
        ge=1,
        le=30,
        description="First days of a full training in service, that later days are compared with.",
    )
    drift_min_rows: int = Field(
        500, ge=100, description="Shown items below which days are not judged."
    )
    drift_min_clicks: int = Field(
        50, ge=10, description="Clicked (and unclicked) items below which days are not judged."
    )
    drift_auc: float = Field(
        0.02, gt=0, lt=0.5, description="Fall of the AUC beyond which it has drifted for sure."
    )
    drift_auc_floor: float = Field(
        0.0, ge=0, lt=1, description="AUC that is drift if it is surely below; 0: none."
    )
    drift_ndcg: float = Field(
        0.02, gt=0, lt=1, description="Fall of nDCG@10 beyond which it has drifted for sure."
    )
    drift_calibration: float = Field(
        1.25,
        gt=1,
        le=10,
        description="Change of clicks over predicted clicks, as a factor, beyond which it has "
        "drifted for sure. Only where scores are probabilities.",
    )
    drift_divergence: float = Field(
        0.06,
        gt=0,
        lt=1,
        description="Jensen-Shannon divergence of a feature from the training days, in bits and "
        "beyond chance, above which it has drifted.",
    )
    drift_unknown: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Share of rows with an item or category that the training days lack, beyond "
        "the usual share of a new day, above which the vocabulary has drifted.",
    )
    drift_skew: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="Share of answers in which a feature of serving differs from that of training, "
        "beyond which it is skewed for sure.",
    )
    drift_cool_down_days: int = Field(
        3, ge=1, le=90, description="Days after an alarm in which no other alarm asks for a run."
    )
