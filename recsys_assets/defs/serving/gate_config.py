"""Define the limits of the gates that can be set in the launchpad."""

import dataclasses

from pydantic import Field

from recsys_assets.lib.gates.limits import Limits
from recsys_assets.orchestration.resources import BuildConfig

LIMITS = Limits()


class GateConfig(BuildConfig):
    """Config of ``serving/release`` and ``fine_tune/release``.

    It holds the limits that depend on the shop and its machines. All limits and their reasons are
    in lib/gates/limits.py.
    """

    query_tower_ms: float = Field(
        default=LIMITS.query_tower_ms,
        gt=0,
        description="Maximum median time of one query tower call, in milliseconds.",
    )
    ranker_ms: float = Field(
        default=LIMITS.ranker_ms,
        gt=0,
        description="Maximum median time of one ranker call for 300 items, in milliseconds.",
    )
    drift: float = Field(
        default=LIMITS.drift,
        gt=0,
        le=1,
        description="Maximum Jensen-Shannon divergence of a feature between held-out days and "
        "training days.",
    )
    ndcg_tolerance: float = Field(
        default=LIMITS.ndcg_tolerance,
        ge=0,
        lt=1,
        description="Maximum loss of served nDCG@10, as a share of the champion's.",
    )
    recall_tolerance: float = Field(
        default=LIMITS.recall_tolerance,
        ge=0,
        lt=1,
        description="Maximum loss of recall@100, as a share of the champion's.",
    )
    auc_tolerance: float = Field(
        default=LIMITS.auc_tolerance,
        ge=0,
        lt=1,
        description="Maximum loss of AUC against the champion.",
    )

    def limits(self) -> Limits:
        """Return all limits, with the configured ones replaced."""
        return dataclasses.replace(LIMITS, **self.model_dump(exclude={"force"}))
