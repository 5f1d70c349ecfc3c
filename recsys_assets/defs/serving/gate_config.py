"""Limits of the gates that one sets in the launchpad, for full releases and fine-tunes alike."""

import dataclasses

from pydantic import Field

from recsys_assets.lib.gates import gates
from recsys_assets.orchestration.resources import BuildConfig

LIMITS = gates.Limits()


class GateConfig(BuildConfig):
    """The limits that depend on the shop and its machines; all others, and the reasons of all, are
    in lib/gates/gates.py.
    """

    query_tower_ms: float = Field(
        default=LIMITS.query_tower_ms,
        gt=0,
        description="Budget of one call of the query tower, median ms.",
    )
    ranker_ms: float = Field(
        default=LIMITS.ranker_ms,
        gt=0,
        description="Budget of one call of the ranker for 300 items, median ms.",
    )
    drift: float = Field(
        default=LIMITS.drift,
        gt=0,
        le=1,
        description="Jensen-Shannon divergence of a feature's held-out days from its "
        "training days, at most.",
    )
    ndcg_tolerance: float = Field(
        default=LIMITS.ndcg_tolerance,
        ge=0,
        lt=1,
        description="Share of the champion's served nDCG@10 that may be lost.",
    )
    recall_tolerance: float = Field(
        default=LIMITS.recall_tolerance,
        ge=0,
        lt=1,
        description="Share of the champion's recall@100 that may be lost.",
    )
    auc_tolerance: float = Field(
        default=LIMITS.auc_tolerance,
        ge=0,
        lt=1,
        description="AUC that may be lost against the champion.",
    )

    def limits(self) -> gates.Limits:
        return dataclasses.replace(LIMITS, **self.model_dump(exclude={"force"}))
