"""Test which assets must be fresh, and by when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from recsys_assets.definitions import defs
from recsys_assets.orchestration import freshness_policies

DEADLINES = {
    "raw/interactions": "30 8 * * *",
    "features/interactions": "30 8 * * *",
    "features/masked_train": "30 8 * * *",
    "feature_store/online": "0 10 * * *",
    "feature_store/popularity": "0 10 * * *",
}


def test_daily_assets_have_a_deadline_and_weekly_ones_an_age() -> None:
    graph = defs().resolve_asset_graph()
    found: dict[str, Any] = {
        key.to_user_string(): graph.get(key).freshness_policy for key in graph.get_all_asset_keys()
    }
    policies = {name: policy for name, policy in found.items() if policy is not None}
    deadlines = {
        name: policy.deadline_cron
        for name, policy in policies.items()
        if policy != freshness_policies.WEEKLY
    }
    assert deadlines == DEADLINES
    for name in DEADLINES:
        assert policies[name].timezone == "UTC"
        assert policies[name].lower_bound_delta == timedelta(hours=24)
    assert set(policies) - set(DEADLINES) == {
        "serving/release",
        "serving/champion",
        "evaluation/report",
    }
