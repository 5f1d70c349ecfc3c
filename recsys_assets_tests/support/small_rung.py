"""Item-to-item and the simple rung of a whole window of a small shop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.ladder.fitting import write_fitted
from recsys_assets.lib.ladder.simple_rung import write_simple_rung
from recsys_assets.release_files import TRANSFORMS
from recsys_assets_tests.support import tiny_payload
from recsys_assets_tests.support.seen import publish_rule
from recsys_assets_tests.support.small_clicks import ITEMS

DAYS = [f"2026-11-{day:02d}" for day in range(1, 13)]
TRAIN, VALID = DAYS[:9], DAYS[9:]


def workflows_of(store: ArtifactStore, vocabulary: Sequence[str] = ITEMS) -> Artifact:
    with store.stage("features/workflows", DAYS[-1]) as staged:
        tiny = tiny_payload.transforms()
        words = {
            **tiny["vocabulary"],
            c.ITEM_ID: [*vocabulary],
            c.USER_ID: ["u0"],
            c.CATEGORY_L1: ["c"],
        }
        content = {
            **tiny,
            "vocabulary": words,
            "cardinality": {
                name: c.VOCABULARY_START + len(values) for name, values in words.items()
            },
            "hashed_buckets": {},
            "mean_age": 33.5,
            "look_back_days": 7,
        }
        (staged.path / TRANSFORMS).write_text(json.dumps(content))
        return staged.publish()


def fit(
    store: ArtifactStore,
    workflows: Artifact,
    log: Sequence[Artifact],
    inner: Sequence[Artifact],
    train_days: Sequence[str],
) -> Artifact:
    with store.stage("sources/item_to_item", DAYS[-1], inputs={"workflows": workflows}) as staged:
        return staged.publish(
            write_fitted(
                interactions=log,
                inner=inner,
                items=store.current("raw/items"),
                workflows=workflows,
                seen_rule=publish_rule(store, DAYS[-1]),
                target=staged.path,
                train_days=train_days,
                seed=7,
                time_zone="UTC",
                look_back_days=7,
            )
        )


def whole_window(store: ArtifactStore) -> dict[str, Any]:
    return {
        "train": store.require("features/interactions", TRAIN),
        "valid": store.require("features/interactions", VALID),
        "inner": store.require("features/interactions", TRAIN[-2:]),
        "log": store.require("raw/interactions", DAYS),
        "queries": store.current("evaluation/queries", DAYS[-1]),
    }


def write(store: ArtifactStore, **changes: Any) -> Artifact:
    """``ladder/simple_rung``; changes: of ``whole_window``."""
    inputs, workflows = changes or whole_window(store), workflows_of(store)
    train_days = [str(one.partition) for one in inputs["train"]]
    fitted = fit(store, workflows, inputs["log"], inputs.pop("inner"), train_days)
    inputs |= {"workflows": workflows, "fitted": fitted}
    made_from = {"fitted": fitted, "log": inputs["log"]}
    with store.stage("ladder/simple_rung", DAYS[-1], inputs=made_from) as staged:
        return staged.publish(
            write_simple_rung(**inputs, target=staged.path, seed=7, look_back_days=7)
        )
