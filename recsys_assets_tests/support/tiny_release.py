"""A release of the tiny payload that passed its gate, in a store as a home has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.release.releases import CODE_VERSION, COMPONENTS, RELEASE
from recsys_assets.release_files import ITEM_IDS_FILE, SIMILAR_FILE
from recsys_assets.settings import Settings
from recsys_assets_tests.support import tiny_payload


def settings_for(home: Path) -> Settings:
    """Settings of a home that serves the release on a busy machine."""
    return Settings(
        home=home,
        scale="tiny",
        retrieval_topk=30,
        ranking_topk=tiny_payload.TOPK,
        store_timeout_ms=500,
        triton_timeout_ms=10_000,
        shed_after_ms=10_000,
    )


def content(number: int) -> dict[str, Any]:
    """What release.json says of a release that passed."""
    return {
        "form": CODE_VERSION,
        "release": number,
        "kind": "full",
        "day": "2025-10-09",
        "generation": number,
        "versions": dict.fromkeys(COMPONENTS, number),
        "gate": {"passed": True, "checks": []},
        "metrics": {},
        "known_user": "user-1",
        "artifacts": {},
    }


def publish(store: ArtifactStore, settings: Settings, **inputs: Artifact) -> None:
    """Publish release 1."""
    with store.stage(RELEASE, "000001", inputs=inputs) as staged:
        tiny_payload.write_models(staged.path, settings, by_sources=True)
        write_json(
            staged.path / "display.json",
            {
                "release": 1,
                "items": {
                    item: {**row, "title": item, "description": "", "image": "", "promoted": False}
                    for item, row in tiny_payload.items().items()
                },
            },
        )
        pl.DataFrame({"image": ["a.png"], "content": [b"png"]}).write_parquet(
            staged.path / "images.parquet"
        )
        write_json(staged.path / ITEM_IDS_FILE, tiny_payload.ITEM_IDS)
        np.save(
            staged.path / SIMILAR_FILE,
            np.full((len(tiny_payload.ITEM_IDS), 1), c.VOCABULARY_START, np.int32),
        )
        write_json(staged.path / "release.json", content(1))
        staged.publish()
